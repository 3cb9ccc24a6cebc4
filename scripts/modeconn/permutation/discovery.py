"""Discovery: find the permutation spec of a network by walking its graphs."""

import inspect
import re
from collections import defaultdict
from dataclasses import replace
from itertools import accumulate, chain
from typing import NamedTuple

import torch
from torch import fx, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm

from modeconn import forward
from modeconn.permutation.graphs import DROPOUT, Refused, attempt, graphs_of, kind_of, words
from modeconn.permutation.groups import Groups, Run, ids_of, pinned
from modeconn.permutation.spec import Axis, PermutationSpec, Segment, Site


def discover(network, example):
    """The PermutationSpec of `network`, found by one walk over its graph in eval and one in train mode.

    example: one batch of at least two inputs, such as (N, C, H, W). The network is left unchanged.
    What no rule here knows is pinned to the identity, with the reason in the spec, so that a spec may have fewer
    permutations than its network. Where channels are split, each part is a group; heads and the groups of a convolution
    are blocks.
    Raises ValueError where the network cannot be traced or run, computes something else than its graphs or returns
    anything but logits, or has a parameter that neither graph uses.
    """
    name = type(network).__name__
    forward.check_network(network)
    twin = forward.copied(network, network.parameters())
    groups = Groups()
    walks = [_Walk(graph, groups) for graph in graphs_of(twin, example)]
    for walk in walks:
        attempt(walk.run, example, name)
    for parameter_name, parameter in twin.named_parameters():
        if id(parameter) not in groups.reached:
            raise ValueError(f"{name}: parameter {parameter_name} takes no part in the forward pass; use or remove it")
    groups.settle()
    roots = groups.roots()
    sites, pre_sites = (_sites(walks, groups, before) for before in (False, True))
    fixed = {name: tensor for name, tensor in twin.named_parameters() if id(tensor) in groups.fixed}
    reasons = chain(groups.pinned.items(), ((name, groups.fixed[id(tensor)]) for name, tensor in fixed.items()))
    channels = groups.channels()
    for name, tensor in fixed.items():
        if tensor.ndim > 1 and name not in groups.names:
            channels[name] = next((size for size in tensor.shape if size > 1), 1)
    return PermutationSpec(
        groups={groups.names[root]: groups.sizes[root] for root in roots},
        axes=_axes(twin, groups),
        sites={groups.names[root]: sites.get(root, ()) for root in roots},
        pre_sites={groups.names[root]: pre_sites.get(root, ()) for root in roots},
        pinned={name: reason for name, reason in reasons if reason},
        blocks={groups.names[root]: groups.names[groups.blocks[root]] for root in roots if root in groups.blocks},
        channels=channels,
    )


def _axes(network, groups):
    names = {}  # id of a tensor -> its names: several if modules share it, all of which a state dict has
    members = (network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False))
    for name, tensor in chain(*members):
        names.setdefault(id(tensor), []).append(name)
    axes = []
    for (tensor, dim), bound in groups.axes.items():
        runs = groups.resolve(bound.runs)
        segments = tuple(
            Segment(groups.names[run.group], run.size, run.repeat, run.read and run.group > 0) for run in runs
        )
        if any(segment.group for segment in segments):
            axes += [Axis(name, dim, segments, bound.output, bound.order, bound.blocks) for name in names[tensor]]
    return tuple(axes)


def _sites(walks, groups, before):
    """Number of a group -> its sites after the nonlinearities, or `before` them, of the first graph that has it.

    walks: of the eval graph and, where it differs, the train graph.
    """
    sites = {}
    for training, walk in zip((False, True), walks):
        nonlinear, alone = defaultdict(tuple), {}
        for node, label in walk.labels.items():
            if walk.kind(node) in _NONLINEAR:
                value = node.all_input_nodes[0] if before else node
                for group, site in _carried(value, walk.labels[value], groups):
                    nonlinear[group] += (replace(site, training=training),)
            if isinstance(label, _Label) and len(label.runs) == 1:
                for group, site in _carried(node, label, groups):
                    alone[group] = (replace(site, training=training),)
        sites = alone | nonlinear | sites
    return sites


def _carried(node, label, groups):
    """(number of a group, its site) for each group in a node's value that has one entry a channel."""
    offset = 0
    for run in groups.resolve(label.runs) if isinstance(label, _Label) and label.order is None else ():
        if run.repeat == 1:
            yield run.group, Site(node.name, label.dim, offset, run.size)
        offset += run.size * run.repeat


class _Label(NamedTuple):
    """The groups that a value carries along one of its axes."""

    dim: int
    runs: tuple[Run, ...]
    order: tuple[int, ...] | None = None  # as in `spec.Axis`


class _Spread(NamedTuple):
    """The channels of a value that lie along several of its axes.

    ids: the channel of each entry, see `groups.Groups.runs_of`. places: a number for the position that the entry had
    within its channel when the channels last were along one axis. Both have the value's shape.
    """

    ids: torch.Tensor
    places: torch.Tensor


class _Grid(NamedTuple):
    """The channels of a value along two of its axes: blocks along `outer`, channels of each block along `inner`."""

    outer: int
    inner: int
    runs: tuple[Run, ...]  # block by block
    blocks: tuple[Run, ...]  # along `outer`; pinned if the blocks keep their order


class _Several(NamedTuple):
    """The labels of a tuple of values."""

    labels: tuple


class _Own(NamedTuple):
    """A value computed only from parameters outside layers, such as a standardized weight.

    parts: (parameter, for each axis of the value the axis of the parameter, or None). name: of the parameter after
    which a layer made of this value is named.
    """

    name: str
    parts: tuple[tuple[nn.Parameter, tuple[int | None, ...]], ...]

    @property
    def tensors(self):
        return [tensor for tensor, _ in self.parts]

    def at(self, axes):
        """A value with these axes of this one; None stands for a new axis."""
        moved = ((tensor, tuple(None if axis is None else dims[axis] for axis in axes)) for tensor, dims in self.parts)
        return self._replace(parts=tuple(moved))


