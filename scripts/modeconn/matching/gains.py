"""Gains and offsets of layer normalization multiplied into the weights before it, for matching (Kalaivanan 2023)."""

from collections.abc import Mapping

from torch import Tensor


def in_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of networks of family mlp with each layer's gain and offset put into its linear layer's tensors.

    tensors: name -> (...), or (N, ...) of N networks. Weights (n, inputs) are multiplied by the gain (n,), biases too,
    and the offset is added to them; gain and offset are not in the result, whose names are those to match by. The
    result is not a network of the same function, since normalization lies in between, but serves to compare units: a
    permutation found with it is one of the networks. Tensors without layer normalization are returned unchanged.
    Raises ValueError for batch normalization, whose statistics belong to its gain.
    """
    found = dict(tensors)
    for layer in [name.removesuffix(".norm.weight") for name in tensors if name.endswith(".norm.weight")]:
        if f"{layer}.norm.running_var" in tensors:
            raise ValueError(
                f"tensor {layer}.norm.weight is a gain of batch normalization: take networks with norm: layer"
            )
        gain, offset = found.pop(f"{layer}.norm.weight"), found.pop(f"{layer}.norm.bias")
        found[f"{layer}.linear.weight"] = gain[..., None] * found[f"{layer}.linear.weight"]
        found[f"{layer}.linear.bias"] = gain * found[f"{layer}.linear.bias"] + offset
    return found
