"""Rotations of residual streams that leave a network's function unchanged: a larger symmetry than permutation.

The channels of a group may be multiplied by an orthogonal matrix Q where they are written (W -> Q W, b -> Q b) and by
its inverse where they are read (W -> W Qᵀ), if every operation in between commutes with Q: sums, operations along other
axes, and RMS normalization without its gain (computational invariance: Ashkboos et al. 2024, SliceGPT, Theorem 1).
Layer normalization commutes with those Q that keep the mean over channels, Q 1 = 1. A gain g, and an offset, are first
folded into what reads them: y = g x + c is read as W y = (W diag(g)) (x + c / g). Every other operation pins the group,
with the reason.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

import torch
from torch import fx, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from modeconn import forward
from modeconn.permutation import discovery, proof, scales, verdict
from modeconn.permutation.discovery import LAYERS
from modeconn.permutation.graphs import DROPOUT, attempt, graphs_of, words
from modeconn.permutation.groups import Groups
from modeconn.permutation.spec import Axis, Gain, PermutationSpec, Rotation, clusters

State = Mapping[str, torch.Tensor]

_SUMS = words("add iadd sub isub")
_FACTORS = words("mul imul div truediv itruediv")  # by a number
_CONCATENATE = words("cat concat concatenate")
_SHAPE = words("size dim ndimension numel stride getattr")
# Operations along other axes than that of the channels, as `graphs.kind_of` names them.
_ALONG_OTHERS = (
    DROPOUT
    | _CONCATENATE
    | words("""
    neg mean sum identity clone detach float double stack flatten unflatten view reshape permute transpose swapaxes
    swapdims movedim moveaxis squeeze unsqueeze t expand contiguous getitem chunk split tensorsplit unbind narrow select
    roll flip avgpool1d avgpool2d avgpool3d adaptiveavgpool1d adaptiveavgpool2d adaptiveavgpool3d interpolate upsample
