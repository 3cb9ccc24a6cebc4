"""Re-estimate the statistics of batch normalization for given weights."""

from itertools import zip_longest

import torch
from torch import nn

from modeconn import classification, datasets
from modeconn.randomness import generator, seed_layers


@torch.no_grad()
def recalibrate(functional, vectors, batches, attack=None, labels=()):
    """Running statistics of the networks `vectors` (L, D), averaged in one pass in train mode.

    batches: images (L or 1, N, C, H, W) each; a batch weighs by its size, variances are unbiased.
    attack: its values, with `labels` (N,) for each batch: statistics are averaged over each iterate of the attack on a
    batch, the start first, and its result, each with the weight of the batch, as Tatro et al. do for robust curves.
    Random starts are the same for every network.
    Returns buffers, name -> (L, ...); the shared network's own buffers stay as they are.
    Statistics of the endpoints do not fit the networks between them: every point of a path needs its own
    (Tatro et al. 2020; REPAIR, Jordan et al. 2023). Dropout is active, as in training, and draws
    the same numbers each time.
    """
    buffers = functional.initial_buffers(len(vectors))
    layers = [m for m in functional.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return buffers
    momenta = [layer.momentum for layer in layers]
    seen = 0
    seed_layers("recalibration", device=vectors.device)
    try:
        for step, (images, targets) in enumerate(zip_longest(batches, labels)):
            size = images.shape[1]
            seen += size
            for layer in layers:
                layer.momentum = size / seen
            images = images.expand(len(vectors), *images.shape[1:])
            if attack is not None:
                generators = [generator("recalibration", step, device=vectors.device) for _ in vectors]
                of_lanes = targets.expand(len(vectors), -1)
                # The momentum differs in each batch: a compiled pass would be compiled again for each.
                with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
                    images = classification.attacked(
                        functional, vectors, buffers, images, of_lanes, attack, generators, train=True, gather=True
                    )
            functional(vectors, buffers, images, train=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    return buffers


def recalibrated(functional, vectors, dataset, recalibration, values=None):
    """Buffers of the networks `vectors` with statistics of `images` training images, see `datasets.mixed` (0: all).

    recalibration: {"images", "batch"}. values: a job's; "augmentation" and "attack" are used if present, both of the
    recipe: the first changes images as in training, alike for all networks (Tatro et al. 2020, their code), the second
    adds statistics of each of its iterates.
    """
    values = values or {}
    chosen, size = datasets.mixed(dataset.train_labels, recalibration["images"]), recalibration["batch"]
    images = datasets.in_order(dataset.train_images[chosen], size, values.get("augmentation"))
    return recalibrate(functional, vectors, images, values.get("attack"), dataset.train_labels[chosen].split(size))
