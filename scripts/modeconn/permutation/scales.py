"""Scales and signs of channels that leave what a network computes unchanged: more symmetry than permutation.

A channel may be multiplied by a factor where it is written and divided by it where it is read, if what lies between
commutes with the factor. ReLU, LeakyReLU and pooling commute with positive factors (Neyshabur et al. 2015, Path-SGD),
linear operations with negative ones too, as between queries and keys, and between values and the layer after attention.
A group with any other operation between, such as normalization, GELU or tanh, keeps its scales, with the reason.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from modeconn import forward
from modeconn.permutation import discovery, proof, verdict
from modeconn.permutation.discovery import LAYERS
from modeconn.permutation.graphs import DROPOUT, attempt, graphs_of, words
from modeconn.permutation.groups import _CHANNELS, Groups
from modeconn.permutation.spec import Axis, PermutationSpec

SCALES, SIGNS = "scales", "scales and signs"

# Operations, as `graphs.kind_of` names them, that commute with a factor of a channel: with positive ones, or with any.
_POSITIVE = words("""
    relu leakyrelu abs amax amin maximum minimum maxpool1d maxpool2d maxpool3d
    adaptivemaxpool1d adaptivemaxpool2d adaptivemaxpool3d
""")
_SUMS = words("add iadd sub isub maximum minimum")  # of values that all have the factor
_FACTORS = words("mul imul div truediv itruediv")  # by a number
_LINEAR = (
    DROPOUT
    | _FACTORS
    | words("""
    add iadd sub isub neg mean sum identity clone detach float double
    cat concat concatenate stack flatten unflatten view reshape permute transpose swapaxes swapdims movedim moveaxis
    squeeze unsqueeze t expand contiguous getitem chunk split tensorsplit unbind narrow select roll flip channelshuffle
    size dim ndimension numel stride getattr
    avgpool1d avgpool2d avgpool3d adaptiveavgpool1d adaptiveavgpool2d adaptiveavgpool3d interpolate upsample
    linear matmul mm bmm einsum scaleddotproductattention conv1d conv2d conv3d shiftedwindowattention
""")
)


class Rescaled(dict):
    """A permutation, group -> indices (n,), and what its channels are multiplied by afterwards.

    scales: group -> factors (n,), float64.
    """

    def __init__(self, permutation: dict[str, torch.Tensor], scales: dict[str, torch.Tensor]):
        super().__init__(permutation)
        self.scales = scales


def discover(
    network: nn.Module, spec: PermutationSpec, example: torch.Tensor, generator: torch.Generator
) -> PermutationSpec:
    """The spec with the groups whose channels may be multiplied, and for the other ones the reason.

    A group is included if every operation between its layers is known to commute with a factor, and if multiplying it
    changes no output (`change`). example: a batch of images (N, C, H, W). Errors as of `discovery.discover`.
    """
    kinds, reasons = _allowed(network, spec, example)
    for group in list(kinds):
        if not _writing(replace(spec, scales=kinds), group):
            reasons[group] = "each weight that writes it reads a group whose scales are divided out after its own"
            del kinds[group]
    measured = _changes(network, example, generator)
    if not measured(replace(spec, scales=kinds)) < verdict.LARGEST_CHANGE:
        known, kinds = kinds, {}
        for group, kind in known.items():
            if measured(replace(spec, scales=kinds | {group: kind})) < verdict.LARGEST_CHANGE:
                kinds[group] = kind
            else:
                reasons[group] = "multiplying it changes an output"
    return replace(spec, scales=kinds, unscaled={group: reasons[group] for group in spec.groups if group in reasons})


def change(network: nn.Module, spec: PermutationSpec, example: torch.Tensor, generator: torch.Generator) -> float:
    """By how much multiplying all of `spec.scales` by random factors changes an output, as a fraction of its largest.

    Measured like the proof of permutations: on a copy with redrawn weights, in float64 on the CPU, in eval mode and in
    train mode. An exact symmetry gives about 1e-15. example: only its shape is used, and the range of integers.
    """
    return _changes(network, example, generator)(spec)


def verify(network: nn.Module, spec: PermutationSpec, example: torch.Tensor, generator: torch.Generator) -> None:
    """Raises ValueError where multiplying the groups of `spec.scales` changes an output; see `change`."""
    if not (found := change(network, spec, example, generator)) < verdict.LARGEST_CHANGE:
        raise ValueError(
            f"{type(network).__name__}: multiplying the channels of {', '.join(spec.scales)} changes an output by "
            f"{found:.1e} of its largest value"
        )


@torch.no_grad()
def _changes(network, example, generator):
    """A function from a spec to its `change` of this network."""
    drawn = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
    tensors, outputs = redrawn(network, example, drawn)
    before = outputs(tensors)

    def changed(spec):
        factors = {}
        for group, kind in spec.scales.items():
            factors[group] = (4 * torch.rand(spec.groups[group], generator=drawn, dtype=torch.float64) - 2).exp()
            if kind == SIGNS:
                factors[group] *= torch.randint(2, (spec.groups[group],), generator=drawn) * 2 - 1
        pairs = zip(outputs(apply(spec, factors, tensors)), before)
        return max(((new - old).abs().max() / old.abs().max()).item() for new, old in pairs)

    return changed


@torch.no_grad()
def redrawn(
    network: nn.Module, example: torch.Tensor, drawn: torch.Generator
) -> tuple[dict[str, torch.Tensor], Callable[[Mapping[str, torch.Tensor]], list[torch.Tensor]]]:
    """(tensors of a copy with redrawn weights, a function from such tensors to all outputs), in float64 on the CPU.

    The outputs are those of eval mode, and those that only train mode has. drawn: by its initial seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(drawn.initial_seed())
        twin, images = forward.copied(network).to("cpu", torch.float64), proof.images_like(example)
        proof.redraw(twin, images)
    modules = [twin, *graphs_of(twin)[1:]]
    tensors = dict(chain(twin.named_parameters(), twin.named_buffers()))

    @torch.no_grad()
    def outputs(state):
        values = [torch.func.functional_call(module, state, (images[:2],)) for module in modules]
        return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]

    return tensors, outputs


