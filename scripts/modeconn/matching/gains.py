"""Layer normalization as a part of the weights before it, for matching (Kalaivanan 2023)."""

from collections.abc import Mapping

from torch import Tensor


def in_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of networks of family mlp with each layer's gain and offset put into its linear layer's tensors.

    tensors: name -> (...), or (N, ...) of N networks. Weights (n, inputs) are multiplied by the gain (n,), biases too,
    and the offset is added to them; gain and offset are not in the result, so that its names are what to match on. It
    is no network that computes the same, since what is normalized lies in between, but a measure of how alike units
    are; a permutation found by it is one of the networks. Without layer normalization nothing changes.
    Raises ValueError for batch normalization, whose statistics belong to its gain.
    """
    found = dict(tensors)
    for layer in [name.removesuffix(".norm.weight") for name in tensors if name.endswith(".norm.weight")]:
        if f"{layer}.norm.running_var" in tensors:
            raise ValueError(
                f"tensor {layer}.norm.weight is a gain of batch normalization: take networks of norm layer"
            )
        gain, offset = found.pop(f"{layer}.norm.weight"), found.pop(f"{layer}.norm.bias")
        found[f"{layer}.linear.weight"] = gain[..., None] * found[f"{layer}.linear.weight"]
        found[f"{layer}.linear.bias"] = gain * found[f"{layer}.linear.bias"] + offset
    return found
