"""Which entries of which tensors move together when the hidden neurons of a network are renumbered.

A group is a set of neurons or channels that share one permutation. A permutation maps each group's name
to int64 indices, with w_new[i] = w[permutation[i]] along every axis that carries the group.
"""

from dataclasses import dataclass, field, replace

import torch


@dataclass(frozen=True)
class Segment:
    """A run of entries of one axis: `size` channels, each of `repeat` entries (H*W after a flatten)."""

    group: str | None  # None: pinned to the identity
    size: int
    repeat: int = 1


@dataclass(frozen=True)
class Axis:
    """Axis `dim` of `tensor`, cut into segments."""

    tensor: str
    dim: int
    segments: tuple[Segment, ...]
    output: bool  # written by the group's layers (weight axis 0, bias, normalization) or read by later ones


@dataclass(frozen=True)
class Site:
    """A group's activations: entries offset .. offset + size of axis `dim` of a node's value, see `capture`.

    training: the node is one of the train graph, for a group that the eval graph does not have.
    """

    node: str
    dim: int
    offset: int
    size: int
    training: bool = False


@dataclass(frozen=True)
class PermutationSpec:
    """The groups of a network, name -> size, and where they are.

    A group has the name of the first layer that opens it; the order is the eval graph's, then that of what
    only the train graph has (auxiliary heads). `sites` are a group's activations after a nonlinearity, in graph order,
    those of the eval graph wherever it has the group; where there are none (a linear bottleneck), the last value that
    carries the group alone. `pre_sites` are the values that those nonlinearities are applied to: what a normalization
    returns or, on a residual stream, the sum.
    `pinned` holds what might be permuted and is not: a layer whose outputs must keep their order, or a parameter, ->
    why. Inputs and logits of the network, which have an order of their own, are not named.
    """

    groups: dict[str, int]
    axes: tuple[Axis, ...]
    sites: dict[str, tuple[Site, ...]]
    pre_sites: dict[str, tuple[Site, ...]]
    pinned: dict[str, str] = field(default_factory=dict)


def apply(spec, permutation, tensors):
    """A dict like `tensors` (name -> tensor: weights, buffers, masks ...) with each axis of the spec gathered.

    Tensors that the spec does not name pass through unchanged, and not all that it names need to be there.
    Raises ValueError, with group and tensor, where a group has no permutation of its size or an axis another length.
    """
    if spec.axes and not any(axis.tensor in tensors for axis in spec.axes):
        raise ValueError(f"no tensor of the spec ({spec.axes[0].tensor}, ...) is given: is it another network's?")
    permuted = dict(tensors)
    for axis in spec.axes:
        if axis.tensor in permuted:
            indices, tensor = _indices(axis, permutation), permuted[axis.tensor]
            if tensor.ndim <= axis.dim or tensor.shape[axis.dim] != len(indices):
                groups = ", ".join(sorted({segment.group for segment in axis.segments if segment.group}))
                raise ValueError(
                    f"tensor {axis.tensor} has shape {tuple(tensor.shape)}: "
                    f"axis {axis.dim} should have {len(indices)} entries for group {groups}"
                )
            permuted[axis.tensor] = tensor.index_select(axis.dim, indices.to(tensor.device))
    return permuted


def _indices(axis, permutation):
    """The old entry for each new entry of an axis."""
    runs, offset = [], 0
    for segment in axis.segments:
        straight = torch.arange(segment.size)
        channels = straight if segment.group is None else permutation.get(segment.group, straight[:0]).cpu()
        if channels.dtype != torch.int64 or not torch.equal(channels.sort().values, straight):
            raise ValueError(
                f"group {segment.group}, tensor {axis.tensor}: the permutation must hold each of "
                f"0..{segment.size - 1} once, int64; it holds {len(channels)} entries, {channels.dtype}"
            )
        runs.append(offset + (channels[:, None] * segment.repeat + torch.arange(segment.repeat)).flatten())
        offset += segment.size * segment.repeat
    return torch.cat(runs)


def identity(spec):
    """The permutation that changes nothing."""
    return {group: torch.arange(size) for group, size in spec.groups.items()}


def random(spec, generator):
    """A permutation, uniform in each group, drawn with `generator` (on the CPU)."""
    return {group: torch.randperm(size, generator=generator) for group, size in spec.groups.items()}


def invert(permutation):
    """The permutation that undoes `permutation`."""
    return {group: torch.argsort(indices) for group, indices in permutation.items()}


def member(permutations, place):
    """The permutation of one member of a population, by its place; permutations: group -> (N, n)."""
    return {group: orders[place] for group, orders in permutations.items()}


def stacked(permutations):
    """Permutations of the N members of a population, group -> (n,) each, as one, group -> (N, n)."""
    return {group: torch.stack([own[group] for own in permutations]) for group in permutations[0]}


def compose(first, second):
    """One permutation for two in a row: apply(compose(p, q), w) == apply(q, apply(p, w))."""
    return {group: indices[second[group]] for group, indices in first.items()}


def freedom(spec, network):
    """The share of the network's parameters, by entries, that some permutation of the spec moves."""
    kept = {name: 1.0 for name, _ in network.named_parameters()}
    for axis in spec.axes:
        if axis.tensor in kept:
            sizes = [segment.size * segment.repeat for segment in axis.segments]
            still = [size for size, segment in zip(sizes, axis.segments) if segment.group is None]
            kept[axis.tensor] *= sum(still) / sum(sizes)
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    return 1 - sum(kept[name] * size for name, size in sizes.items()) / max(1, sum(sizes.values()))


def pin(spec, groups, reason):
    """The spec without some of its groups, which are pinned for `reason`: their channels keep their order."""

    def pinned(axis):
        segments = (replace(s, group=None) if s.group in groups else s for s in axis.segments)
        return replace(axis, segments=tuple(segments))

    axes = (pinned(axis) for axis in spec.axes)
    return PermutationSpec(
        groups={group: size for group, size in spec.groups.items() if group not in groups},
        axes=tuple(axis for axis in axes if any(segment.group for segment in axis.segments)),
        sites={group: sites for group, sites in spec.sites.items() if group not in groups},
        pre_sites={group: sites for group, sites in spec.pre_sites.items() if group not in groups},
        pinned=spec.pinned | dict.fromkeys(groups, reason),
    )