# Operations as `kind_of` names them.
_NONLINEAR = words("""
    relu relu6 prelu rrelu leakyrelu elu selu celu gelu silu mish hardswish sigmoid hardsigmoid logsigmoid
    tanh hardtanh softplus softsign softshrink hardshrink tanhshrink threshold clamp clampmin
""")
# Elementwise, except the last three, which see a whole axis but do not depend on its order.
_CARRYING = words("""
    add iadd sub isub mul imul div truediv itruediv pow neg abs square sqrt rsqrt exp log maximum minimum
    sin cos tan atan erf expm1 log1p sign round floor ceil reciprocal nantonum lerp where maskedfill
    gt lt ge le eq ne logicalnot logicaland logicalor and or invert isnan zeroslike oneslike fulllike
    identity contiguous clone detach float double half to typeas softmax logsoftmax normalize
""")
# Along one axis, results depend on the order or the size of the other values.
_ALONG = words("cumsum cumprod sort argsort topk argmax argmin median max min")
_CONCATENATE = words("cat concat concatenate")
_RESHAPE = words("flatten unflatten view reshape")
# Axes moved, or reduced regardless of order: after a mean over the channels there is nothing left to permute.
_MOVE = words("""
    permute transpose swapaxes swapdims movedim moveaxis squeeze unsqueeze t
    mean sum prod amax amin std var norm logsumexp
""")
_OUTPUTS = words("googlenetoutputs inceptionoutputs")  # torchvision's tuples of logits
_SHAPE = words("size dim ndimension numel stride getattr")
# Operations that only move, repeat or leave out entries.
_REARRANGE = _RESHAPE | words("""
    permute transpose swapaxes swapdims movedim moveaxis squeeze unsqueeze t unflatten expand contiguous getitem
    chunk split tensorsplit unbind narrow select roll flip channelshuffle pixelshuffle pixelunshuffle
    repeat tile repeatinterleave
""")
_VIEWS = _MOVE | _RESHAPE | words("getattr getitem expand expandas")  # if the result shares the memory of the input
# Products with a matrix; a bias may follow.
_PRODUCTS = {"linear": "...i,oi->...o", "matmul": "...i,io->...o", "mm": "...i,io->...o"}
_BOTH = dict.fromkeys(("matmul", "mm", "bmm"), "...ij,...jk->...ik")  # of two values
_NAMES = ("input", "weight", "other", "mat2", "bias")  # of their arguments
_SCORES, _MIXED = "...ld,...sd->...ls", "...ls,...sd->...ld"  # attention: queries and keys, then weights and values
_ONE_AXIS = words("softmax logsoftmax normalize")  # see a whole axis
_SPATIAL = re.compile(r"(?:pool|pad)([123])d$")
_POSITIONS, _VALUES = 2**24, 2**44  # a place is a position + _POSITIONS * entry of the channel + _VALUES * value
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = words("conv1d conv2d conv3d convtranspose1d convtranspose2d convtranspose3d")
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_CHANNEL_NORMS = (*_BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.PReLU)