""")
)
_PRODUCTS = words("linear matmul mm addmm einsum")  # with a matrix of parameters
# What leaves a parameter itself, in another shape, so that a layer or a sum takes it as it is stored.
_VIEWS = words("view reshape flatten unflatten permute transpose t squeeze unsqueeze expand contiguous to getitem")


class Rotated(dict):
    """A permutation, group -> indices (n,), and the rotations and gains that are applied after it.

    rotations: group -> orthogonal matrix (n, n), float64; the indices of these groups are the identity.
    gains: name of a gain -> (n,), of network a, which the aligned network b gets too.
    """

    def __init__(
        self,
        permutation: Mapping[str, torch.Tensor],
        rotations: Mapping[str, torch.Tensor],
        gains: Mapping[str, torch.Tensor],
    ):
        super().__init__(permutation)
        self.rotations, self.gains = dict(rotations), dict(gains)


def discover(
    network: nn.Module, spec: PermutationSpec, example: torch.Tensor, generator: torch.Generator
) -> PermutationSpec:
    """The spec with the groups whose channels may be rotated (`rotations`), and the reason for each other one.

    A group is included if every operation between its layers is known to commute with a rotation, and if that is proved
    (`changes`): rotating it changes no output, and rotating only what writes it does. example: a batch of images
    (N, C, H, W). Errors as of `discovery.discover`.
    """
    found, reasons = _allowed(network, spec, example)
    measured = changes(network, replace(spec, rotations=found), example, generator)
    for group, (whole, half) in measured.items():
        if not whole < verdict.LARGEST_CHANGE:
            reasons[group] = "rotating it changes an output"
        elif not half > proof.LEAST_REACTION:
            reasons[group] = "no output reacts to it, so that rotating it cannot be proved"
    found = {group: rotation for group, rotation in found.items() if group not in reasons}
    reasons = {group: reasons[group] for group in spec.groups if group in reasons}
    return replace(spec, rotations=found, unrotated=reasons)


@torch.no_grad()
def changes(
    network: nn.Module, spec: PermutationSpec, example: torch.Tensor, generator: torch.Generator
) -> dict[str, tuple[float, float]]:
    """group of `spec.rotations` -> (change by a random rotation, change by rotating only what writes the group).

    As fractions of an output's largest value, on a copy with redrawn weights, in float64 on the CPU, for the outputs of
    eval mode and those that only train mode has. An exact symmetry gives about 1e-15. example: only its shape is used,
    and the range of integers.
    """
    if not spec.rotations:
        return {}
    drawn = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
    tensors, outputs = scales.redrawn(network, example, drawn)
    before, found = outputs(tensors), {}
    for group, rotation in spec.rotations.items():
        turn = {group: draw(spec.groups[group], rotation.centred, drawn)}
        state = folded(spec, tensors)
        axes = carrying(spec, group)
        writing = [axis for axis in axes if axis.output]
        # If every axis both writes and reads, as with a decoder's weight tied to the embedding's: all axes but one.
        half = writing[1:] if writing == axes else writing
        found[group] = (
            _distance(outputs(rotate(spec, turn, state)), before),
            _distance(outputs(rotate(replace(spec, axes=tuple(half)), turn, state)), before),
        )
    return found


def verify(network: nn.Module, spec: PermutationSpec, example: torch.Tensor, generator: torch.Generator) -> None:
    """Raises ValueError where rotating a group of `spec.rotations` changes an output, or cannot be proved."""
    for group, (whole, half) in changes(network, spec, example, generator).items():
        if not (whole < verdict.LARGEST_CHANGE and half > proof.LEAST_REACTION):
            raise ValueError(
                f"{type(network).__name__}: rotating group {group} changes an output by {whole:.1e} of its largest "
                f"value, and rotating only what writes it by {half:.1e}"
            )


def draw(size: int, centred: bool, generator: torch.Generator) -> torch.Tensor:
    """A random orthogonal matrix (size, size), float64; centred: one that keeps the vector of ones."""
    free = size - centred
    matrix = torch.randn(free, free, generator=generator, dtype=torch.float64)
    return _whole(torch.linalg.qr(matrix)[0], size, centred)


def nearest(products: torch.Tensor, centred: bool, rank_tolerance: float = 0.0) -> torch.Tensor:
    """The orthogonal Q (n, n) with the largest ⟨Q, products⟩ (orthogonal Procrustes; Schönemann 1966), float64.

    centred: among those that keep the vector of ones. rank_tolerance: directions whose singular value is at most this
    fraction of the largest are set to 0, so that Q is a partial isometry where `products` does not determine it.
    """
    size = len(products)
    basis = _basis(size, centred).to(products)
    left, values, right = torch.linalg.svd(basis @ products @ basis.T)
    known = values > rank_tolerance * values[0] if rank_tolerance else torch.ones_like(values, dtype=torch.bool)
    return _whole(left[:, known] @ right[known], size, centred)


def _basis(size, centred):
    """Orthonormal rows: of the space that a rotation is free in, (size - 1, size) where ones are kept."""
    if not centred:
        return torch.eye(size, dtype=torch.float64)
    return torch.linalg.svd(torch.ones(1, size, dtype=torch.float64))[2][1:]


def _whole(matrix, size, centred):
    """The matrix (size, size) of one in the coordinates of `_basis`."""
    if not centred:
        return matrix
    basis = _basis(size, centred).to(matrix)
    return basis.T @ matrix @ basis + 1 / size


def folded(spec: PermutationSpec, state: State, back: State | None = None) -> dict[str, torch.Tensor]:
    """The state dict with every gain of `spec.rotations` folded into the layers that read it: gains of ones.

    back: gains by name, to which the gains of ones are set, the layers that read them divided by them. The function
    of the network is the same either way. Raises ValueError where a gain that is divided by is 0.
    """
    axes = {(axis.tensor, axis.dim): axis for axis in spec.axes}
    changed = dict(state)
    for group, rotation in spec.rotations.items():
        for gain in rotation.gains:
            values = (state if back is None else back)[gain.names[0]]
            if (gain.offsets or back is not None) and not values.all():
                raise ValueError(f"tensor {gain.names[0]} is 0 at some channel: a rotation has to divide by it")
            factors = values.double() if back is None else 1 / values.double()
            for name, dim in gain.readers:
                if name in changed:
                    changed[name] = _scaled(axes[name, dim], group, changed[name], factors)
            for name in changed.keys() & {*gain.offsets}:
                changed[name] = (changed[name] / factors).to(changed[name])
            for name in changed.keys() & {*gain.names}:
                changed[name] = torch.ones_like(state[name]) if back is None else values.to(state[name])
    return changed


def rotate(spec: PermutationSpec, rotations: Mapping[str, torch.Tensor], state: State) -> dict[str, torch.Tensor]:
    """The state dict, with gains folded (`folded`), in another basis: every axis of these groups multiplied by Q."""
    rotated = dict(state)
    for group, matrix in rotations.items():
        for axis in carrying(spec, group):
            if axis.tensor in rotated:
                rotated[axis.tensor] = turned(axis, group, rotated[axis.tensor], matrix)
    return rotated


def carrying(spec: PermutationSpec, group: str) -> list[Axis]:
    """The axes that a rotation of a group multiplies: all that carry it but its gains."""
    gains = {name for gain in spec.rotations[group].gains for name in gain.names}
    return [
        axis for axis in spec.axes if axis.tensor not in gains and group in {segment.group for segment in axis.segments}
    ]


def turned(axis: Axis, group: str, tensor: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """The tensor with a group's entries along an axis multiplied by a matrix (n, n), computed in float64."""
    return _mapped(axis, group, tensor, lambda rows: matrix.to(rows) @ rows)


