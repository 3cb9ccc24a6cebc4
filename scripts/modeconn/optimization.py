"""The training loop: networks, adversarial networks and curves are all "minimize this loss over these tensors"."""

import math

import torch
from torch.optim.sgd import sgd

from modeconn.resume import Hopeless


def learning_rate_factor(schedule, epoch, epochs):
    """Factor on the learning rate in `epoch` (from 0) of `epochs`.

    constant: 1. cosine: half a cosine, from 1 towards 0. halving: 0.5^(epoch // 20) 0.9996^epoch
    (endpoints and curves of Tatro et al. 2020). plateau: 1 for the first half, then linear to 0.01
    at nine tenths (Garipov et al. 2018; the robust study of Tatro et al.).
    """
    progress = epoch / epochs
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "halving":
        return 0.5 ** (epoch // 20) * 0.9996**epoch
    if schedule == "plateau":
        return min(1.0, max(0.01, 1 - 0.99 * (progress - 0.5) / 0.4))
    raise ValueError(f"schedule {schedule}: expected constant, cosine, halving or plateau")


def minimize(objective, variables, epoch_batches, training, *, lanes, report, state, buffers=None, after_step=None):
    """Minimize a sum of losses, one a lane, and return the history.

    objective: batch -> (losses (L,) to descend, cross-entropy (L,) and correct answers (L,) to report).
    variables: leaf tensors (L, ...), changed in place; lane l's loss depends on slice l alone.
    epoch_batches: (epoch, first step) -> iterable of batches (images (L, N, ...), labels (L, N), generators).
    training: {"epochs", "schedule", "optimizer": {"learning_rate", ...}}.
    lanes: a name for each lane, for messages. report: called with each epoch's row.
    state: a `resume.State`; work goes on from it at the step where it stopped.
    buffers: tensors by name that the objective changes in place.
    after_step: called with the learning rate after each step, to change the variables in place (`nearness`).
    Returns rows {"epoch", "learning_rate", "loss" and "accuracy" per lane, "images"}.
    Raises Hopeless, where the loss is not finite, with epoch, step, learning rate and lane.
    """
    base = training["optimizer"]["learning_rate"]
    momenta = [torch.zeros_like(variable) for variable in variables]
    changing = dict(buffers or {})
    for i, (variable, momentum) in enumerate(zip(variables, momenta)):
        changing |= {f"variable {i}": variable.data, f"momentum {i}": momentum}

    history, steps, images = [], [], 0
    saved = state.load()
    if saved is not None:
        tensors, facts = saved
        history, images = facts["history"], facts["images"]
        steps = list(tensors.pop("steps").to(variables[0].device)) if "steps" in tensors else []
        for name, tensor in changing.items():
            tensor.copy_(tensors[name])
        print(f"resumed after epoch {len(history)}, step {len(steps)}", flush=True)

    def snapshot():
        return changing | ({"steps": torch.stack(steps)} if steps else {}), {"history": history, "images": images}

    for epoch in range(len(history), training["epochs"]):
        rate = base * learning_rate_factor(training["schedule"], epoch, training["epochs"])
        for batch in epoch_batches(epoch, len(steps)):
            losses, entropies, correct = objective(batch)
            gradients = torch.autograd.grad(losses.sum(), variables)
            descend(variables, gradients, momenta, rate, training["optimizer"])
            if after_step is not None:
                after_step(rate)
            count = batch[1].shape[1]
            steps.append(torch.stack([losses.detach(), entropies * count, correct]))
            images += count
            state.offer(snapshot)
        history.append(_summary(torch.stack(steps), epoch, rate, images, lanes))
        steps, images = [], 0
        report(history[-1])
    if not all(variable.isfinite().all() for variable in variables):
        raise Hopeless(f"weights of {', '.join(lanes)} are not finite after the last step: lower the learning rate")
    return history


def history_rows(history, kind, names, seeds, alignment="", curve=""):
    """Rows of a table of histories, as dicts, one for each epoch and lane.

    history: from `minimize`. kind: what was trained: "network", "curve" or "alignment". names: of data set, network and
    recipe, other names are left out. seeds: what tells the lanes apart, a seed or a pair of seeds each.
    """
    return [
        {
            "kind": kind,
            **{key: names[key] for key in ("dataset", "network", "recipe")},
            "seeds": lane_seeds,
            "alignment": alignment,
            "curve": curve,
            "epoch": row["epoch"],
            "learning_rate": row["learning_rate"],
            "loss": row["loss"][lane],
            "accuracy": row["accuracy"][lane],
        }
        for row in history
        for lane, lane_seeds in enumerate(seeds)
    ]


@torch.no_grad()
def descend(variables, gradients, momenta, rate, optimizer):
    """One step of stochastic gradient descent, in place; optimizer: {"momentum", "nesterov", "weight_decay"}.

    torch's own update, without its optimizer class: that one imports the compiler, which takes
    longer than a small network trains.
    """
    sgd(
        variables,
        list(gradients),
        momenta,
        lr=rate,
        momentum=optimizer["momentum"],
        nesterov=optimizer["nesterov"],
        weight_decay=optimizer["weight_decay"],
        dampening=0,
        maximize=False,
    )


def nearness(variables, nu):
    """A function for `minimize` that holds the variables near their values of now, nu > 0: the larger, the looser.

    After a step of learning rate r a variable x becomes (x + r/nu start) / (1 + r/nu): the proximal step of
    |x - start|^2 / (2 nu) (Tatro et al. 2020, PAM).
    """
    starts = [variable.detach().clone() for variable in variables]

    @torch.no_grad()
    def approach(rate):
        for variable, start in zip(variables, starts):
            variable.add_(start, alpha=rate / nu).div_(1 + rate / nu)

    return approach


def _summary(steps, epoch, rate, images, lanes):
    """One epoch's row from steps (S, 3, L) of losses, summed cross-entropies and correct answers."""
    bad = ~steps[:, 0].isfinite()
    if bad.any():
        step, lane = bad.nonzero()[0].tolist()
        raise Hopeless(
            f"loss of {lanes[lane]} is not finite in epoch {epoch + 1}, step {step + 1}, "
            f"at learning rate {rate:g}: lower the learning rate in the config"
        )
    _, entropy, correct = (steps.double().sum(0) / images).tolist()
    return {"epoch": epoch + 1, "learning_rate": rate, "loss": entropy, "accuracy": correct, "images": images}