class _Walk(fx.Interpreter):
    """Runs a graph once and labels each value with the groups that one of its axes carries.

    In the methods, `inputs` are the tensors that a node reads, as (shape, label); label is None without groups.
    """

    def __init__(self, graph, groups):
        super().__init__(graph)
        self.extra_traceback = False
        self.groups = groups
        self.labels = {}
        self.own = {}  # node -> _Own; such a node has no label
        self.sources = 0  # how many values `_places` has numbered the entries of

    def kind(self, node):
        return kind_of(self.fetch_attr(node.target) if node.op == "call_module" else node.target)

    def run_node(self, node):
        value = super().run_node(node)
        self.groups.reason = f"{self._named(node)} ties it to pinned channels{_line(node)}"
        own = any(source in self.own for source in node.all_input_nodes)
        label = self._with_own(node, value) if own else NotImplemented
        if label is NotImplemented:
            label = self._label(node, self._inputs(node.all_input_nodes), value)
        self.labels[node] = label
        return value

    def _inputs(self, nodes):
        sources = [(self.env[node], self.labels[node]) for node in nodes]
        return [(value.shape, label) for value, label in sources if isinstance(value, torch.Tensor)]

    def _named(self, node):
        """The operation of a node, for a message."""
        if node.op == "call_module":
            return f"{type(self.fetch_attr(node.target)).__name__} {node.target}"
        return f"{getattr(node.target, '__name__', node.target)} (node {node.name})"

    def _label(self, node, inputs, value):
        if node.op == "call_module":
            return self._module(node, self.fetch_attr(node.target), inputs, value)
        if node.op == "get_attr" and isinstance(value, nn.Parameter):
            self.groups.reached.add(id(value))
            self.own[node] = _Own(node.target, ((value, tuple(range(value.ndim))),))
        elif node.op == "get_attr" and isinstance(value, torch.Tensor):
            users = ", ".join(self._named(user) + _line(user) for user in node.users)
            self.groups.reason = f"a tensor without a layer, used by {users}"
            self.groups.fix([value])
        first = next(iter(node.all_input_nodes), None)
        if isinstance(self.labels.get(first), _Several):
            chosen = node.args[1] if self.kind(node) in ("getitem", "getattr") else None
            chosen = {"values": 0, "indices": 1}.get(chosen, chosen) if isinstance(chosen, str) else chosen
            if type(chosen) is int:
                return self.labels[first].labels[chosen]
            return self._unknown(node, [(None, label) for label in self.labels[first].labels])
        if not any(label for _, label in inputs):
            return None
        if node.op == "output" or self.kind(node) in _OUTPUTS:
            self.groups.reason = ""
            return self._pin(inputs)
        if not isinstance(value, torch.Tensor) and self.kind(node) not in _REARRANGE | _ALONG:
            return self._unknown(node, inputs) if self.kind(node) not in _SHAPE else None
        return self._operation(node, inputs, value)

    def _module(self, node, module, inputs, value):
        if hasattr(module, "permutable"):
            return self._declared(node, module, inputs, value)
        kind = parametrize.type_before_parametrizations(module)
        if len(inputs) == 1 and kind in (*LAYERS, *_TRANSPOSED) and (made := made_of(module)):
            return self._layer(node.target, module, made, *inputs[0], value)
        own = {name for name in ("weight", "bias") if getattr(module, name, None) is not None}
        # Pruning and parametrizations compute the weight from parameters of other names, for which there is no rule.
        if own == {name for name, _ in module.named_parameters()} and len(inputs) == 1:
            if type(module) is NonDynamicallyQuantizableLinear:  # attention's last layer
                return self._layer(node.target, module, [_Tensor(module.weight)], *inputs[0], value)
            if type(module) in _CHANNEL_NORMS:
                tensors, groups = [*module.parameters(), *module.buffers()], getattr(module, "num_groups", 1)
                return self._channel_norm(tensors, *inputs[0], groups)
            if type(module) is nn.Embedding and module.max_norm is None:
                runs = self.groups.open(node.target, module.embedding_dim)
                self.groups.bind(module.weight, 1, runs, output=True)
                self._pin(inputs)
                return _Label(value.ndim - 1, runs) if module.embedding_dim > 1 else None
            if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
                return self._layer_norm(module, *inputs[0])
        self.groups.reason = f"{self._named(node)} is not understood{_line(node)}"
        self.groups.fix(chain(module.parameters(), module.buffers()))
        known = isinstance(value, torch.Tensor) and any(label for _, label in inputs)
        return self._operation(node, inputs, value) if known else self._pin(inputs)

    def _operation(self, node, inputs, value):
        """The label of the result of an operation without parameters."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        kind = self.kind(node)
        if kind in ("to", "typeas"):  # what follows gives a type or a device
            inputs = inputs[:1]
        if kind in ("max", "min") and len(inputs) == 2:
            return self._elementwise(inputs, value.ndim)
        if not any(label for _, label in inputs):
            return None
        if kind in _NONLINEAR | DROPOUT | _CARRYING:
            if kind in _ONE_AXIS and isinstance(inputs[0][1], _Spread):
                return self._along(node, inputs, args, kwargs)
            return self._elementwise(inputs, value.ndim)
        if kind in _CONCATENATE and (parts := self._parts(node)):
            return self._concatenate(parts, args, kwargs)
        if kind == "stack" and (parts := self._parts(node)):
            return self._stack(parts, args, kwargs)
        if kind in _BOTH or kind == "einsum":
            return self._both(node, kind, value)
        if kind == "scaleddotproductattention":
            return self._attention(node, value)
        (shape, label), *others = inputs
        plain = isinstance(label, _Label) and label.dim == len(shape) - 1 and label.order is None
        if kind == "patchmergingpad" and plain:  # torchvision's Swin: four neighbours' channels, one after the other
            return label._replace(runs=label.runs * 4)
        if kind == "getrelativepositionbias" and plain:  # the same: from (places, heads) to (1, heads, queries, keys)
            return label._replace(dim=1)
        if label is None or others:
            return self._unknown(node, inputs)
        if kind == "getattr" and args[1] in ("T", "mT"):
            return self._rearrange(node, shape, label, args, kwargs)
        if kind in _REARRANGE and (isinstance(label, _Spread) or not isinstance(value, torch.Tensor)):
            return self._rearrange(node, shape, label, args, kwargs)
        if isinstance(label, _Spread):
            return self._unknown(node, inputs)
        if kind in _ALONG:
            return self._along_one(node, kind, shape, label, value)
        if kind in ("layernorm", "rmsnorm", "instancenorm") and node.op == "call_function":
            return label
        if kind == "groupnorm" and node.op == "call_function":
            return self._channel_norm([], shape, label, self._given(node, 1, "num_groups"))
        if kind == "glu":
            return self._gated(node, shape, label, value)
        if kind == "unfold":
            return self._unfolded(node, shape, label, value)
        if kind in _RESHAPE:
            return self._reshape(node, shape, label, value.shape, args, kwargs)
        if kind == "getitem":
            return self._index(node, shape, label, args[1])
        # Not in place, since the input already has its label.
        if kind in _MOVE and args and not (node.op == "call_method" and node.target.endswith("_")):
            return self._move(node, shape, label, args, kwargs)
        if kind in _REARRANGE:
            return self._rearrange(node, shape, label, args, kwargs)
        if match := _SPATIAL.search(kind):
            mixed = int(match[1])
        elif kind == "pad" and len(args) > 1:
            mixed = len(args[1]) // 2
        else:
            mixed = value.ndim - 2 if kind in ("interpolate", "upsample") else value.ndim
        return label if label.dim < value.ndim - mixed else self._unknown(node, inputs)

    def _along_one(self, node, kind, shape, label, value):
        """An operation along one axis. If that is the axis of channels, extremes and sorted values ignore its order."""
        place, default = {"topk": (2, -1), "sort": (1, -1), "argsort": (1, -1)}.get(kind, (1, None))
        dim = self._given(node, place, "dim", default)
        if type(dim) is not int:
            of_all = kind in ("max", "min", "median") and value.ndim == 0
            return None if of_all else self._unknown(node, [(shape, label)])
        dim, pair = dim % len(shape), not isinstance(value, torch.Tensor)
        if dim == label.dim:
            values = all(user.args[1:] in ((0,), ("values",)) for user in node.users) if pair else False
            return _Several((None, None)) if values else self._unknown(node, [(shape, label)])
        ranks = {part.ndim for part in (value if pair else (value,))}
        moved = label._replace(dim=label.dim - (ranks != {len(shape)} and dim < label.dim))
        return _Several((moved, moved)) if pair else moved

    def _gated(self, node, shape, label, value):
        """Half of an axis, times a function of the other half."""
        module = self.fetch_attr(node.target) if node.op == "call_module" else None
        dim = module.dim if module else self._given(node, 1, "dim", -1)
        halves = zip(*(part.chunk(2, dim) for part in self._entries(shape, label)))
        one, other = (self._settled(*half) for half in halves)
        inputs = [(value.shape, one), (value.shape, other)]
        return self._elementwise(inputs, value.ndim) if one or other else None

    def _unfolded(self, node, shape, label, value):
        """unfold: of a tensor along another axis than that of the channels, or of images (N, C, H, W)."""
        if node.op == "call_method":
            other = self._given(node, 1, "dimension") % len(shape) != label.dim
            return label if other else self._unknown(node, [(shape, label)])
        if label.dim != 1 or label.order or len(shape) != 4:
            return self._unknown(node, [(shape, label)])
        entries = value.shape[1] // shape[1]
        return _Label(1, tuple(run._replace(repeat=run.repeat * entries) for run in label.runs))

    def _parts(self, node):
        """The values that a concatenation joins, as inputs; empty where its argument is no list."""
        joined = node.args[0] if node.args else node.kwargs.get("tensors")
        return (
            [(self.env[part].shape, self.labels[part]) for part in joined] if isinstance(joined, list | tuple) else []
        )

    def _unknown(self, node, inputs):
        self.groups.reason = f"{self._named(node)} is not understood{_line(node)}"
        return self._pin(inputs)

    def _pin(self, inputs):
        for _, label in inputs:
            if isinstance(label, _Several):
                self._pin([(None, part) for part in label.labels])
            elif isinstance(label, _Spread):
                self.groups.pin(self.groups.runs_of(label.ids.unique())[0])
            elif label:
                self.groups.pin(label.runs)

    def _layer(self, name, module, made, shape, label, value):
        """A linear layer or convolution reads the groups of its input and opens a group; a depthwise one keeps them.

        made: what the weight is computed from (`made_of`).
        """
        spatial, transposed = made[0].tensor.ndim - 2, isinstance(module, _TRANSPOSED)
        dim_out = value.ndim - spatial - 1
        runs, order = self._read(name, shape, label, len(shape) - spatial - 1)
        if transposed and module.groups > 1:
            self.groups.reason = f"{name} is a transposed convolution in {module.groups} groups of channels"
            self.groups.fix(module.parameters())
            self.groups.pin(runs)
            return None
        if getattr(module, "groups", 1) == 1:
            self._bind_made(made, 0 if transposed else 1, runs, output=False, order=order)
            runs, order = self.groups.open(name, value.shape[dim_out]), None
        elif not module.groups == module.in_channels == module.out_channels:
            runs, order = self._grouped(name, module, made, runs, order), None
        self._bind_made(made, 1 if transposed else 0, runs, output=True, order=order)
        if module.bias is not None:
            self.groups.bind(module.bias, 0, runs, output=True, order=order)
        return _Label(dim_out, runs, order) if value.shape[dim_out] > 1 else None

    def _bind_made(self, made, axis, runs, output, order=None, blocks=1):
        """Axis 0 or 1 of a layer's weight carries `runs`, as do the axes of the tensors that it is computed from."""
        for tensor, axes, repeat in made:
            self.groups.reached.add(id(tensor))
            if axes[axis] is None:
                continue
            if (repeat > 1 and order is not None) or (blocks > 1 and axes[0] is None):
                self.groups.pin(runs)
                continue
            repeated = tuple(run._replace(repeat=run.repeat * repeat) for run in runs)
            self.groups.bind(tensor, axes[axis], repeated, output, order if repeat == 1 else None, blocks)

    def _declared(self, node, module, inputs, value):
        """A module that is not traced: its attribute `permutable` declares how it treats channels."""
        said, tensors = module.permutable, dict(chain(module.named_parameters(), module.named_buffers()))
        self.groups.reason = f"{self._named(node)} has permutable = None{_line(node)}"
        if said is not None:
            check_declared(self._named(node), said, tensors)
            self.groups.reason = f"{self._named(node)} does not name it as permutable{_line(node)}"
        self.groups.fix(tensor for name, tensor in tensors.items() if name not in (said or {}))
        known = [(shape, label) for shape, label in inputs if label]
        if said is None or not isinstance(value, torch.Tensor) or not known:
            self.groups.fix(tensors.values())
            return self._pin(inputs)
        label = self._elementwise(inputs, value.ndim)
        if not isinstance(label, _Label):
            self.groups.fix(tensors.values())
            return self._pin(inputs)
        if value.shape[label.dim : label.dim + 1] != (sum(run.size * run.repeat for run in label.runs),):
            raise Refused(f"{self._named(node)} is permutable, and does not return the channels that it is given")
        for name, axis in said.items():
            self.groups.bind(tensors[name], axis, label.runs, output=True, order=label.order)
        return label

    def _grouped(self, name, module, made, runs, order):
        """A grouped convolution: its groups are blocks of the channels that it reads and of those that it writes."""
        ids = ids_of(runs).view(module.groups, -1)
        grid = self._rows(ids, 0, 1) if order is None else None
        if grid is None:
            self.groups.reason = f"{name} convolves in {module.groups} groups of channels"
            self.groups.pin(runs)
            grid = _Grid(0, 1, pinned(module.in_channels), pinned(module.groups))
        if made[0].tensor.shape[1] > 1:
            self._bind_made(made, 1, grid.runs, output=False, blocks=module.groups)
        (run,) = runs = self.groups.open(name, module.out_channels)
        self.groups.tie(self.groups.divide(run.group, module.groups), grid.blocks)
        return runs

    def _read(self, name, shape, label, dim):
        """The runs of the axis over which a layer sums, and their order."""
        if isinstance(label, _Label) and label.dim == dim:
            return label.runs, label.order
        self.groups.reason = f"the layer {name} reads another axis"
        self._pin([(shape, label)])
        return pinned(shape[dim]), None

    def _channel_norm(self, tensors, shape, label, groups=1):
        """Batch or group normalization, PReLU: parameters are along axis 1, as are the groups of normalization."""
        along = isinstance(label, _Label) and label.dim == 1
        if groups > 1 and not (along and label.order is None and self._rows(ids_of(label.runs).view(groups, -1), 0, 1)):
            self._pin([(shape, label)])
        for tensor in tensors:
            if along and tensor.shape == shape[1:2]:
                self.groups.bind(tensor, 0, label.runs, output=True, order=label.order)
            else:
                self.groups.fix([tensor])
        return label

    def _layer_norm(self, module, shape, label):
        """Layer or RMS normalization. A subclass may move axes, so the axis of its weight is found by a probe."""
        parameters = {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}
        if not parameters and type(module) in (nn.LayerNorm, nn.RMSNorm) and isinstance(label, _Label):
            return label
        plain = isinstance(label, _Label) and "weight" in parameters
        if plain and shape[label.dim] == module.normalized_shape[0]:
            # If the weights of all channels but one are 0, the output must be 0 at all other channels.
            parameters["weight"][0] = 1
            probe = torch.arange(shape.numel()).sin().view(shape).to(module.weight)
            on = torch.func.functional_call(module, parameters, (probe,)).nonzero()
            if len(on) and not on[:, label.dim].any():
                for tensor in module.parameters():
                    self.groups.bind(tensor, 0, label.runs, output=True, order=label.order)
                return label
        self.groups.reason = f"{type(module).__name__} normalizes another axis than that of the channels"
        self.groups.fix(module.parameters())
        return self._pin([(shape, label)])

    def _elementwise(self, inputs, rank):
        """Inputs combined entry by entry carry the same groups; one that is broadcast along the axis may have none."""
        if any(isinstance(label, _Spread) for _, label in inputs):
            return self._meet(inputs, rank)
        dims = {label.dim + rank - len(shape) for shape, label in inputs if label}
        if len(dims) > 1:
            return self._pin(inputs)
        (dim,) = dims
        runs, order = next(label[1:] for _, label in inputs if label)
        for shape, label in inputs:
            size = shape[dim - rank] if rank - dim <= len(shape) else 1
            if size > 1 and label and label.order == order:
                self.groups.tie(runs, label.runs)
            elif size > 1:
                self.groups.pin(runs + (label.runs if label else ()))
        return _Label(dim, runs, order)

    def _with_own(self, node, value):
        """The label of a value that is computed with parameters outside layers.

        If there is no rule for it, the parameters are pinned, and NotImplemented is returned.
        """
        label = NotImplemented
        read = next(iter(node.all_input_nodes))
        layer = node.op == "call_module" or (self.kind(node) == "linear" and node.args[:1] == (read,))
        if layer and read in self.own:
            self._as_value(read)
        if not isinstance(value, torch.Tensor):
            label = None if self.kind(node) in _SHAPE else NotImplemented
        elif node.op in ("call_function", "call_method") and any(s in self.own for s in node.all_input_nodes):
            label = self._own_rule(node, value)
        if label is NotImplemented and any(source in self.own for source in node.all_input_nodes):
            self.groups.reason = f"a tensor without a layer, used by {self._named(node)}{_line(node)}"
            self.groups.fix(self._tensors(node.all_input_nodes))
        return label

    def _as_value(self, node):
        """Parameters that a layer reads as its input, such as learned tokens: their last axis is a group."""
        own, shape = self.own.pop(node), self.env[node].shape
        if any(dims and dims[-1] is not None for _, dims in own.parts) and shape[-1] > 1:
            runs = self.groups.open(own.name, shape[-1])
            self._bind_parts(own, shape, -1, runs, output=True)
            self.labels[node] = _Label(len(shape) - 1, runs)
        else:
            self.groups.fix(own.tensors)

    def _tensors(self, nodes):
        """The parameters that the values of these nodes are computed from."""
        return list(chain(*(self.own[node].tensors for node in nodes if node in self.own)))

    def _own_rule(self, node, value):
        tensors = [source for source in node.all_input_nodes if isinstance(self.env[source], torch.Tensor)]
        first, *others = tensors
        kind = self.kind(node)
        if not others:
            return self._own_alone(node, kind, self.env[first], value)
        if kind in ("prelu", "groupnorm", "instancenorm") and first not in self.own and self.own.keys() >= {*others}:
            groups = self._given(node, 1, "num_groups", 1) if kind == "groupnorm" else 1
            return self._channel_norm(self._tensors(others), *self._inputs([first])[0], groups)
        if kind in ("to", "typeas"):  # what follows gives a type or a device
            self.own |= {node: self.own[first]} if first in self.own else {}
            return None if first in self.own else self._inputs([first])[0][1]
        if kind == "expandas" and first in self.own:
            return self._own_alone(node, kind, self.env[first], value)
        if kind in _NONLINEAR | _CARRYING and self.own.keys() >= {*tensors}:
            return self._own_together(node, tensors, value.ndim)
        if kind in _NONLINEAR | _CARRYING:
            return self._scale(tensors, value.ndim)
        if kind in _CONCATENATE:
            return self._scale(tensors, value.ndim) if self._beside(node, value.ndim) else NotImplemented
        if kind == "getitem" and first in self.own and isinstance(node.args[1], fx.Node) and self.env[first].ndim:
            kept = range(1, self.env[first].ndim)
            self.own[node] = self.own[first].at((None,) * self.env[others[0]].ndim + (*kept,))
            return None
        if kind == "getrelativepositionbias" and first in self.own:
            self.own[node] = self.own[first].at((None, 1, None, None))
            return None
        if kind == "shiftedwindowattention":
            return self._window_attention(node, value)
        if kind in ("layernorm", "rmsnorm"):
            return self._functional_norm(node, first, others)
        if kind in _CONVOLUTIONS:
            return self._functional_conv(node, kind, value)
        if kind == "addmm" and len(node.args) == 3:
            bias, one, other = node.args
            return self._product(_PRODUCTS["mm"], [one, other, bias], value)
        if kind == "tensordot" and self._given(node, 2, "dims", 2) == 1 and len(node.args) > 1:
            return self._product(_PRODUCTS["matmul"], node.args[:2], value)
        if kind in _PRODUCTS:
            named = [node.kwargs[name] for name in _NAMES if name in node.kwargs]
            operands = [operand for operand in (*node.args, *named) if operand is not None]
            return self._product(_PRODUCTS[kind], operands, value)
        if kind == "einsum" and isinstance(next(iter(node.args), None), str):
            equation, *operands = node.args
            return self._product(equation, operands[0] if isinstance(operands[0], list | tuple) else operands, value)
        return NotImplemented

    def _own_alone(self, node, kind, before, value):
        """A view of a parameter, or an elementwise function of it, has the parameter's axes."""
        own = self.own[node.all_input_nodes[0]]
        in_place = str(node.target).endswith("_")
        if kind in _VIEWS and value.data_ptr() == before.data_ptr() and before.ndim and not in_place:
            carried = [any(dims[axis] is not None for _, dims in own.parts) for axis in range(before.ndim)]
            places = zip(before.shape, before.stride(), range(before.ndim))
            known = {(size, stride): axis for size, stride, axis in places if size > 1 and carried[axis]}
            axes = [(size, stride) for size, stride in zip(value.shape, value.stride()) if size > 1 and stride]
            if not known.keys() <= set(axes) or value.numel() < before.numel():
                return NotImplemented
            own = own.at(tuple(known.get(axis) for axis in zip(value.shape, value.stride())))
        elif kind in _MOVE and not in_place:  # which includes sums along an axis
            sizes, moved = self._moved(node, before.shape, *self.fetch_args_kwargs_from_env(node))
            own = own.at(tuple(sizes.index(size) if size > 1 else None for size in moved))
        elif kind not in _NONLINEAR | _CARRYING or value.shape != before.shape:
            return NotImplemented
        self.own[node] = own
        return None

    def _own_together(self, node, sources, rank):
        """Several values computed from parameters, combined entry by entry: the result has the parts of all."""
        parts = []
        for source in sources:
            shape = self.env[source].shape
            axes = [axis if size > 1 else None for axis, size in enumerate(shape)]
            parts += self.own[source].at((None,) * (rank - len(shape)) + (*axes,)).parts
        largest = max(sources, key=lambda source: self.env[source].numel())
        self.own[node] = _Own(self.own[largest].name, tuple(parts))
        return None

    @staticmethod
    def _given(node, place, name, default=None):
        """An argument of a node by its place or name."""
        return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)

    def _beside(self, node, rank):
        """Whether a concatenation is along another axis than that of the channels, as of class token and tokens."""
        dim = (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))) % rank
        labels = [self.labels[source] for source in node.all_input_nodes if source not in self.own]
        return all(isinstance(label, _Label) and label.dim != dim for label in labels)

    def _functional_norm(self, node, first, others):
        """Layer or RMS normalization by a function, over the last axis."""
        (shape, label), *more = self._inputs([source for source in node.all_input_nodes if source not in self.own])
        over = node.args[1] if len(node.args) > 1 else node.kwargs.get("normalized_shape")
        plain = isinstance(label, _Label) and label.dim == len(shape) - 1
        if more or first in self.own or not plain or len(over) != 1 or not all(source in self.own for source in others):
            return NotImplemented
        return self._scale(node.all_input_nodes, len(shape))

    def _functional_conv(self, node, kind, value):
        """A functional convolution is treated as a layer with the name of its weight, unless it is grouped."""
        transposed = "transpose" in kind
        names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
        if not transposed:
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = dict(zip(names, node.args)) | node.kwargs
        images, weight, bias = given["input"], given["weight"], given.get("bias")
        tensors = [source for source in (weight, bias) if source is not None]
        if given.get("groups", 1) != 1 or images in self.own or not all(source in self.own for source in tensors):
            return NotImplemented
        ((shape, label),) = self._inputs([images])
        rank, name = self.env[weight].ndim, self.own[weight].name
        runs, order = self._read(name, shape, label, len(shape) - rank + 1)
        self._bind_own(weight, -rank if transposed else 1 - rank, runs, output=False, order=order)
        dim = value.ndim - rank + 1
        runs = self.groups.open(name, value.shape[dim])
        self._bind_own(weight, 1 - rank if transposed else -rank, runs, output=True)
        if bias is not None:
            self._bind_own(bias, -1, runs, output=True)
        return _Label(dim, runs) if value.shape[dim] > 1 else None

    def _window_attention(self, node, value):
        """torchvision's attention within windows (Swin), a function of queries, keys, values and output layer."""
        function = inspect.signature(node.target)
        given = function.bind(*node.args, **node.kwargs).arguments
        tensors = {name: source for name, source in given.items() if isinstance(source, fx.Node)}
        layers = ("qkv_weight", "qkv_bias", "proj_weight", "proj_bias")
        if not all(tensors[name] in self.own for name in layers if name in tensors) or tensors["input"] in self.own:
            return NotImplemented
        heads, (qkv, proj) = given["num_heads"], (self.own[tensors[name]] for name in layers[::2])
        ((shape, label),) = self._inputs([tensors["input"]])
        runs, order = self._read(qkv.name, shape, label, 3)
        self._bind_own(tensors["qkv_weight"], -1, runs, output=False, order=order)
        runs = self.groups.open(qkv.name, len(self.env[tensors["qkv_weight"]]))
        for name in layers[:2]:
            if name in tensors:
                self._bind_own(tensors[name], -self.env[tensors[name]].ndim, runs, output=True)
        query, key, values = (self._rows(ids.view(heads, -1), 0, 1) for ids in ids_of(runs).chunk(3))
        if self.groups.resolve(query.runs) != self.groups.resolve(key.runs):
            self.groups.read(key.runs)
        self.groups.tie(query.runs, key.runs)
        self.groups.tie(query.blocks, values.blocks)
        for name in ("relative_position_bias", "logit_scale"):
            source = tensors.get(name)
            if source in self.own:
                self._bind_own(source, -3, query.blocks, output=True)
            elif source is not None:
                ((shape, label),) = self._inputs([source])
                along = isinstance(label, _Label) and label.dim == len(shape) - 3 and label.order is None
                self.groups.tie(query.blocks, label.runs if along else pinned(heads))
                self._pin([] if along else [(shape, label)])
        self._bind_own(tensors["proj_weight"], -1, values.runs, output=False)
        runs = self.groups.open(proj.name, value.shape[3])
        for name in layers[2:]:
            if name in tensors:
                self._bind_own(tensors[name], -self.env[tensors[name]].ndim, runs, output=True)
        return _Label(3, runs)

    def _scale(self, sources, rank):
        """Parameters that are combined with the channels of a value entry by entry, such as gains and offsets."""
        inputs = self._inputs([source for source in sources if source not in self.own])
        label = self._elementwise(inputs, rank) if any(label for _, label in inputs) else None
        if label is None:
            return NotImplemented
        for source in sources:
            if source in self.own and not self._bind_scale(source, label, rank):
                return NotImplemented
        return label

    def _bind_scale(self, source, label, rank):
        """Bind a parameter that is combined with the channels of a value; whether there is a rule for it."""
        if isinstance(label, _Label):
            self._bind_own(source, label.dim - rank, label.runs, output=True, order=label.order)
            return True
        shape, grid = self.env[source].shape, self._grid(label)
        sizes = [shape[dim - rank] if rank - dim <= len(shape) else 1 for dim in grid[:2]] if grid else [0, 0]
        if sizes[1] != 1:
            return False
        self._bind_own(source, grid.outer - rank, grid.blocks, output=True)
        return True

    def _product(self, equation, operands, value):
        """A product with a matrix of parameters is a layer of their name. operands: nodes of both, and of a bias."""
        *pair, result = _letters(equation, [self.env[operand].ndim for operand in operands[:2]])
        matrices = [(node, letters) for node, letters in zip(operands, pair) if node in self.own]
        others = [(node, letters) for node, letters in zip(operands, pair) if node not in self.own]
        if len(matrices) != 1 or len(others) != 1 or not all(node in self.own for node in operands[2:]):
            return NotImplemented
        ((matrix, of_matrix),), ((other, of_other),) = matrices, others
        summed = [letter for letter in of_matrix if letter in of_other and letter not in result]
        written = [letter for letter in of_matrix if letter not in of_other and letter in result]
        if (len(summed), len(written), len(of_matrix)) != (1, 1, 2):
            return NotImplemented
        ((shape, label),) = self._inputs([other])
        name, dim = self.own[matrix].name, result.index(written[0])
        runs, order = self._read(name, shape, label, of_other.index(summed[0]))
        self._bind_own(matrix, of_matrix.index(summed[0]) - 2, runs, output=False, order=order)
        runs = self.groups.open(name, value.shape[dim])
        self._bind_own(matrix, of_matrix.index(written[0]) - 2, runs, output=True)
        for bias in operands[2:]:
            self._bind_own(bias, -1, runs, output=True)
        return _Label(dim, runs) if value.shape[dim] > 1 else None

    def _bind_own(self, node, axis, runs, output, order=None):
        """Axis `axis` < 0 of a value computed from parameters carries `runs`, unless it has size 1 there."""
        self._bind_parts(self.own[node], self.env[node].shape, axis, runs, output, order)

    def _bind_parts(self, own, shape, axis, runs, output, order=None):
        for tensor, dims in own.parts:
            if -axis <= len(dims) and shape[axis] > 1 and dims[axis] is not None:
                self.groups.bind(tensor, dims[axis], runs, output, order)

    def _concatenate(self, inputs, args, kwargs):
        rank = len(inputs[0][0])
        dim = (args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))) % rank
        if any(isinstance(label, _Spread) or (label and label.order) for _, label in inputs):
            return self._join(torch.cat, inputs, dim)
        if {label.dim for _, label in inputs if label} != {dim}:
            return self._elementwise(inputs, rank)
        return _Label(dim, tuple(chain(*(label.runs if label else pinned(shape[dim]) for shape, label in inputs))))

    def _stack(self, inputs, args, kwargs):
        """Stacked values carry the same group along the same axis; a new axis before it moves that by one."""
        rank = len(inputs[0][0])
        dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % (rank + 1)
        if any(isinstance(label, _Spread) for _, label in inputs):
            return self._join(torch.stack, inputs, dim)
        label = self._elementwise(inputs, rank)
        return label and label._replace(dim=label.dim + (dim <= label.dim))

    def _index(self, node, shape, label, index):
        """Indexing: the axis of the channels is taken whole, or `_rearrange` handles it; others may be sliced."""
        items = index if isinstance(index, tuple) else (index,)
        left = len(shape) - sum(item is not None and item is not Ellipsis for item in items)
        items = chain(*([slice(None)] * left if item is Ellipsis else [item] for item in items))
        axis = result = 0
        for item in items:
            known = item is None or type(item) in (int, slice)
            if not known or (axis == label.dim and type(item) is int):
                return self._rearrange(node, shape, label, (None, index), {})
            if axis == label.dim and item is not None:
                whole = range(shape[axis])[item] == range(shape[axis])
                return label._replace(dim=result) if whole else self._rearrange(node, shape, label, (None, index), {})
            axis += item is not None
            result += type(item) is not int
        return label._replace(dim=result + label.dim - axis)

    def _reshape(self, node, shape, label, result, args, kwargs):
        """The axis of the channels stays, or is merged with the axes after it, so that channels have more entries."""
        before, size = shape[: label.dim].numel(), shape[label.dim]
        for dim, merged in enumerate(result):
            if label.order is None and result[:dim].numel() == before and merged >= size and merged % size == 0:
                return _Label(dim, tuple(run._replace(repeat=run.repeat * merged // size) for run in label.runs))
        return self._rearrange(node, shape, label, args, kwargs)

    def _move(self, node, shape, label, args, kwargs):
        """The new place of the axis of the channels, found by a shape whose sizes all differ (`_moved`)."""
        sizes, moved = self._moved(node, shape, args, kwargs)
        return label._replace(dim=moved.index(sizes[label.dim])) if sizes[label.dim] in moved else None

    @staticmethod
    def _moved(node, shape, args, kwargs):
        """(sizes that all differ, for a shape like this one; the sizes of what the operation makes of them)."""
        sizes = [1 if size == 1 else dim + 2 for dim, size in enumerate(shape)]
        probe = torch.empty(sizes, device="meta")
        function = getattr(torch.Tensor, node.target) if node.op == "call_method" else node.target
        return sizes, function(probe, *args[1:], **kwargs).shape

    # --- channels along several axes ---

    def _rearrange(self, node, shape, label, args, kwargs):
        """Apply an operation that moves entries to the channels' ids and places."""
        function = getattr(torch.Tensor, node.target) if node.op == "call_method" else node.target
        function = self.fetch_attr(node.target) if node.op == "call_module" else function
        if (node.op != "call_module" and not args) or str(node.target).endswith("_"):
            return self._unknown(node, [(shape, label)])
        ids, places = (function(tensor, *args[1:], **kwargs) for tensor in self._entries(shape, label))
        if isinstance(ids, torch.Tensor):
            return self._settled(ids, places)
        return _Several(tuple(self._settled(*part) for part in zip(ids, places)))

    def _join(self, function, inputs, dim):
        """Concatenation and stack of channels along several axes."""
        ids, places = zip(*(self._entries(shape, label) for shape, label in inputs))
        return self._settled(function(ids, dim), function(places, dim))

    def _entries(self, shape, label):
        """(ids, places) of a value, as in `_Spread`."""
        if isinstance(label, _Spread):
            return label
        if label is None:
            return torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
        runs = self.groups.resolve(label.runs)
        ids, starts = ids_of(runs), accumulate((run.repeat for run in runs), initial=0)
        entries = torch.cat([start + torch.arange(run.repeat).repeat(run.size) for start, run in zip(starts, runs)])
        if label.order is not None:
            order = torch.tensor(label.order)
            ids, entries = (torch.empty_like(part).scatter_(0, order, part) for part in (ids, entries))
        along = [-1 if dim == label.dim else 1 for dim in range(len(shape))]
        places = self._places(shape, [label.dim]) + entries.view(along) * _POSITIONS
        return ids.view(along).expand(shape).contiguous(), places.expand(shape).contiguous()

    def _places(self, shape, dims):
        """A number for each position along the axes other than `dims`, different from those of any other value."""
        self.sources += 1
        others = [1 if dim in dims else size for dim, size in enumerate(shape)]
        return self.sources * _VALUES + torch.arange(torch.Size(others).numel()).view(others)

    def _settled(self, ids, places):
        """The label of a value with these ids and places; groups that it has only in part are cut."""
        ids = self.groups.even(ids)
        dims = [dim for dim in range(ids.ndim) if (ids != ids.narrow(dim, 0, 1)).any()]
        if len(dims) > 1:
            return _Spread(ids, places)
        if not dims:  # a single channel, or none
            return None
        (dim,) = dims
        runs, order = self.groups.runs_of(ids.movedim(dim, 0).flatten(1)[:, 0])
        entries = places.movedim(dim, 0).flatten(1)[slice(None) if order is None else list(order)]
        for run, part in zip(runs, entries.split([run.size * run.repeat for run in runs])):
            part = part.unflatten(0, (run.size, run.repeat))
            if run.group and (part != part[:1]).any():  # its channels have their entries at different positions
                self.groups.pin([run])
        return _Label(dim, runs, order)

    def _grid(self, label):
        """The channels of a value as a grid of blocks; None where they do not lie along two axes in this way."""
        ids = self.groups.even(label.ids)
        dims = [dim for dim in range(ids.ndim) if (ids != ids.narrow(dim, 0, 1)).any()]
        if len(dims) != 2:
            return None
        places = label.places.movedim(dims, (0, 1))
        if (places != places[:1, :1]).any():
            return None
        ids = ids.movedim(dims, (0, 1)).flatten(2)[..., 0]
        return self._rows(ids, *dims) or self._rows(ids.T, *reversed(dims))

    def _rows(self, ids, outer, inner):
        """A grid of ids (blocks, channels of a block); None where the channels of a block are not consecutive."""
        runs, order = self.groups.runs_of(ids.flatten())
        if order is not None or any(run.repeat > 1 and run.group for run in runs):
            return None
        number, size = ids.shape
        if len(runs) == 1:
            return _Grid(outer, inner, runs, self.groups.divide(runs[0].group, number))
        start = 0
        for run in runs:
            ends = [end for end in range(-start % size, run.size, size) if end]
            if ends and run.group:
                self.groups.cut(run.group, ends)
            start += run.size
        return _Grid(outer, inner, self.groups.resolve(runs), pinned(number))

    def _meet(self, inputs, rank):
        """`_elementwise` of values some of which carry channels along several axes."""
        shape, label = next((shape, label) for shape, label in inputs if isinstance(label, _Spread))
        grid = self._grid(label)
        for other_shape, other in inputs:
            sizes = [other_shape[dim - rank] if rank - dim <= len(other_shape) else 1 for dim in (grid or ())[:2]]
            if other is label or (grid and other is None and sizes == [1, 1]):
                continue
            met = self._grid(other) if isinstance(other, _Spread) and other_shape == shape else None
            if len(shape) == rank and grid and met and grid[:2] == met[:2]:
                self.groups.tie(grid.runs, met.runs)
            elif (
                isinstance(other, _Label)
                and grid
                and sizes[1] == 1
                and other.dim + rank - len(other_shape) == grid.outer
            ):
                self.groups.tie(grid.blocks, other.runs)
            else:
                self._pin(inputs)
        return label

    def _along(self, node, inputs, args, kwargs):
        """An operation over a whole axis: known along the channels of each block, and along axes without channels."""
        ((_, label),) = inputs
        named = kwargs.get("dim", args[1] if len(args) > 1 else None)
        grid = self._grid(label)
        if node.op == "call_module" or type(named) is not int or not grid or named % label.ids.ndim == grid.outer:
            return self._unknown(node, inputs)
        return label

    def _both(self, node, kind, value):
        """The label of a product of two values."""
        equation, operands = _BOTH.get(kind), node.args
        if kind == "einsum":
            equation, *operands = node.args
            operands = operands[0] if isinstance(operands[0], list | tuple) else operands
        known = isinstance(equation, str) and len(operands) == 2 and all(operand in self.labels for operand in operands)
        spelled = _letters(equation, [self.env[operand].ndim for operand in operands]) if known else [""]
        inputs = self._inputs(node.all_input_nodes)
        if not spelled[0] or operands[0] is operands[1]:
            return self._unknown(node, inputs)
        inputs = self._inputs(operands)
        return self._contract(node, spelled, inputs, value.shape)

    def _attention(self, node, value):
        """Scaled dot-product attention, as two products: queries with keys, then weights with values."""
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
        given = dict(zip(names, node.args)) | node.kwargs
        nodes = [given[name] for name in names[:3]]
        if given.get("enable_gqa") or not all(operand in self.labels for operand in nodes):
            return self._unknown(node, self._inputs(node.all_input_nodes))
        query, key, mixed = self._inputs(nodes)
        shape = (*query[0][:-1], key[0][-2])
        ranks = [len(query[0]), len(key[0])]
        weights = self._contract(node, _letters(_SCORES, ranks), [query, key], torch.Size(shape))
        if isinstance(mask := given.get("attn_mask"), fx.Node):
            inputs = [(torch.Size(shape), weights), *self._inputs([mask])]
            weights = self._elementwise(inputs, len(shape)) if any(label for _, label in inputs) else None
        ranks = [len(shape), len(mixed[0])]
        return self._contract(node, _letters(_MIXED, ranks), [(shape, weights), mixed], value.shape)

    def _contract(self, node, spelled, inputs, shape):
        """The label of a product of two values that sums over some axes.

        spelled: the letters of the axes of both and of the result, whose shape is `shape`. Channels that are summed
        over are tied, as are the blocks of both values; channels within the blocks of only one value keep their group.
        """
        result, carried, grids = spelled[2], [], []
        for letters, (_, label) in zip(spelled, inputs):
            if isinstance(label, _Spread) and not self.groups.even(label.ids).any():
                label = None  # all its channels have been pinned meanwhile
            grid = self._grid(label) if isinstance(label, _Spread) else None
            if (isinstance(label, _Spread) and not grid) or (isinstance(label, _Label) and label.order):
                return self._unknown(node, inputs)
            grids.append(grid)
            if grid:
                carried.append({letters[grid.outer]: grid.blocks, letters[grid.inner]: grid.runs})
            else:
                carried.append({letters[label.dim]: label.runs} if label else {})
        one, other = carried
        for mine, theirs, grid, letters, (size, _) in zip(carried, (other, one), grids, spelled[1::-1], inputs[::-1]):
            still = dict(zip(letters, size))  # entries that keep their order
            for letter in [letter for letter in mine if letter not in theirs and still.get(letter, 1) > 1]:
                if not grid or letter != next(iter(mine)):
                    return self._unknown(node, inputs)
                self.groups.tie(mine[letter], pinned(still[letter]))
        common = [letter for letter in one if letter in other]
        grid = grids[0] or grids[1]
        if all(grids):
            known = common == [*one] == [*other] and common[1] not in result
        elif grid:  # the other value has an entry for each block, or one for all blocks
            outer, inner = one if grids[0] else other
            known = {*one, *other} == {outer, inner} and inner not in common and outer in result and inner in result
        else:
            known = len({*one, *other}) < 2
        if not known:
            return self._unknown(node, inputs)
        for letter in reversed(common):  # channels before blocks: tying channels ties their blocks
            if letter not in result and self.groups.resolve(one[letter]) != self.groups.resolve(other[letter]):
                self.groups.read(other[letter])
            self.groups.tie(one[letter], other[letter])
        if grid and not all(grids):
            return self._laid(result.index(outer), result.index(inner), grid, shape)
        letter = next((letter for letter in one | other if letter in result), None)
        return letter and _Label(result.index(letter), (one | other)[letter])

    def _laid(self, outer, inner, grid, shape):
        """A value of this shape that has the channels of a grid along two of its axes."""
        number, size = shape[outer], shape[inner]
        ids = ids_of(self.groups.resolve(grid.runs)).view(number, size)
        ids = ids if outer < inner else ids.T.contiguous()
        ids = ids.view([length if dim in (outer, inner) else 1 for dim, length in enumerate(shape)])
        places = self._places(shape, [outer, inner])
        return _Spread(ids.expand(shape).contiguous(), places.expand(shape).contiguous())


class _Tensor(NamedTuple):
    """A tensor that a layer's weight is computed from.

    axes: its axes that correspond to axes 0 and 1 of the weight, or None. repeat: how many of its entries correspond to
    one entry of the weight.
    """

    tensor: torch.Tensor
    axes: tuple[int | None, int | None] = (0, 1)
    repeat: int = 1


def made_of(layer):
    """The tensors that the weight of a linear layer or convolution is computed from, first the one of its shape.

    Empty where there is no rule, as for pruned or orthogonal weights.
    """
    own = {"weight"} if layer.bias is None else {"weight", "bias"}
    if not parametrize.is_parametrized(layer):
        return [_Tensor(layer.weight)] if own == {name for name, _ in layer.named_parameters()} else []
    lists = dict(layer.parametrizations.items())
    if lists.keys() != {"weight"} or len(lists["weight"]) != 1:
        return []
    (how,), weights = lists["weight"], lists["weight"]
    if isinstance(how, _WeightNorm):
        length = weights.original0
        axes = tuple(axis if length.ndim > axis and length.shape[axis] > 1 else None for axis in (0, 1))
        return [_Tensor(weights.original1), _Tensor(length, axes)]
    if isinstance(how, _SpectralNorm) and getattr(layer, "groups", 1) == 1:
        singular = ((0, None), (None, 0)) if how.dim == 0 else ((None, 0), (0, None))
        kernel = weights.original[0, 0].numel()  # the right vector has an entry for each entry of a kernel
        return [_Tensor(weights.original), _Tensor(how._u, singular[0]), _Tensor(how._v, singular[1], kernel)]
    return []


def check_declared(named, said, tensors):
    """Raises Refused, one line, for an invalid attribute `permutable` of a module, `said`.

    Valid are None, and a dictionary: name of a tensor of the module -> the axis with one entry for each channel.
    """
    fitting = isinstance(said, dict) and all(
        name in tensors and type(axis) is int and 0 <= axis < tensors[name].ndim for name, axis in said.items()
    )
    if said is not None and not fitting:
        raise Refused(
            f"{named}: its attribute permutable is {said!r}: set it to None, or to a dictionary of its tensors, name "
            f"-> axis of the channels; it has {', '.join(tensors) or 'none'}"
        )


def _line(node):
    """Where in the network's source a node is from, as ": net.py, line 7"; empty where it is not known."""
    return f": {line}" if (line := node.meta.get("line")) else ""


def _letters(equation, ranks):
    """The letters of the axes of each operand and of the result of an einsum equation, an ellipsis as capitals.

    Empty strings where the equation has no result, names an axis twice, or has capitals besides an ellipsis.
    """
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    longest = max(rank - len(term.strip(".")) for term, rank in zip(terms, ranks))
    spelled = []
    for term, rank in zip([*terms, result], [*ranks, len(result.strip(".")) + longest]):
        spelled.append(term.replace("...", "ABCDEFGH"[8 - rank + len(term.strip(".")) :]))
    simple = len(terms) == len(ranks) and result and (equation.islower() or "..." not in equation)
    fitting = [len(set(term)) == len(term) == rank for term, rank in zip(spelled, ranks)]
    return spelled if simple and all(fitting) else [""] * (len(ranks) + 1)
