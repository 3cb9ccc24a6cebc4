"""Networks as classifiers: loss and accuracy on batches and on splits, clean or attacked."""

import torch
import torch.nn.functional as F

from modeconn import datasets
from modeconn.randomness import generator, seed_layers

MANY = 2**13  # logits; with fewer the detour of `_each` costs more than it saves
REGISTERS = {"AVX512": 64}  # bytes; 32 in all others
MULTIPLE = 16  # float32 in the largest register


def cross_entropies(logits, labels):
    """Mean cross-entropy per lane (L,) of logits (L, N, classes) and labels (L, N)."""
    return _each(logits, labels).mean(1)


def _each(logits, labels):
    """Cross-entropy of each image, (L, N)."""
    logits, targets = logits.flatten(0, 1), labels.flatten()
    if _too_few_classes(logits):
        # Classes first, and no remainder that a register would not hold: the same bits, with ten classes in a sixth of
        # the time. Gradients go back in the layout of the logits, which decides the bits of what is summed over them.
        if logits.requires_grad:
            logits.register_hook(torch.Tensor.contiguous)
        padding = (0, -len(targets) % MULTIPLE)
        losses = F.cross_entropy(F.pad(logits.T, padding)[None], F.pad(targets, padding)[None], reduction="none")
        return losses[0, : len(targets)].view(labels.shape)
    return F.cross_entropy(logits, targets, reduction="none").view(labels.shape)


def _too_few_classes(logits):
    """Whether the classes of many logits (images, classes) do not fill a register of the CPU.

    Over a last dimension that is so short torch computes softmax number by number.
    """
    if logits.device.type != "cpu" or logits.numel() < MANY:
        return False
    register = REGISTERS.get(torch.backends.cpu.get_cpu_capability(), 32)
    return logits.shape[1] * logits.element_size() < register


def measure(logits, labels):
    """Mean cross-entropy and number of correct answers per lane, (L,) each."""
    return cross_entropies(logits, labels), (logits.detach().argmax(-1) == labels).sum(1).to(logits.dtype)


def with_auxiliary(functional, losses):
    """The loss of the logits plus those of auxiliary heads times the network's weight; losses: one for each output."""
    loss, *heads = losses
    return loss + functional.network.auxiliary_weight * sum(heads) if heads else loss


def attempts(functional, vectors, buffers, images, labels, attack, generators, train, gather=False):
    """(attempts, losses): adversarial images from the images (L, N, C, H, W), and the loss that `attack` raises.

    attempts: an iterator of adversarial images for each lane, computed on demand; the images themselves where
    `attack` is none. losses: images -> (L, N).
    In train mode each iterate is normalized by the statistics of its own batch, as in Tatro et al.; the running
    statistics are not changed, since copies are used. With `gather` they are updated by each iterate.
    """
    fixed = vectors.detach()
    scratch = {name: b.clone() for name, b in buffers.items()} if train and not gather else buffers

    def losses(candidates):
        outputs = functional.outputs(fixed, scratch, candidates, train=train)
        return with_auxiliary(functional, [_each(logits, labels) for logits in outputs])

    if attack is None:
        return [images], losses
    if images.shape[-2:] == (1, 1):
        raise ValueError("an attack moves pixels between 0 and 1, and this data set has features: leave the attack out")
    # Imported here, so that the source of an attack is only in the fingerprints of jobs that use it.
    if attack.get("method") == "autoattack":
        from modeconn import autoattack

        def logits(lane, candidates):
            return functional.outputs(fixed[lane], {name: b[lane] for name, b in scratch.items()}, candidates)[0]

        return [autoattack.attack(logits, images, labels, attack["epsilon"])], losses
    from modeconn import attacks

    return attacks.attempts(lambda candidates: losses(candidates).sum(), images, attack, generators), losses


def attacked(functional, vectors, buffers, images, labels, attack, generators, train, gather=False):
    """For each image the attempt with the highest loss, or the image itself where `attack` is none."""
    tried, losses = attempts(functional, vectors, buffers, images, labels, attack, generators, train, gather)
    tried = list(tried)
    if len(tried) == 1:
        return tried[0]
    with torch.no_grad():
        highest = torch.stack([losses(images) for images in tried]).argmax(0)
    return torch.stack(tried).take_along_dim(highest[None, ..., None, None, None], 0)[0]


def training_loss(functional, vectors, buffers, batch, attack):
    """Loss of each network `vectors` (L, D) on its batch in train mode, clean or under `attack`; buffers follow.

    Returns, (L,) each: losses with those of auxiliary heads; cross-entropies and numbers of correct
    answers of the logits alone. Random draws of layers (dropout) depend on the batch's own
    generator only, so that a training can resume at any step.
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
    examples; their random starts are drawn from `seed`, the same for every network. Of several attempts
    at an image the highest loss counts, and its answer is correct if it withstands all of them.
    """
    lanes = len(vectors)
    loss = torch.zeros(lanes, dtype=torch.float64, device=vectors.device)
    correct = torch.zeros_like(loss)
    for step, (inputs, targets) in enumerate(zip(datasets.in_order(images, batch), labels.split(batch), strict=True)):
        inputs = inputs.expand(lanes, *inputs.shape[1:])
        targets = targets.expand(lanes, -1)
        drawing = 0 if attack is None else lanes  # none without attack: making them takes time
        generators = [generator("evaluation", seed, step, device=vectors.device) for _ in range(drawing)]
        tried, _ = attempts(functional, vectors, buffers, inputs, targets, attack, generators, train=False)
        losses, withstood = torch.zeros_like(targets, dtype=torch.float64), torch.ones_like(targets, dtype=torch.bool)
        for attempt in tried:
            with torch.no_grad():
                logits = functional(vectors, buffers, attempt)
            losses = torch.maximum(losses, _each(logits, targets).double())
            withstood &= logits.argmax(-1) == targets
        loss += losses.sum(1)
        correct += withstood.sum(1)
    return loss / len(labels), correct / len(labels)
