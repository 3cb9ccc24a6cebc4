"""Discovery: the permutation spec of a network, read off its graphs."""

import re
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import fx, nn

from modeconn import forward
from modeconn.permutation.graphs import DROPOUT, attempt, graphs_of, kind_of, words
from modeconn.permutation.spec import Axis, PermutationSpec, Segment, Site


def discover(network, example):
    """The PermutationSpec of `network`, found by one walk over its graph in eval and one in train mode.

    example: one batch of at least two inputs, such as (N, C, H, W). The network is left as it was.
    What the walk does not understand is pinned to the identity, and the spec says why: it may be less free than it
    could be.
    Raises ValueError where the network cannot be traced or run, computes something else than its graphs or returns
    anything but logits, or has a parameter that neither graph uses.
    """
    name = type(network).__name__
    forward.check_network(network)
    twin = forward.copied(network, network.parameters())
    groups = _Groups()
    walks = [_Walk(graph, groups) for graph in graphs_of(twin, example)]
    for walk in walks:
        attempt(walk.run, example, name)
    for parameter_name, parameter in twin.named_parameters():
        if id(parameter) not in groups.reached:
            raise ValueError(f"{name}: parameter {parameter_name} takes no part in the forward pass; use or remove it")
    roots = sorted({groups.find(group) for group in range(1, len(groups.names))} - {0})
    sites, pre_sites = (_sites(walks, groups, before) for before in (False, True))
    named = ((name, groups.fixed.get(id(tensor))) for name, tensor in twin.named_parameters())
    pinned = chain(groups.pinned.items(), named)
    return PermutationSpec(
        groups={groups.names[root]: groups.sizes[root] for root in roots},
        axes=_axes(twin, groups),
        sites={groups.names[root]: sites.get(root, ()) for root in roots},
        pre_sites={groups.names[root]: pre_sites.get(root, ()) for root in roots},
        pinned={name: reason for name, reason in pinned if reason},
    )


def _axes(network, groups):
    names = {}  # several for one tensor where modules share it: a state dict holds it under each
    members = (network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False))
    for name, tensor in chain(*members):
        names.setdefault(id(tensor), []).append(name)
    axes = []
    for (tensor, dim), (runs, output) in groups.axes.items():
        segments = tuple(Segment(groups.names[groups.find(run.group)], run.size, run.repeat) for run in runs)
        if any(segment.group for segment in segments):
            axes += [Axis(name, dim, segments, output) for name in names[tensor]]
    return tuple(axes)


def _sites(walks, groups, before):
    """Number of a group -> its sites after the nonlinearities, or `before` them, in the first graph that has it.

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
            if label and len(label.runs) == 1:
                for group, site in _carried(node, label, groups):
                    alone[group] = (replace(site, training=training),)
        sites = alone | nonlinear | sites
    return sites


def _carried(node, label, groups):
    """(number of a group, its site) for the groups whose channels are single entries of the node's value."""
    offset = 0
    for run in label.runs if label else ():
        if run.repeat == 1:
            yield groups.find(run.group), Site(node.name, label.dim, offset, run.size)
        offset += run.size * run.repeat


class _Run(NamedTuple):
    """A segment while groups are still being tied: `group` is a number of `_Groups`."""

    group: int
    size: int
    repeat: int = 1


class _Label(NamedTuple):
    """What a value carries: groups along one of its axes."""

    dim: int
    runs: tuple[_Run, ...]


class _Own(NamedTuple):
    """A parameter that no layer holds, as a value: for each axis of the value the parameter's, or None."""

    name: str
    tensor: nn.Parameter
    dims: tuple[int | None, ...]


def _pinned(size):
    return (_Run(0, size),)