def _scaled(axis, group, tensor, factors):
    return _mapped(axis, group, tensor, lambda rows: factors.to(rows)[:, None] * rows)


def _mapped(axis, group, tensor, change):
    """The tensor with a function of (n, everything else), float64, applied to each segment of an axis with a group."""
    parts = list(tensor.split([segment.size * segment.repeat for segment in axis.segments], axis.dim))
    for place, segment in enumerate(axis.segments):
        if segment.group == group:
            moved = parts[place].movedim(axis.dim, 0)
            rows = change(moved.reshape(segment.size, -1).double())
            parts[place] = rows.view(moved.shape).movedim(0, axis.dim).to(tensor.dtype)
    return torch.cat(parts, axis.dim)


def apply(spec: PermutationSpec, found: Rotated, permuted: State) -> dict[str, torch.Tensor]:
    """The state dict, already permuted by `found`, rotated by it, with its gains."""
    return folded(spec, rotate(spec, found.rotations, folded(spec, permuted)), found.gains)


def report(spec: PermutationSpec) -> str:
    """Which groups may be rotated, and which not, and why, a line each."""
    reasons: dict[str, list[str]] = {}
    for group, reason in spec.unrotated.items():
        reasons.setdefault(reason, []).append(group)
    kinds = [
        f"{group} ({spec.groups[group]} channels{', keeping their mean' if rotation.centred else ''})"
        for group, rotation in spec.rotations.items()
    ]
    free = f"{len(kinds)} of {len(spec.groups)} groups may be rotated{': ' if kinds else ''}{', '.join(kinds)}"
    return "\n".join([free, *(f"  only permuted: {', '.join(those)} ({why})" for why, those in reasons.items())])


def _distance(outputs, before):
    return max(((new - old).abs().max() / old.abs().max()).item() for new, old in zip(outputs, before))


# --- which groups: by the operations between the layers that write and read them ---


class _Uses(Groups):
    """Groups that record which node uses which axes of tensors."""

    def __init__(self):
        super().__init__()
        self.node, self.uses = None, defaultdict(list)  # node -> (id of a tensor, dim, whether it writes)

    def bind(self, tensor, dim, runs, output, order=None, blocks=1):
        self.uses[self.node].append((id(tensor), dim, output))
        super().bind(tensor, dim, runs, output, order, blocks)


class _Walk(discovery._Walk):
    """A walk that tells `_Uses` at which node it is."""

    def run_node(self, node):
        self.groups.node = node
        return super().run_node(node)


class _Pinned(Exception):
    """Why a group may not be rotated."""


def _allowed(network, spec, example):
    """(group -> Rotation, group -> why not)."""
    twin = forward.copied(network, network.parameters())
    groups = _Uses()
    walks = [_Walk(graph, groups) for graph in graphs_of(twin, example)]
    for walk in walks:
        attempt(walk.run, example, type(network).__name__)
    groups.settle()
    names = defaultdict(list)
    for name, tensor in chain(
        twin.named_parameters(remove_duplicate=False), twin.named_buffers(remove_duplicate=False)
    ):
        names[id(tensor)].append(name)
    in_blocks = {group for cluster in clusters(spec).items() for group in (cluster[0], *cluster[1])}
    found, reasons = {}, {}
    for group in spec.groups:
        try:
            if group in in_blocks:
                raise _Pinned("its channels are in blocks, as those of attention's heads")
            found[group] = _Rules(walks, groups, names, spec, group).rotation()
        except _Pinned as pinned:
            reasons[group] = str(pinned)
    return found, reasons


