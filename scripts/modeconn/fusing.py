"""Fuse batch normalization of trained networks into the linear layers before it (REPAIR's networks on MNIST).

Then averaging acts on the fused weights and biases, and there are no statistics to re-estimate.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-5  # of torch's batch normalization


def fused(network: dict, states: Sequence[dict[str, Tensor]]) -> tuple[dict, list[dict[str, Tensor]]]:
    """(values, state dicts) of fully connected networks without normalization that compute the same.

    network: the values of an `mlp` with batch normalization; states: its state dicts, running statistics included.
    """
    plain = {key: value for key, value in network.items() if key != "fused"} | {"norm": "none"}
    return plain, [_fused(state) for state in states]


def _fused(state):
    found = {name: tensor for name, tensor in state.items() if ".norm." not in name}
    for place in range(sum(name.endswith("norm.running_var") for name in state)):
        layer = f"network.layers.{place}"
        gain, offset, mean, variance = (
            state[f"{layer}.norm.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain * torch.rsqrt(variance + EPSILON)
        found[f"{layer}.linear.weight"] = scale[:, None] * state[f"{layer}.linear.weight"]
        found[f"{layer}.linear.bias"] = scale * (state[f"{layer}.linear.bias"] - mean) + offset
    return found