class _Groups:
    """Union-find over groups, and the axes that carry them.

    Group 0 is the identity: what must not move is merged into it. The oldest member stands for its set,
    which therefore has the name of its first opener.
    """

    def __init__(self):
        self.names, self.sizes, self.parents = [None], [0], [0]
        self.axes = {}  # (id of a tensor, dim) -> (runs, output)
        self.reached = set()  # ids of tensors
        self.reason = ""  # why what is pinned now is pinned; empty for the network's output
        self.pinned, self.fixed = {}, {}  # name of an opener, or id of a tensor -> the reason

    def open(self, name, size):
        if size == 1:
            return _pinned(1)
        self.names.append(name)
        self.sizes.append(size)
        self.parents.append(len(self.parents))
        return (_Run(self.parents[-1], size),)

    def find(self, group):
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def union(self, first, second):
        oldest, other = sorted((self.find(first), self.find(second)))
        if oldest == 0 != other:
            for group in range(1, len(self.names)):
                if self.find(group) == other:
                    self.pinned.setdefault(self.names[group], self.reason)
        self.parents[other] = oldest

    def pin(self, runs):
        for run in runs:
            self.union(0, run.group)

    def tie(self, first, second):
        """One axis has both cuts. Cuts into different lengths leave it no freedom that is easily told: pinned."""
        if [run[1:] for run in first] == [run[1:] for run in second]:
            for one, other in zip(first, second):
                self.union(one.group, other.group)
        else:
            self.pin(first + second)

    def bind(self, tensor, dim, runs, output):
        """Axis `dim` of a tensor carries `runs`; what it carries from another use is tied to them."""
        self.reached.add(id(tensor))
        self.tie(self.axes.setdefault((id(tensor), dim), (runs, output))[0], runs)

    def fix(self, tensors):
        """No axis of the tensors may be permuted."""
        for tensor in tensors:
            self.reached.add(id(tensor))
            self.fixed.setdefault(id(tensor), self.reason)
            for dim, size in enumerate(tensor.shape):
                self.bind(tensor, dim, _pinned(size), output=False)


# Operations as `kind_of` names them.
_NONLINEAR = words("""
    relu relu6 prelu rrelu leakyrelu elu selu celu gelu silu mish hardswish sigmoid hardsigmoid logsigmoid
    tanh hardtanh softplus softsign softshrink hardshrink tanhshrink threshold clamp clampmin
""")
# The last three see a whole axis, but no order in it.
_CARRYING = words("""
    add iadd sub isub mul imul div truediv itruediv pow neg abs square sqrt rsqrt exp log maximum minimum
    identity contiguous clone detach float double half softmax logsoftmax normalize
""")
_CONCATENATE = words("cat concat concatenate")
_RESHAPE = words("flatten unflatten view reshape")
# Axes moved, or reduced regardless of order: after a mean over the channels there is nothing left to permute.
_MOVE = words("""
    permute transpose swapaxes swapdims movedim moveaxis squeeze unsqueeze t
    mean sum prod amax amin std var norm logsumexp
""")
_SHAPE = words("size dim ndimension numel stride getattr")
_VIEWS = _MOVE | _RESHAPE | words("getattr getitem")  # where they return the memory that they were given
# Products with a matrix; a bias may follow.
_PRODUCTS = {"linear": "...i,oi->...o", "matmul": "...i,io->...o", "mm": "...i,io->...o"}
_NAMES = ("input", "weight", "other", "mat2", "bias")  # of their arguments
_SPATIAL = re.compile(r"(?:pool|pad)([123])d$")
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_CHANNEL_NORMS = (*_BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.PReLU)


