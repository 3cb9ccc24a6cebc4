"""Narrow networks in wide ones, fixed points of permutations, and some groups of one permutation in another."""

from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import nn
from torch.func import functional_call

from modeconn.permutation.discovery import discover
from modeconn.permutation.graphs import ALIKE
from modeconn.permutation.spec import Axis, PermutationSpec, Segment

# Which of n groups, numbered in graph order, are taken from the second permutation: one set after the other, each with
# the group that names it.
WAYS: dict[str, Callable[[int], list[tuple[int, Collection[int]]]]] = {
    "bottom-up": lambda n: [(last, range(last + 1)) for last in range(n)],
    "top-down": lambda n: [(first, range(first, n)) for first in reversed(range(n))],
    "put-in": lambda n: [(one, [one]) for one in range(n)],
    "leave-out": lambda n: [(one, [group for group in range(n) if group != one]) for one in range(n)],
}


@torch.no_grad()
def embed(
    narrow: nn.Module, wide: nn.Module, tensors: dict[str, torch.Tensor], example: torch.Tensor
) -> dict[str, torch.Tensor]:
    """State dict of the network `wide` that computes what `narrow` does with the state dict `tensors`.

    A group's channels become the first channels of the wide network's group of that name, followed by zeros (Sharma et
    al. 2024, narrow networks in wide ones); in a concatenation or a flattened axis the zeros follow the group's own
    part. The added channels write zeros and are read with zeros, so that the logits are unchanged, also after a
    nonlinearity that does not map zero to zero, and with batch normalization by running or by batch statistics, whose
    parameters and statistics are zeros for added channels. Layer and group normalization change, if channels are added
    to those that they take mean and variance over.
    narrow, wide: networks of one architecture, whose own weights are not used. example: images (N, C, H, W), on which
    the logits of both are compared, on the device of all.
    Raises ValueError, with tensor and shapes, where `wide` is no wider network of that architecture, and where the
    logits differ.
    """
    specs = [discover(network, example) for network in (narrow, wide)]
    axes, wide_axes = ({(axis.tensor, axis.dim): axis for axis in spec.axes} for spec in specs)
    grown = {}
    for name, template in wide.state_dict().items():
        tensor = tensors.get(name)
        if tensor is None or tensor.ndim != template.ndim:
            found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
            raise ValueError(f"tensor {name}: {found} in the narrow network, {tuple(template.shape)} in the wide one")
        for dim, size in enumerate(template.shape):
            entries = _entries(name, tensor.shape[dim], size, axes.get((name, dim)), wide_axes.get((name, dim)))
            padded = tensor.new_zeros([*tensor.shape[:dim], size, *tensor.shape[dim + 1 :]])
            tensor = padded.index_copy(dim, entries.to(tensor.device), tensor)
        grown[name] = tensor
    before, after = (
        functional_call(network.eval(), state, (example,)) for network, state in ((narrow, tensors), (wide, grown))
    )
    change = (after - before).abs().max().item() / before.abs().max().item()
    if not change < ALIKE:
        raise ValueError(
            f"{type(wide).__name__}: with zeros added, logits change by {change:.2g} of the largest: a layer mixes "
            "the channels that are added to, as layer normalization does: use networks without it, or with batch norm"
        )
    return grown


def _entries(name: str, size: int, wide_size: int, axis: Axis | None, wide_axis: Axis | None) -> torch.Tensor:
    """The positions of the narrow network's `size` entries in an axis of the wide one."""
    if axis is None and wide_axis is None and size == wide_size:
        return torch.arange(size)
    mine, theirs = (() if each is None else each.segments for each in (axis, wide_axis))
    if not mine or len(mine) != len(theirs) or not all(map(_fits, mine, theirs)):
        raise ValueError(
            f"tensor {name}: {size} entries of the narrow network do not fit into {wide_size} of the wide one: "
            "embedding takes two networks of one architecture, of which the second is nowhere narrower"
        )
    runs, start = [], 0
    for segment, wider in zip(mine, theirs):
        runs.append(start + torch.arange(segment.size * segment.repeat))
        start += wider.size * wider.repeat
    return torch.cat(runs)


def _fits(segment: Segment, wider: Segment) -> bool:
    same = segment.group == wider.group and segment.repeat == wider.repeat
    return same and (segment.size == wider.size if segment.group is None else segment.size <= wider.size)


def fixed_points(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Group -> the share of its channels that both permutations send to the same place (Sharma et al. 2024).

    Two random permutations share one channel, 1/n, in the mean.
    Raises ValueError where the two are not of one network.
    """
    _check(first, second)
    return {group: (order == second[group]).double().mean().item() for group, order in first.items()}


def layerwise(
    spec: PermutationSpec, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], way: str
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """(group, permutation) for each group of the spec: `second` in some groups, `first` in the others.

    way (Sharma et al. 2024): "bottom-up" takes the groups up to the named one from `second`, in graph order, "top-down"
    the named one and those after it, from the last group to the first, "put-in" the named one alone, "leave-out" all
    but that. With the identity as `first` these are parts of `second`; with compose(p, q) as `second` and p as `first`
    they are p followed by q in those groups.
    Raises ValueError for an unknown way, or where the two are not of the spec's network.
    """
    if way not in WAYS:
        raise ValueError(f"layer-wise composition {way!r} is unknown: expected {', '.join(WAYS)}")
    groups = list(spec.groups)
    _check(first, second)
    _check({group: torch.arange(size) for group, size in spec.groups.items()}, first)
    for name, taken in WAYS[way](len(groups)):
        yield groups[name], {group: (second if i in taken else first)[group] for i, group in enumerate(groups)}


def _check(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> None:
    for group in [*first, *second]:
        sizes = [len(permutation[group]) if group in permutation else None for permutation in (first, second)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"group {group} has {sizes[0]} channels in one permutation and {sizes[1]} in the other: "
                "compare permutations of one network"
            )
