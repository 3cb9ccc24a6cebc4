"""Networks as classifiers: loss and accuracy on batches and on splits, clean or attacked."""

import torch
import torch.nn.functional as F

from modeconn import datasets
from modeconn.randomness import generator, seed_layers


def cross_entropies(logits, labels):
    """Mean cross-entropy per lane (L,) of logits (L, N, classes) and labels (L, N)."""
    flat = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return flat.view(labels.shape).mean(1)


def measure(logits, labels):
    """Mean cross-entropy and number of correct answers per lane, (L,) each."""
    return cross_entropies(logits, labels), (logits.detach().argmax(-1) == labels).sum(1).to(logits.dtype)


def with_auxiliary(functional, losses):
    """The loss of the logits plus those of auxiliary heads by the network's weight; losses: one an output."""
    loss, *heads = losses
    return loss + functional.network.auxiliary_weight * sum(heads) if heads else loss


def attacked(functional, vectors, buffers, images, labels, attack, generators, train):
    """Adversarial images for each lane, or the images themselves where `attack` is none.

    While crafting in train mode each iterate is normalized by its own batch's statistics, as in
    Tatro et al., but leaves the running ones alone: copies are thrown away.
    """
    if attack is None:
        return images
    from modeconn import attacks  # here, so that its source decides only the jobs that attack

    fixed = vectors.detach()
    scratch = {name: b.clone() for name, b in buffers.items()} if train else buffers

    def objective(candidates):
        outputs = functional.outputs(fixed, scratch, candidates, train=train)
        losses = [F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") for logits in outputs]
        return with_auxiliary(functional, losses)

    start = attacks.random_start(images, attack["epsilon"], generators) if attack["random_start"] else None
    keys = ("epsilon", "step", "steps")
    return attacks.pgd(objective, images, start=start, **{key: attack[key] for key in keys})


def training_loss(functional, vectors, buffers, batch, attack):
    """Loss of each network `vectors` (L, D) on its batch in train mode, clean or under `attack`; buffers follow.

    Returns, (L,) each: losses with those of auxiliary heads; cross-entropies and numbers of correct
    answers of the logits alone. What layers draw (dropout) is a function of the batch's own
    generator, so that a run can be taken up at any step.
    """
    images, labels, generators = batch
    seed_layers("layers", generators[0].initial_seed(), device=vectors.device)
    images = attacked(functional, vectors, buffers, images, labels, attack, generators, train=True)
    logits, *auxiliary = functional.outputs(vectors, buffers, images, train=True)
    entropies, correct = measure(logits, labels)
    losses = with_auxiliary(functional, [entropies, *(cross_entropies(head, labels) for head in auxiliary)])
    return losses, entropies.detach(), correct


def objective_of(functional, vectors, buffers, attack):
    """An objective for `optimization.minimize`: `training_loss` of the networks `vectors` (L, D)."""

    def objective(batch):
        return training_loss(functional, vectors, buffers, batch, attack)

    return objective


def evaluate(functional, vectors, buffers, images, labels, batch, attack=None, seed=0):
    """Mean cross-entropy (nats) and accuracy in [0, 1] of each network, (L,) each, in eval mode.

    images: uint8 (N, C, H, W), labels: (N,). With `attack`, on each network's own adversarial
    examples; their random starts are drawn from `seed`, the same for every network.
    """
    lanes = len(vectors)
    loss = torch.zeros(lanes, dtype=torch.float64, device=vectors.device)
    correct = torch.zeros_like(loss)
    for step, (inputs, targets) in enumerate(zip(datasets.in_order(images, batch), labels.split(batch), strict=True)):
        inputs = inputs.expand(lanes, *inputs.shape[1:])
        targets = targets.expand(lanes, -1)
        generators = [generator("evaluation", seed, step, device=vectors.device) for _ in range(lanes)]
        inputs = attacked(functional, vectors, buffers, inputs, targets, attack, generators, train=False)
        with torch.no_grad():
            logits = functional(vectors, buffers, inputs)
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        loss += losses.view(lanes, -1).double().sum(1)
        correct += (logits.argmax(-1) == targets).sum(1)
    return loss / len(labels), correct / len(labels)
