"""Permutation specs: the entries of tensors that move together when hidden neurons of a network are renumbered.

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
    # True for keys of attention: layers write them, but the product with the queries reads them.
    read: bool = False


@dataclass(frozen=True)
class Axis:
    """Axis `dim` of `tensor`, cut into segments."""

    tensor: str
    dim: int
    segments: tuple[Segment, ...]
    output: bool  # written by the group's layers (weight axis 0, bias, normalization) or read by later ones
    # Entry order[i] of the axis is the i-th entry of the segments; None where they are in order. A channel shuffle
    # changes the order.
    order: tuple[int, ...] | None = None
    # The number of groups of a grouped convolution, for its weight: the segments list the input channels of all groups,
    # while the axis has only those of the group to which the entry along axis 0 belongs.
    blocks: int = 1


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
class Gain:
    """The gain of a normalization of a group that may be rotated, by the names of its tensors in a state dict.

    names: of the gain, several where modules share it.
    offsets: of what is added to the values that it multiplied.
    readers: (tensor, dim) of the axes that read these values.
    """

    names: tuple[str, ...]
    offsets: tuple[str, ...]
    readers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Rotation:
    """How a group may be rotated: by any orthogonal matrix, once its gains are folded into what reads them.

    gains: of the normalizations that read the group.
    centred: only by those that keep the vector of ones, since layer normalization subtracts the mean.
    """

    gains: tuple[Gain, ...]
    centred: bool


@dataclass(frozen=True)
class PermutationSpec:
    """The groups of a network, name -> size, and the axes that carry them.

    A group has the name of the first layer that writes it. Groups are in the order of the eval graph, followed by those
    that only the train graph has (auxiliary heads).
    `sites`: group -> its activations after a nonlinearity, in graph order; of the eval graph, if it has the group. A
    group without a nonlinearity (a linear bottleneck) has the last value that carries it alone.
    `pre_sites`: the inputs of these nonlinearities: the output of a normalization or, on a residual stream, the sum.
    `blocks`: group that consists of blocks (heads of attention, groups of a convolution) -> the group that permutes
    these blocks. Its own permutation moves whole blocks in that order, and channels within each block.
    `pinned`: layer whose outputs keep their order, or parameter that is not permuted -> the reason. It does not name
    inputs and logits of the network, whose order is fixed anyway.
    `channels`: group, or pinned layer -> how many hidden channels layers write for it. For a weight that no rule knows,
    these are its outputs.
    `scales`: group whose channels may also be multiplied -> "scales" or "scales and signs"; `unscaled`: any other group
    -> why not. Both are empty without `permutation.scales`.
    `rotations`: group whose channels may also be rotated; `unrotated`: any other group -> why not. Both are empty
    without `permutation.rotations`.
    """

    groups: dict[str, int]
    axes: tuple[Axis, ...]
    sites: dict[str, tuple[Site, ...]]
    pre_sites: dict[str, tuple[Site, ...]]
    pinned: dict[str, str] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    scales: dict[str, str] = field(default_factory=dict)
    unscaled: dict[str, str] = field(default_factory=dict)
    rotations: dict[str, Rotation] = field(default_factory=dict)
    unrotated: dict[str, str] = field(default_factory=dict)


def apply(spec, permutation, tensors):
    """Permute `tensors` (name -> tensor: weights, buffers, masks ...) along every axis of the spec: a new dict.

    Tensors that the spec does not name are returned unchanged; tensors that it names may be missing.
    Raises ValueError, with group and tensor, where a permutation is missing or of another size, where an axis has
    another length, and where a permutation does not move whole blocks.
    """
    if spec.axes and not any(axis.tensor in tensors for axis in spec.axes):
        raise ValueError(f"no tensor of the spec ({spec.axes[0].tensor}, ...) is given: is it another network's?")
    permuted = dict(tensors)
    # Axes with blocks come last, since they need the entries along axis 0 in their final order.
    for axis in sorted(spec.axes, key=lambda axis: axis.blocks):
        if axis.tensor in permuted:
            indices, tensor = _indices(axis, permutation), permuted[axis.tensor]
            if tensor.ndim <= axis.dim or tensor.shape[axis.dim] * axis.blocks != len(indices):
                groups = ", ".join(sorted({segment.group for segment in axis.segments if segment.group}))
                raise ValueError(
                    f"tensor {axis.tensor} has shape {tuple(tensor.shape)}: "
                    f"axis {axis.dim} should have {len(indices) // axis.blocks} entries for group {groups}"
                )
            permuted[axis.tensor] = _gathered(tensor, axis, indices.to(tensor.device))
    for group, blocks in spec.blocks.items():
        number = spec.groups[blocks]
        taken = permutation[group].view(number, -1) // (spec.groups[group] // number)
        if not (taken == permutation[blocks][:, None]).all():
            raise ValueError(f"group {group}: its permutation does not move whole blocks in the order of {blocks}")
    return permuted


def _gathered(tensor, axis, indices):
    """The tensor with its axis in the order of `indices`."""
    if axis.blocks == 1:
        return tensor.index_select(axis.dim, indices)
    within = indices.view(axis.blocks, -1) % tensor.shape[axis.dim]
    entries = within.repeat_interleave(len(tensor) // axis.blocks, 0)
    shape = [size if dim in (0, axis.dim) else 1 for dim, size in enumerate(tensor.shape)]
    return tensor.take_along_dim(entries.view(shape), axis.dim)


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
    indices = torch.cat(runs)
    if axis.order is None:
        return indices
    order = torch.tensor(axis.order)
    return torch.empty_like(order).scatter_(0, order, order[indices])


def identity(spec):
    """The permutation that changes nothing."""
    return {group: torch.arange(size) for group, size in spec.groups.items()}


def random(spec, generator):
    """A permutation, uniform in each group, drawn with `generator` (on the CPU)."""
    return draw(spec, lambda size: torch.randperm(size, generator=generator))


def draw(spec, permutation_of):
    """A permutation of all groups. permutation_of: a function from a size to a permutation.

    It is called once for each group without blocks, then once for each block of the others.
    """
    drawn = {group: permutation_of(size) for group, size in spec.groups.items() if group not in spec.blocks}
    for group, blocks in spec.blocks.items():
        number = spec.groups[blocks]
        within = [permutation_of(spec.groups[group] // number) for _ in range(number)]
        drawn[group] = blockwise(drawn[blocks], within)
    return {group: drawn[group] for group in spec.groups}


def only(spec, permutation, groups):
    """The permutation restricted to some groups: others keep their order, but move with their blocks."""
    chosen = identity(spec) | {group: permutation[group] for group in groups if group not in spec.blocks}
    for group, blocks in spec.blocks.items():
        within = chosen[group].view(spec.groups[blocks], -1)
        size = within.shape[1]
        chosen[group] = blockwise(
            chosen[blocks], (permutation[group].view_as(within) if group in groups else within) % size
        )
    return chosen


def clusters(spec):
    """Group that permutes blocks -> the groups that consist of these blocks."""
    found = {}
    for group, blocks in spec.blocks.items():
        found.setdefault(blocks, []).append(group)
    return found


def blockwise(order, within):
    """The permutation whose block i is the old block order[i], with the entries of that in the order within[i]."""
    return torch.cat([block * len(entries) + entries for block, entries in zip(order.tolist(), within)])


def straightened(spec, tensors):
    """An equivalent (spec, tensors) whose axes are in the order of their segments and have no blocks.

    The weight of a grouped convolution becomes that of an ordinary one, with zeros between its groups. Other tensors
    are returned unchanged.
    """
    straight, axes = dict(tensors), []
    for axis in spec.axes:
        if axis.tensor in tensors:
            tensor = straight[axis.tensor]
            if axis.order is not None:
                straight[axis.tensor] = tensor.index_select(axis.dim, torch.tensor(axis.order, device=tensor.device))
            elif axis.blocks > 1:
                straight[axis.tensor] = _whole(tensor, axis)
        axes.append(replace(axis, order=None, blocks=1))
    return replace(spec, axes=tuple(axes)), straight


def _whole(tensor, axis):
    """The tensor with the channels of all blocks along the axis: 0 for those of other blocks than the entry's own."""
    parts = tensor.unflatten(0, (axis.blocks, -1))
    whole = tensor.new_zeros(axis.blocks, *parts.shape[1 : axis.dim + 1], axis.blocks, *parts.shape[axis.dim + 1 :])
    every = torch.arange(axis.blocks, device=tensor.device)
    whole.movedim(axis.dim + 1, 1)[every, every] = parts
    return whole.flatten(axis.dim + 1, axis.dim + 2).flatten(0, 1)


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


