"""Statistics of normalization layers, estimated anew for given weights."""

import torch
from torch import nn

from modeconn.randomness import seed_layers


@torch.no_grad()
def recalibrate(functional, vectors, batches):
    """Running statistics of the networks `vectors` (L, D), averaged in one pass in train mode.

    batches: images (L or 1, N, C, H, W) each; a batch weighs by its size, variances are unbiased.
    Returns buffers, name -> (L, ...); the shared network's own buffers stay as they are.
    Between two networks the statistics of neither apply: every point of a path needs its own
    (Tatro et al. 2020; REPAIR, Jordan et al. 2023). Dropout is at work, as in training, and draws
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
        for images in batches:
            size = images.shape[1]
            seen += size
            for layer in layers:
                layer.momentum = size / seen
            functional(vectors, buffers, images.expand(len(vectors), *images.shape[1:]), train=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    return buffers
