"""Networks by family name, with width and normalization layer as arguments.

Every network built by `build` takes images in [0, 1] and normalizes them itself, so that an attack
can work in pixel space and a checkpoint needs no companion transform.
"""

import math
from importlib import import_module

import torch
from torch import nn

from modeconn.dispatch import FAMILIES


class Normalized(nn.Module):
    """`network` applied to (images - mean) / std; `mean` and `std` are per channel, in pixel units of [0, 1].

    They are data, not weights: kept out of the state dict, moved with the module.
    """

    def __init__(self, network, mean, std):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images):
        return self.network((images - self.mean) / self.std)


def build(network, *, shape, classes, mean, std, seed=0):
    """The network that `network` describes, initialized from `seed`.

    network: {"family": a key of dispatch.FAMILIES, "width": float, "norm": batch | layer | none, ...}.
    shape: (C, H, W) of one image; mean, std: C numbers each.
    Returns a module (N, C, H, W) in [0, 1] -> (N, classes) logits.
    Raises ValueError where the images are too small for the family.
    """
    module, name, fixed = FAMILIES[network["family"]]
    family = getattr(import_module(f"modeconn.networks.{module}"), name)
    arguments = fixed | {key: value for key, value in network.items() if key != "family"}
    least = getattr(family, "LEAST_SIZE", 1)
    if min(shape[1:]) < least:
        raise ValueError(
            f"network family {network['family']}: images of {shape[1]}x{shape[2]} pixels are too small, "
            f"it needs at least {least}x{least}: raise the data set's size"
        )
    if network["family"] == "mlp":
        arguments["inputs"] = math.prod(shape)
    else:
        arguments["channels"] = shape[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Normalized(family(classes=classes, **arguments), mean, std)


def of(network, dataset, seed=0):
    """`build` for the images of `dataset`."""
    return build(network, shape=dataset.shape, classes=dataset.classes, mean=dataset.mean, std=dataset.std, seed=seed)