def hidden(spec):
    """(number of hidden channels in groups, number of all hidden channels)."""
    return sum(spec.channels.get(group, 0) for group in spec.groups), sum(spec.channels.values())


def pin(spec, groups, reason):
    """The spec without some of its groups, which are pinned for `reason`: their channels keep their order.

    Groups that share blocks with them are pinned too.
    """
    together = [{blocks, *members} for blocks, members in clusters(spec).items()]
    groups = set(groups).union(*(cluster for cluster in together if cluster & set(groups)))

    def pinned(axis):
        segments = (replace(s, group=None) if s.group in groups else s for s in axis.segments)
        return replace(axis, segments=tuple(segments))

    axes = (pinned(axis) for axis in spec.axes)
    return PermutationSpec(
        groups={group: size for group, size in spec.groups.items() if group not in groups},
        axes=tuple(axis for axis in axes if any(segment.group for segment in axis.segments)),
        sites={group: sites for group, sites in spec.sites.items() if group not in groups},
        pre_sites={group: sites for group, sites in spec.pre_sites.items() if group not in groups},
        pinned=spec.pinned | dict.fromkeys((group for group in spec.groups if group in groups), reason),
        blocks={group: blocks for group, blocks in spec.blocks.items() if group not in groups},
        channels=spec.channels,
        scales={group: kind for group, kind in spec.scales.items() if group not in groups},
        unscaled={group: why for group, why in spec.unscaled.items() if group not in groups},
        rotations={group: rotation for group, rotation in spec.rotations.items() if group not in groups},
        unrotated={group: why for group, why in spec.unrotated.items() if group not in groups},
    )