class _Walk(fx.Interpreter):
    """Runs a graph once and labels each value with the groups that one of its axes carries.

    In the methods `inputs` are a node's tensors as (shape, label), label None where nothing may be permuted.
    """

    def __init__(self, graph, groups):
        super().__init__(graph)
        self.extra_traceback = False
        self.groups = groups
        self.labels = {}
        self.own = {}  # node -> _Own; such a node has no label

    def kind(self, node):
        return kind_of(self.fetch_attr(node.target) if node.op == "call_module" else node.target)

    def run_node(self, node):
        value = super().run_node(node)
        self.groups.reason = f"{self._named(node)} ties it to what is pinned"
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
            self.own[node] = _Own(node.target, value, tuple(range(value.ndim)))
        elif node.op == "get_attr" and isinstance(value, torch.Tensor):
            users = ", ".join(self._named(user) for user in node.users)
            self.groups.reason = f"a tensor without a layer, used by {users}"
            self.groups.fix([value])
        if not any(label for _, label in inputs):
            return None
        if node.op == "output":
            self.groups.reason = ""
            return self._pin(inputs)
        if not isinstance(value, torch.Tensor):
            return self._unknown(node, inputs) if self.kind(node) not in _SHAPE else None
        return self._operation(node, inputs, value)

    def _module(self, node, module, inputs, value):
        own = {name for name in ("weight", "bias") if getattr(module, name, None) is not None}
        # Pruning and parametrizations compute the weight from parameters of other names, which no rule here knows.
        if own == {name for name, _ in module.named_parameters()} and len(inputs) == 1:
            if type(module) in LAYERS:
                return self._layer(node.target, module, *inputs[0], value)
            if type(module) in _CHANNEL_NORMS and getattr(module, "num_groups", 1) == 1:
                return self._channel_norm([*module.parameters(), *module.buffers()], *inputs[0])
            if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
                return self._layer_norm(module, *inputs[0])
        self.groups.reason = f"{self._named(node)} is not understood"
        self.groups.fix(chain(module.parameters(), module.buffers()))
        known = isinstance(value, torch.Tensor) and any(label for _, label in inputs)
        return self._operation(node, inputs, value) if known else self._pin(inputs)

    def _operation(self, node, inputs, value):
        """The label of a value that an operation without parameters of its own makes of `inputs`."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        kind = self.kind(node)
        if kind in _NONLINEAR | DROPOUT | _CARRYING:
            return self._elementwise(inputs, value.ndim)
        if kind in _CONCATENATE and (parts := self._parts(node)):
            return self._concatenate(parts, args, kwargs)
        if kind == "stack" and (parts := self._parts(node)):
            return self._stack(parts, args, kwargs)
        (shape, label), *others = inputs
        if label is None or others:
            return self._unknown(node, inputs)
        if kind in _RESHAPE:
            return self._reshape(node, shape, label, value.shape)
        if kind == "getitem":
            return self._index(node, shape, label, args[1])
        # Not in place: the value before has its label already.
        if kind in _MOVE and args and not (node.op == "call_method" and node.target.endswith("_")):
            return self._move(node, shape, label, args, kwargs)
        if match := _SPATIAL.search(kind):
            mixed = int(match[1])
        elif kind == "pad" and len(args) > 1:
            mixed = len(args[1]) // 2
        else:
            mixed = value.ndim - 2 if kind in ("interpolate", "upsample") else value.ndim
        return label if label.dim < value.ndim - mixed else self._unknown(node, inputs)

    def _parts(self, node):
        """What a concatenation joins, as inputs; nothing where its argument is no list of values."""
        joined = node.args[0] if node.args else node.kwargs.get("tensors")
        return (
            [(self.env[part].shape, self.labels[part]) for part in joined] if isinstance(joined, list | tuple) else []
        )

    def _unknown(self, node, inputs):
        self.groups.reason = f"{self._named(node)} is not understood"
        return self._pin(inputs)

    def _pin(self, inputs):
        for _, label in inputs:
            self.groups.pin(label.runs if label else ())

    def _layer(self, name, module, shape, label, value):
        """Linear and convolution: closes the groups of the input, opens one on the output; depthwise, carries them."""
        spatial = module.weight.ndim - 2
        dim_out = value.ndim - spatial - 1
        runs = self._read(name, shape, label, len(shape) - spatial - 1)
        if getattr(module, "groups", 1) == 1:
            self.groups.bind(module.weight, 1, runs, output=False)
            runs = self.groups.open(name, value.shape[dim_out])
        elif not module.groups == module.in_channels == module.out_channels:
            self.groups.reason = f"{name} convolves in {module.groups} groups of channels"
            self.groups.pin(runs)
            runs = _pinned(value.shape[dim_out])
            self.groups.fix([module.weight])
        for tensor in module.parameters():
            self.groups.bind(tensor, 0, runs, output=True)
        return _Label(dim_out, runs) if value.shape[dim_out] > 1 else None

    def _read(self, name, shape, label, dim):
        """The runs of the axis over which a layer sums."""
        if label is not None and label.dim == dim:
            return label.runs
        self.groups.reason = f"the layer {name} reads another axis"
        self._pin([(shape, label)])
        return _pinned(shape[dim])

    def _channel_norm(self, tensors, shape, label):
        """Batch normalization, group normalization with one group, PReLU: parameters along axis 1."""
        for tensor in tensors:
            if label is not None and label.dim == 1 and tensor.shape == shape[1:2]:
                self.groups.bind(tensor, 0, label.runs, output=True)
            else:
                self.groups.fix([tensor])
        return label

    def _layer_norm(self, module, shape, label):
        """Layer normalization and its subclasses, which may move axes about: the weight's first axis is looked for."""
        parameters = {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}
        if label is not None and shape[label.dim] == module.normalized_shape[0] and "weight" in parameters:
            # With the weights of all channels but one switched off, the output must be zero but there.
            parameters["weight"][0] = 1
            probe = torch.arange(shape.numel()).sin().view(shape).to(module.weight)
            on = torch.func.functional_call(module, parameters, (probe,)).nonzero()
            if len(on) and not on[:, label.dim].any():
                for tensor in module.parameters():
                    self.groups.bind(tensor, 0, label.runs, output=True)
                return label
        self.groups.reason = f"{type(module).__name__} normalizes another axis than that of the channels"
        self.groups.fix(module.parameters())
        return self._pin([(shape, label)])

    def _elementwise(self, inputs, rank):
        """Entries that meet carry the same group; an input that is broadcast along the axis does not restrict it."""
        dims = {label.dim + rank - len(shape) for shape, label in inputs if label}
        if len(dims) > 1:
            return self._pin(inputs)
        (dim,) = dims
        runs = next(label.runs for _, label in inputs if label)
        for shape, label in inputs:
            size = shape[dim - rank] if rank - dim <= len(shape) else 1
            if size > 1:
                self.groups.tie(runs, label.runs if label else _pinned(size))
        return _Label(dim, runs)

    def _with_own(self, node, value):
        """The label of a value that is made with parameters of the network's own.

        Where no rule knows how it is made, they are fixed and the answer is NotImplemented.
        """
        label = NotImplemented
        if not isinstance(value, torch.Tensor):
            label = None if self.kind(node) in _SHAPE else NotImplemented
        elif node.op in ("call_function", "call_method"):
            label = self._own_rule(node, value)
        if label is NotImplemented:
            self.groups.reason = f"a tensor without a layer, used by {self._named(node)}"
            self.groups.fix([self.own[source].tensor for source in node.all_input_nodes if source in self.own])
        return label

    def _own_rule(self, node, value):
        first, *others = node.all_input_nodes
        kind = self.kind(node)
        if not others:
            return self._own_alone(node, kind, self.env[first], value)
        if kind == "prelu" and first not in self.own:
            return self._channel_norm([self.own[source].tensor for source in others], *self._inputs([first])[0])
        if kind in _NONLINEAR | _CARRYING:
            return self._scale(node.all_input_nodes, value.ndim)
        if kind in _PRODUCTS:
            named = [node.kwargs[name] for name in _NAMES if name in node.kwargs]
            operands = [operand for operand in (*node.args, *named) if operand is not None]
            return self._product(_PRODUCTS[kind], operands, value)
        if kind == "einsum" and isinstance(next(iter(node.args), None), str):
            equation, *operands = node.args
            return self._product(equation, operands[0] if isinstance(operands[0], list | tuple) else operands, value)
        return NotImplemented

    def _own_alone(self, node, kind, before, value):
        """Another view of a parameter, or the same change of each of its entries, is as the parameter is."""
        own = self.own[node.all_input_nodes[0]]
        if kind in _VIEWS and value.data_ptr() == before.data_ptr() and not str(node.target).endswith("_"):
            places = zip(before.shape, before.stride(), own.dims)
            known = {(size, stride): dim for size, stride, dim in places if size > 1}
            axes = [(size, stride) for size, stride in zip(value.shape, value.stride()) if size > 1]
            if set(axes) != set(known):
                return NotImplemented
            own = own._replace(dims=tuple(known.get(axis) for axis in zip(value.shape, value.stride())))
        elif kind not in _NONLINEAR | _CARRYING or value.shape != before.shape:
            return NotImplemented
        self.own[node] = own
        return None

    def _scale(self, sources, rank):
        """Parameters whose entries meet the channels of a value, as those of a normalization do."""
        inputs = self._inputs([source for source in sources if source not in self.own])
        label = self._elementwise(inputs, rank) if any(label for _, label in inputs) else None
        if label is None:
            return NotImplemented
        for source in sources:
            if source in self.own:
                self._bind_own(source, label.dim - rank, label.runs, output=True)
        return label

    def _product(self, equation, operands, value):
        """A value times a matrix of parameters is a layer of their name. operands: the nodes of both and of a bias."""
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
        runs = self._read(name, shape, label, of_other.index(summed[0]))
        self._bind_own(matrix, of_matrix.index(summed[0]), runs, output=False)
        runs = self.groups.open(name, value.shape[dim])
        self._bind_own(matrix, of_matrix.index(written[0]), runs, output=True)
        for bias in operands[2:]:
            self._bind_own(bias, -1, runs, output=True)
        return _Label(dim, runs) if value.shape[dim] > 1 else None

    def _bind_own(self, node, axis, runs, output):
        """Axis `axis` of a value that is a parameter carries `runs`, unless it is broadcast along them."""
        tensor, dims = self.own[node].tensor, self.own[node].dims
        if -axis <= len(dims) and self.env[node].shape[axis] > 1:
            self.groups.bind(tensor, dims[axis], runs, output)

    def _concatenate(self, inputs, args, kwargs):
        rank = len(inputs[0][0])
        dim = (args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))) % rank
        if {label.dim for _, label in inputs if label} != {dim}:
            return self._elementwise(inputs, rank)
        return _Label(dim, tuple(chain(*(label.runs if label else _pinned(shape[dim]) for shape, label in inputs))))

    def _stack(self, inputs, args, kwargs):
        """What is stacked carries the same group along the same axis, which a new one before it moves."""
        rank = len(inputs[0][0])
        dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % (rank + 1)
        label = self._elementwise(inputs, rank)
        return label and label._replace(dim=label.dim + (dim <= label.dim))

    def _index(self, node, shape, label, index):
        """The axis is taken whole, whatever is sliced of the others."""
        items = index if isinstance(index, tuple) else (index,)
        left = len(shape) - sum(item is not None and item is not Ellipsis for item in items)
        items = chain(*([slice(None)] * left if item is Ellipsis else [item] for item in items))
        axis = result = 0
        for item in items:
            known = item is None or type(item) in (int, slice)
            if not known or (axis == label.dim and type(item) is int):
                return self._unknown(node, [(shape, label)])
            if axis == label.dim and item is not None:
                whole = range(shape[axis])[item] == range(shape[axis])
                return _Label(result, label.runs) if whole else self._unknown(node, [(shape, label)])
            axis += item is not None
            result += type(item) is not int
        return _Label(result + label.dim - axis, label.runs)

    def _reshape(self, node, shape, label, result):
        """The axis stays, or is merged with those that follow it: its entries are repeated."""
        before, size = shape[: label.dim].numel(), shape[label.dim]
        for dim, merged in enumerate(result):
            if result[:dim].numel() == before and merged >= size and merged % size == 0:
                return _Label(dim, tuple(run._replace(repeat=run.repeat * merged // size) for run in label.runs))
        return self._unknown(node, [(shape, label)])

    def _move(self, node, shape, label, args, kwargs):
        """The axis is followed by its size, in a shape whose sizes all differ."""
        sizes = [1 if size == 1 else dim + 2 for dim, size in enumerate(shape)]
        probe = torch.empty(sizes, device="meta")
        function = getattr(torch.Tensor, node.target) if node.op == "call_method" else node.target
        moved = function(probe, *args[1:], **kwargs).shape
        return _Label(moved.index(sizes[label.dim]), label.runs) if sizes[label.dim] in moved else None


def _letters(equation, ranks):
    """The letters of each operand's axes and of the result's, as torch.einsum has them, with an ellipsis spelled out.

    Nothing for each where the equation is not simple: has no result, names an axis twice, or spells letters large.
    """
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    longest = max(rank - len(term.strip(".")) for term, rank in zip(terms, ranks))
    spelled = []
    for term, rank in zip([*terms, result], [*ranks, len(result.strip(".")) + longest]):
        spelled.append(term.replace("...", "ABCDEFGH"[8 - rank + len(term.strip(".")) :]))
    simple = len(terms) == len(ranks) and result and equation.islower()
    fitting = [len(set(term)) == len(term) == rank for term, rank in zip(spelled, ranks)]
    return spelled if simple and all(fitting) else [""] * (len(ranks) + 1)