def apply(
    spec: PermutationSpec, scales: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """A dict like `tensors` with the channels of some groups multiplied where they are written, divided where read.

    scales: group -> factors (n,), not zero. Raises ValueError for a group that is not in `spec.scales`, or has another
    size.
    """
    for group, factors in scales.items():
        if group not in spec.scales or len(factors) != spec.groups[group]:
            raise ValueError(f"group {group}: its channels cannot be multiplied by {len(factors)} factors")
    scaled = dict(tensors)
    for axis in spec.axes:
        if axis.tensor in scaled and scales.keys() & {segment.group for segment in axis.segments}:
            tensor, factors = scaled[axis.tensor], _along(axis, scales)
            shape = [-1 if dim == axis.dim else 1 for dim in range(tensor.ndim)]
            scaled[axis.tensor] = tensor * factors.to(tensor).view(shape)
    return scaled


def canonical(
    spec: PermutationSpec, tensors: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(tensors with scales divided out, the factors, group -> (n,) float64, by which `apply` brings them back).

    Group by group, in graph order, the weights and biases that write a channel are scaled to norm 1, unless all are 0;
    where signs are free, the sum of their cubes is made positive. Two networks that differ by permutations and such
    factors then differ by permutations only.
    """
    found = {}
    for group, kind in spec.scales.items():
        rows = torch.cat(
            [rows_of(axis, group, tensors[axis.tensor], written=True) for axis in _writing(spec, group)], 1
        ).double()
        norms = torch.linalg.vector_norm(rows, dim=1)
        norms = torch.where(norms > 0, norms, 1)
        if kind == SIGNS:
            norms = torch.where((rows / norms[:, None]).pow(3).sum(1) < 0, -norms, norms)
        found[group] = norms.cpu()
        tensors = apply(spec, {group: 1 / found[group]}, tensors)
    return dict(tensors), found


def opposed(
    spec: PermutationSpec, a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor], names: Iterable[str]
) -> dict[str, torch.Tensor]:
    """group -> signs (n,) that bring b nearer to a, for groups whose signs are free; only groups with some -1.

    names: the parameters that are compared. The channels of both networks are in the same order.
    """
    found, names = {}, set(names)
    for group in [group for group, kind in spec.scales.items() if kind == SIGNS]:
        axes = [axis for axis in spec.axes if axis.tensor in names and group in {s.group for s in axis.segments}]
        products = [
            (rows_of(x, group, a[x.tensor]).double() * rows_of(x, group, b[x.tensor])).sum(1).cpu() for x in axes
        ]
        signs = torch.where(sum(products) < 0, -1.0, 1.0).double()
        if (signs < 0).any():
            found[group] = signs
            b = apply(spec, {group: signs}, b)
    return found


def report(spec: PermutationSpec) -> str:
    """Which groups may be multiplied, and which not, and why, a line each."""
    kinds = list(spec.scales.values())
    reasons: dict[str, list[str]] = {}
    for group, reason in spec.unscaled.items():
        reasons.setdefault(reason, []).append(group)
    free = f"scales are divided out of {len(kinds)} of {len(spec.groups)} groups, signs of {kinds.count(SIGNS)}"
    return "\n".join([free, *(f"  keeps its scales: {', '.join(those)} ({why})" for why, those in reasons.items())])


def _along(axis: Axis, scales):
    """The factor of each entry of an axis."""
    runs = []
    for segment in axis.segments:
        factors = scales.get(segment.group, torch.ones(segment.size, dtype=torch.float64))
        factors = factors if axis.output and not segment.read else 1 / factors
        runs.append(factors.repeat_interleave(segment.repeat))
    factors = torch.cat(runs)
    if axis.order is None:
        return factors
    return torch.empty_like(factors).scatter_(0, torch.tensor(axis.order), factors)


def rows_of(axis, group, tensor, written=False):
    """(n, everything else): a tensor's entries of each channel of a group; written: without segments that are read."""
    if axis.order is not None:
        tensor = tensor.index_select(axis.dim, torch.tensor(axis.order, device=tensor.device))
    parts = tensor.split([segment.size * segment.repeat for segment in axis.segments], axis.dim)
    chosen = [
        part.movedim(axis.dim, 0).reshape(segment.size, -1)
        for segment, part in zip(axis.segments, parts)
        if segment.group == group and not (written and segment.read)
    ]
    return torch.cat(chosen, 1)


def _writing(spec, group):
    """The axes that write a group, of tensors that read no group that `canonical` scales at the same time or later."""
    later = list(spec.scales)[list(spec.scales).index(group) :]
    read = {}
    for axis in spec.axes:
        if not axis.output:
            read.setdefault(axis.tensor, set()).update(segment.group for segment in axis.segments)
    return [
        axis
        for axis in spec.axes
        if axis.output
        and any(segment.group == group and not segment.read for segment in axis.segments)
        and not read.get(axis.tensor, set()) & {*later}
    ]


def _twice(spec, group):
    """Whether a tensor has the group on two of its axes."""
    tensors = [axis.tensor for axis in spec.axes if group in {segment.group for segment in axis.segments}]
    return len(tensors) != len(set(tensors))


def _allowed(network, spec, example):
    """(group -> SCALES or SIGNS, group -> why not), from the operations between the layers that write and read it."""
    twin = forward.copied(network, network.parameters())
    groups = Groups()
    walks = [discovery._Walk(graph, groups) for graph in graphs_of(twin, example)]
    for walk in walks:
        attempt(walk.run, example, type(network).__name__)
    groups.settle()
    kinds, reasons = {}, {}
    for walk in walks:
        for node in walk.module.graph.nodes:
            for group in carried(groups, [walk.labels[source] for source in node.all_input_nodes]):
                allowed = _passes(walk, groups, node, group)
                if allowed is None:
                    reasons.setdefault(group, f"{walk._named(node)} does not pass its scale on")
                elif kinds.get(group) != SCALES:
                    kinds[group] = allowed
    convolved = {segment.group for axis in spec.axes if axis.blocks > 1 for segment in axis.segments}
    for group in spec.groups.keys() - set(spec.blocks.values()):
        if group in convolved:
            reasons[group] = "it is convolved in groups"
        elif group not in kinds:
            reasons.setdefault(group, "no operation that reads it is known to pass its scale on")
        elif _twice(spec, group):
            kinds[group] = SCALES
    return {group: kinds[group] for group in spec.groups if group in kinds and group not in reasons}, reasons


def carried(groups, labels):
    """The names of the groups that values with these labels carry."""
    found = set()
    for label in labels:
        if isinstance(label, discovery._Several):
            found |= carried(groups, label.labels)
        elif isinstance(label, discovery._Spread):
            ids = groups._current(label.ids.unique())
            found |= {groups.names[number] for number in (ids // _CHANNELS).unique().tolist()}
        elif label:
            found |= {groups.names[run.group] for run in groups.resolve(label.runs)}
    return found - {None}


def _passes(walk, groups, node, group):
    """With which factors of a group a node commutes: SCALES, SIGNS, or None."""
    kind, own = walk.kind(node) if node.op.startswith("call") else "", walk.own
    if node.op == "call_module" and (module := walk.fetch_attr(node.target)) is not None and [*module.parameters()]:
        return SIGNS if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1 else None
    if kind not in _POSITIVE | _LINEAR:
        return None
    sources = node.all_input_nodes
    if kind in _SUMS:
        alike = all(source in own or group in carried(groups, [walk.labels[source]]) for source in sources)
        operands = node.args[:2]
        if not alike or any(not hasattr(operand, "op") and operand != 0 for operand in operands):
            return None
    elif kind in _FACTORS and (len(sources) > 1 or (kind not in ("mul", "imul") and node.args[0] is not sources[0])):
        return None
    return SCALES if kind in _POSITIVE else SIGNS
