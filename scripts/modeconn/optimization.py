"""The training loop: networks, adversarial networks and curves are all "minimize this loss over these tensors"."""

from functools import partial

import torch

from modeconn import optimizers, schedules
from modeconn.resume import Hopeless


def minimize(
    objective,
    variables,
    epoch_batches,
    training,
    *,
    lanes,
    report,
    state,
    buffers=None,
    after_step=None,
    steps_per_epoch=1,
    first=0,
):
    """Minimize a sum of losses, one a lane, and return the history.

    objective: batch -> (losses (L,) to descend, cross-entropy (L,) and correct answers (L,) to report).
    variables: leaf tensors (L, ...), changed in place; lane l's loss depends on slice l alone.
    epoch_batches: (epoch, first step) -> iterable of batches (images (L, N, ...), labels (L, N), generators).
    training: {"epochs", "schedule", ... (see `schedules`), "optimizer": {"learning_rate", ... (see `optimizers`)}}.
    lanes: a name for each lane, for messages. report: called with each epoch's row.
    state: a `resume.State`, the checkpoint; training resumes from it at the step where it stopped.
    buffers: tensors by name that the objective changes in place.
    after_step: called with the learning rate after each step, to change the variables in place (`nearness`).
    steps_per_epoch: how many batches an epoch has, for schedules that go step by step.
    first: the epoch of `training` to begin with, counted from 0.
    Returns rows {"epoch", "learning_rate", "loss" and "accuracy" per lane, "images"}.
    Raises Hopeless, where the loss is not finite, with epoch, step, learning rate and lane.
    """
    settings = training["optimizer"]
    optimizer = optimizers.of(settings)
    remembered = optimizer.state(variables)
    changing = dict(buffers or {})
    for name, tensors in {"variable": [variable.data for variable in variables], **remembered}.items():
        changing |= {f"{name} {i}": tensor for i, tensor in enumerate(tensors)}

    history, steps, images = [], [], 0
    saved = state.load()
    if saved is not None:
        tensors, facts = saved
        history, images = facts["history"], facts["images"]
        steps = list(tensors.pop("steps").to(variables[0].device)) if "steps" in tensors else []
        for name, tensor in changing.items():
            tensor.copy_(tensors[name])
        print(f"resumed after epoch {first + len(history)}, step {len(steps)}", flush=True)

    def rate_in(epoch, step):
        return settings["learning_rate"] * schedules.learning_rate_factor(training, epoch, step, steps_per_epoch)

    def snapshot():
        return changing | ({"steps": torch.stack(steps)} if steps else {}), {"history": history, "images": images}

    for epoch in range(first + len(history), training["epochs"]):
        for batch in epoch_batches(epoch, len(steps)):
            rate, momentum = (
                rate_in(epoch, len(steps)),
                schedules.momentum(training, epoch, len(steps), steps_per_epoch),
            )
            losses, entropies, correct = objective(batch)
            gradients = torch.autograd.grad(losses.sum(), variables)
            optimizer.step(variables, gradients, remembered, rate, momentum, settings)
            if after_step is not None:
                after_step(rate)
            count = batch[1].shape[1]
            steps.append(torch.stack([losses.detach(), entropies * count, correct]))
            images += count
            state.offer(snapshot)
        history.append(_summary(torch.stack(steps), epoch, partial(rate_in, epoch), images, lanes))
        steps, images = [], 0
        report(history[-1])
    if not all(variable.isfinite().all() for variable in variables):
        raise Hopeless(
            f"weights of {', '.join(lanes)} are not finite after the last step: "
            "lower the learning rate or the weight decay"
        )
    return history


def history_rows(history, kind, names, seeds, alignment="", curve=""):
    """Rows of a table of histories, as dicts, one for each epoch and lane.

    history: from `minimize`. kind: "network", "curve" or "alignment". names: of data set, network and recipe; other
    names are left out. seeds: a seed or a pair of seeds for each lane.
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


def nearness(variables, nu):
    """A function for `minimize` that keeps the variables near their present values; nu > 0: the larger, the looser.

    After a step of learning rate r a variable x becomes (x + r/nu start) / (1 + r/nu): the proximal step of
    |x - start|^2 / (2 nu) (Tatro et al. 2020, PAM).
    """
    starts = [variable.detach().clone() for variable in variables]

    @torch.no_grad()
    def approach(rate):
        for variable, start in zip(variables, starts):
            variable.add_(start, alpha=rate / nu).div_(1 + rate / nu)

    return approach


def _summary(steps, epoch, rate_in, images, lanes):
    """One epoch's row from steps (S, 3, L) of losses, summed cross-entropies and correct answers.

    rate_in: step -> its learning rate; the row has that of the last one.
    """
    bad = ~steps[:, 0].isfinite()
    if bad.any():
        step, lane = bad.nonzero()[0].tolist()
        raise Hopeless(
            f"loss of {lanes[lane]} is not finite in epoch {epoch + 1}, step {step + 1}, "
            f"at learning rate {rate_in(step):g}: lower the learning rate or the weight decay in the config"
        )
    _, entropy, correct = (steps.double().sum(0) / images).tolist()
    rate = rate_in(len(steps) - 1)
    return {"epoch": epoch + 1, "learning_rate": rate, "loss": entropy, "accuracy": correct, "images": images}