class _Rules:
    """Follows one group through the graphs, and checks that every operation commutes with a rotation of it.

    `gains`: node whose value carries the group -> id of the gain that the value was multiplied by, or None. Values with
    different gains cannot be added, and weights that read different gains cannot have them folded in.
    """

    def __init__(self, walks, groups, names, spec, group):
        self.walks, self.groups, self.names, self.group = walks, groups, names, group
        self.size = spec.groups[group]
        self.axes = {(a.tensor, a.dim): a for a in spec.axes if group in {s.group for s in a.segments}}
        self.gains, self.used = {}, defaultdict(set)  # (id of a tensor, dim) -> gains of the values that it meets
        self.norms, self.centred = {}, False  # id of a gain -> (name of its layer, ids of offsets)

    def rotation(self):
        """The group's Rotation. Raises _Pinned, with the reason, where it may not be rotated."""
        for walk in self.walks:
            for node in walk.module.graph.nodes:
                sources = [source for source in node.all_input_nodes if self._carries(walk.labels.get(source))]
                uses = [use for use in self.groups.uses[node] if self._axis(use)]
                if node.op.startswith("call") and (sources or uses):
                    self.gains[node] = self._gain(walk, node, sources, uses)
        if any(axis.order is not None or axis.blocks > 1 for axis in self.axes.values()):
            raise _Pinned("its channels are shuffled or convolved in groups")
        normalizing = {tensor for gain, (_, offsets) in self.norms.items() for tensor in (gain, *offsets)}
        for (tensor, _), gains in self.used.items():
            if len(gains) > 1 or tensor in normalizing:
                named = ", ".join(self.norms[gain][0] for gain in gains if gain)
                also = f"{self.names[tensor][0]}, which is used without it too"
                raise _Pinned(f"the gain of {named} cannot be folded into {also}")
        gains = []
        for gain, (_, offsets) in self.norms.items():
            readers = [(tensor, dim) for (tensor, dim), of in self.used.items() if of == {gain}]
            readers = tuple((name, dim) for tensor, dim in readers for name in self.names[tensor])
            offsets = tuple(name for offset in offsets for name in self.names[offset])
            gains.append(Gain(tuple(self.names[gain]), offsets, readers))
        return Rotation(tuple(gains), self.centred)

    def _axis(self, use):
        """The axis of the spec that a use is of, if it carries the group."""
        tensor, dim, _ = use
        return next((self.axes[name, dim] for name in self.names[tensor] if (name, dim) in self.axes), None)

    def _carries(self, label):
        return label is not None and self.group in scales.carried(self.groups, [label])

    def _gain(self, walk, node, sources, uses):
        """The gain that a node's value was multiplied by. Raises _Pinned where the node does not commute."""
        kind, own = walk.kind(node), [source for source in node.all_input_nodes if source in walk.own]
        module = walk.fetch_attr(node.target) if node.op == "call_module" else None
        gain = self._common(walk, node, [self.gains.get(source) for source in sources])
        if isinstance(module, nn.RMSNorm | nn.LayerNorm):
            centred = isinstance(module, nn.LayerNorm)
            return self._norm(walk, node, sources, centred, module.normalized_shape, module.weight, _bias(module))
        if module is not None and next(module.parameters(), None) is not None:
            plain = type(module) in (*LAYERS, NonDynamicallyQuantizableLinear, nn.Embedding)
            if not plain or parametrize.is_parametrized(module) or getattr(module, "groups", 1) > 1:
                raise self._unknown(walk, node)
            if not {tensor for tensor, *_ in uses} <= {id(module.weight), id(_bias(module))}:
                raise self._unknown(walk, node)
            return self._layer(uses, gain)
        if kind in ("rmsnorm", "layernorm"):
            return self._functional_norm(walk, node, sources)
        if not all(_is_parameter(source) for source in own):
            raise self._unknown(walk, node)
        if own and kind in _PRODUCTS:
            return self._layer(uses, gain)
        if kind in _SUMS | _CONCATENATE and self._joined(walk, node, sources, own, uses):
            self._layer(uses, gain)
            if own and gain is not None:
                raise _Pinned(f"the gain of {self.norms[gain][0]} is added to by {walk._named(node)}")
        elif own or not self._linear(node, kind, sources) or kind in _SUMS:
            raise self._unknown(walk, node)
        if kind not in _SHAPE and not self._whole(walk.labels[node]):
            raise self._unknown(walk, node)
        return gain

    def _common(self, walk, node, gains):
        """The gain that all inputs of a node have."""
        if len(set(gains)) > 1:
            named = ", ".join(sorted({self.norms[gain][0] for gain in gains if gain}))
            raise _Pinned(f"the gain of {named} cannot be folded past {walk._named(node)}")
        return gains[0] if gains else None

    def _layer(self, uses, gain):
        """Note that weights read the group from values with this gain, or write it."""
        for tensor, dim, writes in uses:
            self.used[tensor, dim].add(None if writes else gain)

    def _joined(self, walk, node, sources, own, uses):
        """Whether a sum or concatenation is only of values with the group, and of parameters of its channels."""
        bound = {tensor for tensor, *_ in uses}
        inner = [id(tensor) for source in own for tensor in walk.own[source].tensors]
        others = [source for source in node.all_input_nodes if source not in own and source not in sources]
        numbers = [part for part in node.args[:2] if isinstance(part, int | float) and part != 0]
        numbers = numbers if walk.kind(node) in _SUMS else []
        return not others and not numbers and all(tensor in bound for tensor in inner)

    def _linear(self, node, kind, sources):
        """Whether an operation is linear and along other axes than that of the channels."""
        if kind in _FACTORS:
            given = [part for part in node.args if isinstance(part, fx.Node)]
            return len(given) == 1 and given == sources and (kind in ("mul", "imul") or node.args[0] is given[0])
        return kind in _ALONG_OTHERS | _SHAPE

    def _whole(self, label):
        """Whether a value has the group along one axis, its channels in order."""
        if isinstance(label, discovery._Several):
            return all(self._whole(part) for part in label.labels)
        return isinstance(label, discovery._Label) and label.order is None and self._carries(label)

    def _functional_norm(self, walk, node, sources):
        names = ("input", "normalized_shape", "weight", "bias")
        given = dict(zip(names, node.args)) | node.kwargs
        parts = [given.get(name) for name in names[2:]]
        if not all(part is None or (part in walk.own and _is_parameter(part)) for part in parts):
            raise self._unknown(walk, node)
        tensors = [None if part is None else walk.own[part].tensors[0] for part in parts]
        centred = walk.kind(node) == "layernorm"
        return self._norm(walk, node, sources, centred, given["normalized_shape"], *tensors)

    def _norm(self, walk, node, sources, centred, shape, weight, bias):
        """RMS normalization or, if it is `centred`, layer normalization, over the channels of the group."""
        label = walk.labels[sources[0]] if len(sources) == 1 else None
        runs = self.groups.resolve(label.runs) if isinstance(label, discovery._Label) else ()
        whole = tuple(shape) == (self.size,) == tuple(run.size for run in runs) and runs[0].repeat == 1
        if not whole or label.order is not None or self.gains.get(sources[0]) is not None:
            raise self._unknown(walk, node)
        self.centred |= centred
        if weight is None:
            if bias is not None:
                raise self._unknown(walk, node)
            return None
        _, offsets = self.norms.setdefault(id(weight), (walk._named(node), []))
        if bias is not None and id(bias) not in offsets:
            offsets.append(id(bias))
        return id(weight)

    def _unknown(self, walk, node):
        return _Pinned(f"{walk._named(node)} is not known to commute with a rotation")


def _bias(module):
    return getattr(module, "bias", None)


def _is_parameter(node):
    """Whether a value is a parameter in another shape."""
    if node.op == "get_attr":
        return True
    named = discovery.kind_of(node.target)
    return node.op in ("call_function", "call_method") and named in _VIEWS and _is_parameter(node.all_input_nodes[0])
