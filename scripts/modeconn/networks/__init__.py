"""Networks by family name, with width and normalization layer as arguments.

Every network built by `build` takes images in [0, 1] and normalizes them itself, so that an attack
can work in pixel space and a checkpoint needs no companion transform.
"""

import inspect
import math
from importlib import import_module

import torch
from torch import nn

from modeconn.dispatch import FAMILIES

# Keys of a network that decide how it is computed, not which function it is.
COMPUTING = ("precision", "compile", "exact")

# Draws of He et al. 2015 (arXiv 1502.01852) for ReLU, with variance 2 / inputs.
INITIALIZATIONS = {"kaiming_normal": nn.init.kaiming_normal_, "kaiming_uniform": nn.init.kaiming_uniform_}


class Normalized(nn.Module):
    """`network` applied to (images - mean) / std; `mean` and `std` are per channel, in pixel units of [0, 1].

    They are data, not weights: not in the state dict, but moved with the module. `precision`, float32 or bfloat16,
    `compiled` and `exact` say how it is to be computed (`functional`).
    """

    def __init__(self, network, mean, std, precision="float32", compile=False, exact=False):
        super().__init__()
        self.network = network
        self.precision, self.compiled, self.exact = precision, compile, exact
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    @property
    def auxiliary_weight(self):
        """Weight of each auxiliary head's loss in training; a network without such heads need not have it."""
        return self.network.auxiliary_weight

    def forward(self, images):
        return self.network((images - self.mean) / self.std)

    @property
    def forward_lanes(self):
        """`forward` of L networks at once, from tensors by name, (L, ...), and images (L, N, C, H, W) to logits.

        None where the family has no such function, and in other precisions than float32.
        """
        forward_lanes = getattr(self.network, "forward_lanes", None)
        if forward_lanes is None or self.precision != "float32":
            return None

        def compute(tensors, images):
            # Where all networks see the same images, these are normalized once.
            shared = images.stride(0) == 0 and not images.requires_grad
            normalized = ((images[:1] if shared else images) - self.mean).div_(self.std).expand_as(images)
            own = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
            return forward_lanes(own, normalized)

        return compute


def build(network, *, shape, classes, mean, std, seed=0, initialization="default"):
    """The network that `network` describes, initialized from `seed`.

    network: {"family": a key of dispatch.FAMILIES, "precision": float32 | bfloat16, "compile": bool,
    "exact": bool, "width": float, "norm": batch | layer | none, ...}; each family has its own keys.
    shape: (C, H, W) of one image; mean, std: C numbers each. Grey images (C = 1) become three equal
    channels for a family that takes colour only.
    initialization: "default", as the family draws its weights, or a key of INITIALIZATIONS, by which the weights of
    its linear layers and convolutions are drawn anew (Kalaivanan 2023, study of hyper-parameters: biases stay).
    Returns a module (N, C, H, W) in [0, 1] -> (N, classes) logits; with auxiliary heads, in train
    mode, (logits, *auxiliary logits), and `auxiliary_weight` says what their losses count.
    Raises ValueError where the images do not suit the family.
    """
    module, name, fixed = FAMILIES[network["family"]]
    family = getattr(import_module(f"modeconn.networks.{module}"), name)
    arguments = fixed | {key: value for key, value in network.items() if key not in ("family", *COMPUTING)}
    least = getattr(family, "LEAST_SIZE", 1)
    if min(shape[1:]) < least:
        raise ValueError(
            f"network family {network['family']}: images of {shape[1]}x{shape[2]} pixels are too small, "
            f"it needs at least {least}x{least}: raise the data set's size"
        )
    channels = getattr(family, "CHANNELS", shape[0])
    if shape[0] not in (1, channels):
        raise ValueError(
            f"network family {network['family']}: images have {shape[0]} channels, it takes {channels}, or grey ones"
        )
    mean, std = (list(values) * (channels // shape[0]) for values in (mean, std))
    # Each family gets the arguments that it names.
    image = {"channels": shape[0], "inputs": math.prod(shape), "shape": shape}
    arguments |= {key: value for key, value in image.items() if key in inspect.signature(family).parameters}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        computing = {key: network[key] for key in COMPUTING if key in network}
        built = family(classes=classes, **arguments)
        if initialization != "default":
            for layer in built.modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    INITIALIZATIONS[initialization](layer.weight)
        return Normalized(built, mean, std, **computing)


def of(network, dataset, seed=0, initialization="default"):
    """`build` for the images of `dataset`."""
    return build(**description(network, dataset), seed=seed, initialization=initialization)


def description(network, dataset):
    """The arguments of `build` as JSON values, enough to build the network without the data."""
    facts = {key: getattr(dataset, key) for key in ("classes", "mean", "std")}
    return {"network": network, "shape": list(dataset.shape), **facts}
