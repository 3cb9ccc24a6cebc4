"""Which entries of which tensors move together when the hidden neurons of a network are renumbered.

`discover` reads it off the network's torch.fx graph, `apply` renumbers, `verify` proves that the network
computes the same as before, `capture` hands out activations on the way.

A group is a set of neurons or channels that share one permutation. A permutation maps each group's name
to int64 indices, with w_new[i] = w[permutation[i]] along every axis that carries the group.
"""

import copy
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves


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
    """

    groups: dict[str, int]
    axes: tuple[Axis, ...]
    sites: dict[str, tuple[Site, ...]]
    pre_sites: dict[str, tuple[Site, ...]]


@dataclass(frozen=True)
class Proof:
    """Changes that `verify` measured, as fractions of an output's largest absolute value."""

    invariance: float  # every group permuted; the output that changed most
    reactions: dict[str, float]  # group -> only its output axes permuted; the output that changed most


# --- permutations ---


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


def compose(first, second):
    """One permutation for two in a row: apply(compose(p, q), w) == apply(q, apply(p, w))."""
    return {group: indices[second[group]] for group, indices in first.items()}


# --- discovery ---


def discover(network, example):
    """The PermutationSpec of `network`, found by one walk over its graph in eval and one in train mode.

    example: one batch of at least two inputs, such as (N, C, H, W). The network is left as it was.
    What the walk does not understand is pinned to the identity: a spec may be less free than it could be.
    Raises ValueError where the network cannot be traced or run, or has a parameter that neither graph uses.
    """
    name = type(network).__name__
    twin = _twin(network, network.parameters())
    groups = _Groups()
    walks = [_Walk(graph, groups) for graph in _graphs(twin)]
    try:
        with torch.no_grad():
            for walk in walks:
                walk.run(example)
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(f"{name} does not run on an example of shape {tuple(example.shape)}: {reason}") from error
    for parameter_name, parameter in twin.named_parameters():
        if id(parameter) not in groups.reached:
            raise ValueError(f"{name}: parameter {parameter_name} takes no part in the forward pass; use or remove it")
    roots = sorted({groups.find(group) for group in range(1, len(groups.names))} - {0})
    sites, pre_sites = (_sites(walks, groups, before) for before in (False, True))
    return PermutationSpec(
        groups={groups.names[root]: groups.sizes[root] for root in roots},
        axes=_axes(twin, groups),
        sites={groups.names[root]: sites.get(root, ()) for root in roots},
        pre_sites={groups.names[root]: pre_sites.get(root, ()) for root in roots},
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
            for dim, size in enumerate(tensor.shape):
                self.bind(tensor, dim, _pinned(size), output=False)


def _words(text):
    return frozenset(text.split())


# Operations by the name of their module, function or method in lower case without underscores: nn.ReLU, F.relu and
# Tensor.relu_ are all "relu".
_NONLINEAR = _words("""
    relu relu6 prelu rrelu leakyrelu elu selu celu gelu silu mish hardswish sigmoid hardsigmoid logsigmoid
    tanh hardtanh softplus softsign softshrink hardshrink tanhshrink threshold clamp clampmin
""")
_DROPOUT = _words("dropout dropout1d dropout2d dropout3d alphadropout featurealphadropout stochasticdepth")
# The last three see a whole axis, but no order in it.
_CARRYING = _words("""
    add iadd sub isub mul imul div truediv itruediv pow neg abs square sqrt rsqrt exp log maximum minimum
    identity contiguous clone detach float double half softmax logsoftmax normalize
""")
_CONCATENATE = _words("cat concat concatenate")
_RESHAPE = _words("flatten unflatten view reshape")
# Axes moved, or reduced regardless of order: after a mean over the channels there is nothing left to permute.
_MOVE = _words("""
    permute transpose swapaxes swapdims movedim moveaxis squeeze unsqueeze t
    mean sum prod amax amin std var norm logsumexp
""")
_SHAPE = _words("size dim ndimension numel stride getattr")
_SPATIAL = re.compile(r"(?:pool|pad)([123])d$")
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_CHANNEL_NORMS = (*_BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.PReLU)


def _kind(target):
    """An operation's name as in the sets above; empty for what is not torch's own, whatever its name."""
    if not isinstance(target, str):
        target = type(target) if isinstance(target, nn.Module) else target
        library = (target.__module__ or "").split(".")[0]
        target = target.__name__ if library in ("torch", "torchvision", "_operator", "builtins") else ""
    return target.replace("_", "").lower()


class _Walk(fx.Interpreter):
    """Runs a graph once and labels each value with the groups that one of its axes carries.

    In the methods `inputs` are a node's tensors as (shape, label), label None where nothing may be permuted.
    """

    def __init__(self, graph, groups):
        super().__init__(graph)
        self.extra_traceback = False
        self.groups = groups
        self.labels = {}

    def kind(self, node):
        return _kind(self.fetch_attr(node.target) if node.op == "call_module" else node.target)

    def run_node(self, node):
        sources = [(self.env[source], self.labels[source]) for source in node.all_input_nodes]
        inputs = [(source.shape, label) for source, label in sources if isinstance(source, torch.Tensor)]
        value = super().run_node(node)
        self.labels[node] = self._label(node, inputs, value)
        return value

    def _label(self, node, inputs, value):
        if node.op == "call_module":
            return self._module(node, self.fetch_attr(node.target), inputs, value)
        if node.op == "get_attr" and isinstance(value, torch.Tensor):
            self.groups.fix([value])
        if not any(label for _, label in inputs):
            return None
        if node.op == "output" or not isinstance(value, torch.Tensor):
            return self._unknown(inputs if self.kind(node) not in _SHAPE else ())
        return self._operation(node, inputs, value)

    def _module(self, node, module, inputs, value):
        own = {name for name in ("weight", "bias") if getattr(module, name, None) is not None}
        # Pruning and parametrizations compute the weight from parameters of other names, which no rule here knows.
        if own == {name for name, _ in module.named_parameters()} and len(inputs) == 1:
            if type(module) in _LAYERS:
                return self._layer(node.target, module, *inputs[0], value)
            if type(module) in _CHANNEL_NORMS and getattr(module, "num_groups", 1) == 1:
                return self._channel_norm(module, *inputs[0])
            if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
                return self._layer_norm(module, *inputs[0])
        self.groups.fix(chain(module.parameters(), module.buffers()))
        known = isinstance(value, torch.Tensor) and any(label for _, label in inputs)
        return self._operation(node, inputs, value) if known else self._unknown(inputs)

    def _operation(self, node, inputs, value):
        """The label of a value that an operation without parameters of its own makes of `inputs`."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        kind = self.kind(node)
        if kind in _NONLINEAR | _DROPOUT | _CARRYING:
            return self._elementwise(inputs, value.ndim)
        if kind in _CONCATENATE and args and isinstance(node.args[0], (list, tuple)):
            return self._concatenate(node, args, kwargs)
        (shape, label), *others = inputs
        if label is None or others:
            return self._unknown(inputs)
        if kind in _RESHAPE:
            return self._reshape(shape, label, value.shape)
        # Not in place: the value before has its label already.
        if kind in _MOVE and args and not (node.op == "call_method" and node.target.endswith("_")):
            return self._move(node, shape, label, args, kwargs)
        if match := _SPATIAL.search(kind):
            mixed = int(match[1])
        elif kind == "pad" and len(args) > 1:
            mixed = len(args[1]) // 2
        else:
            mixed = value.ndim - 2 if kind in ("interpolate", "upsample") else value.ndim
        return label if label.dim < value.ndim - mixed else self._unknown(inputs)

    def _unknown(self, inputs):
        for _, label in inputs:
            self.groups.pin(label.runs if label else ())

    def _layer(self, name, module, shape, label, value):
        """Linear and convolution: closes the groups of the input, opens one on the output; depthwise, carries them."""
        spatial = module.weight.ndim - 2
        dim_in, dim_out = len(shape) - spatial - 1, value.ndim - spatial - 1
        if label is not None and label.dim == dim_in:
            runs = label.runs
        else:
            self._unknown([(shape, label)])
            runs = _pinned(shape[dim_in])
        if getattr(module, "groups", 1) == 1:
            self.groups.bind(module.weight, 1, runs, output=False)
            runs = self.groups.open(name, value.shape[dim_out])
        elif not module.groups == module.in_channels == module.out_channels:
            self.groups.pin(runs)
            runs = _pinned(value.shape[dim_out])
            self.groups.fix([module.weight])
        for tensor in module.parameters():
            self.groups.bind(tensor, 0, runs, output=True)
        return _Label(dim_out, runs) if value.shape[dim_out] > 1 else None

    def _channel_norm(self, module, shape, label):
        """Batch normalization, group normalization with one group, PReLU: parameters along axis 1."""
        for tensor in chain(module.parameters(), module.buffers()):
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
        self.groups.fix(module.parameters())
        return self._unknown([(shape, label)])

    def _elementwise(self, inputs, rank):
        """Entries that meet carry the same group; an input that is broadcast along the axis does not restrict it."""
        dims = {label.dim + rank - len(shape) for shape, label in inputs if label}
        if len(dims) > 1:
            return self._unknown(inputs)
        (dim,) = dims
        runs = next(label.runs for _, label in inputs if label)
        for shape, label in inputs:
            size = shape[dim - rank] if rank - dim <= len(shape) else 1
            if size > 1:
                self.groups.tie(runs, label.runs if label else _pinned(size))
        return _Label(dim, runs)

    def _concatenate(self, node, args, kwargs):
        inputs = [(self.env[source].shape, self.labels[source]) for source in node.args[0]]
        rank = len(inputs[0][0])
        dim = (args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))) % rank
        if {label.dim for _, label in inputs if label} != {dim}:
            return self._elementwise(inputs, rank)
        return _Label(dim, tuple(chain(*(label.runs if label else _pinned(shape[dim]) for shape, label in inputs))))

    def _reshape(self, shape, label, result):
        """The axis stays, or is merged with those that follow it: its entries are repeated."""
        before, size = shape[: label.dim].numel(), shape[label.dim]
        for dim, merged in enumerate(result):
            if result[:dim].numel() == before and merged >= size and merged % size == 0:
                return _Label(dim, tuple(run._replace(repeat=run.repeat * merged // size) for run in label.runs))
        return self._unknown([(shape, label)])

    def _move(self, node, shape, label, args, kwargs):
        """The axis is followed by its size, in a shape whose sizes all differ."""
        sizes = [1 if size == 1 else dim + 2 for dim, size in enumerate(shape)]
        probe = torch.empty(sizes, device="meta")
        function = getattr(torch.Tensor, node.target) if node.op == "call_method" else node.target
        moved = function(probe, *args[1:], **kwargs).shape
        return _Label(moved.index(sizes[label.dim]), label.runs) if sizes[label.dim] in moved else None


# --- graphs ---


class _Tracer(fx.Tracer):
    """torch.fx's tracer, with the innermost module in which it failed."""

    proxy_buffer_attributes = True  # otherwise what is computed from a buffer would be a constant of the graph
    failed = None

    def is_leaf_module(self, module, name):
        return isinstance(module, nn.LayerNorm) or super().is_leaf_module(module, name)

    def call_module(self, module, forward, args, kwargs):
        try:
            return super().call_module(module, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or f"{self.path_of_module(module)} ({type(module).__name__})"
            raise


def _twin(network, shared):
    """A copy that shares the tensors `shared`: tracing switches modes and leaves constants in what it traces."""
    return copy.deepcopy(network, {id(tensor): tensor for tensor in shared})


def _trace(network, training):
    """The graph of `network` in train or eval mode, as a module in eval mode that has all of the network's tensors.

    Nothing is ever dropped out, and normalization is by running statistics, in the train graph too.
    """
    tracer = _Tracer()
    network.train(training)
    try:
        graph = fx.GraphModule(network, tracer.trace(network))
    except Exception as error:
        name, mode = tracer.failed or type(network).__name__, "train" if training else "eval"
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(f"{name}: torch.fx cannot trace its forward pass in {mode} mode: {reason}") from error
    finally:
        network.eval()
    for node in graph.graph.nodes:
        # A dropout that is a module is in eval mode; a function has the mode of the trace written into it.
        if node.op == "call_function" and _kind(node.target) in _DROPOUT:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)
            graph.recompile()
    # A GraphModule keeps what its graph uses; functional_call with a whole state dict wants every name.
    for table in ("_modules", "_parameters", "_buffers"):
        getattr(graph, table).update(getattr(network, table))
    return graph.eval()


def _graphs(network):
    """The eval graph and, where it differs, the train graph."""
    graphs = [_trace(network, training) for training in (False, True)]
    return graphs if graphs[0].code != graphs[1].code else graphs[:1]


def capture(network, nodes, example, training=False):
    """A module from images to (values of `nodes`, output of the network), in eval mode.

    nodes: names as in `Site.node`, of the eval graph or, with `training`, of the train graph. The output of that one
    holds the logits of auxiliary heads too; its modules are in eval mode all the same. The values are a tuple of what
    the nodes returned, whatever later works on it in place; which of them need a copy for that is found by one run on
    `example`, a batch of images.
    The module has the network's own parameters and buffers under their names, so that
    `torch.func.functional_call(captured, tensors, (images,))` computes with others.
    Raises ValueError for unknown nodes.
    """
    captured = _trace(_twin(network, chain(network.parameters(), network.buffers())), training)
    graph = captured.graph
    known = {node.name: node for node in graph.nodes}
    if missing := [name for name in nodes if name not in known]:
        mode = "train" if training else "eval"
        raise ValueError(f"{type(network).__name__} has no node {', '.join(missing)} in its graph in {mode} mode")
    versions = _Versions(captured)
    with torch.no_grad():
        versions.run(example)
    values = []
    for name in nodes:
        value = known[name]
        if name in versions.overwritten():
            with graph.inserting_after(value):
                value = graph.call_method("clone", (value,))
        values.append(value)
    (output,) = graph.find_nodes(op="output")
    output.args = ((tuple(values), output.args[0]),)
    captured.recompile()
    return captured


class _Versions(fx.Interpreter):
    """Runs a graph and notes the version of each value: torch counts up at every operation in place, on views too."""

    def __init__(self, graph):
        super().__init__(graph)
        self.values = {}

    def run_node(self, node):
        value = super().run_node(node)
        if isinstance(value, torch.Tensor):
            self.values[node.name] = (value, value._version)
        return value

    def overwritten(self):
        """Names of the nodes whose values are no longer what the nodes returned."""
        return {name for name, (value, version) in self.values.items() if value._version != version}


# --- proof ---

LARGEST_CHANGE = 1e-5
LEAST_REACTION = 1e-2


def verify(network, spec, example, generator):
    """Prove that a spec leaves what the network computes unchanged, and that this proof could have failed.

    (a) Permuting every group changes no output by LARGEST_CHANGE of its largest value, (b) permuting the output axes
    of any one group alone changes some output by more than LEAST_REACTION. Outputs are those of eval mode and
    those that only train mode has (auxiliary heads), computed with the modules in eval mode.

    Works on a copy, in float64 on the CPU: the claim is about which axes belong together, not about the order of
    summation, which permuting changes and which costs about 1e-15 there. example: only its shape is used.
    Returns a Proof. Raises ValueError with the groups for which (a) or (b) does not hold.
    """
    name = type(network).__name__
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        twin = copy.deepcopy(network).to("cpu", torch.float64)
        shape = (max(8, len(example)), *example.shape[1:])
        # Each image is noise around a colour of its own: of noise alone, global pooling leaves little.
        colours = torch.rand(shape[:2] + (1,) * len(shape[2:]), dtype=torch.float64)
        images = 0.8 * colours + 0.2 * torch.rand(shape, dtype=torch.float64)
        _redraw(twin, images)
        modules = [twin, *_graphs(twin)[1:]]
        tensors = dict(chain(twin.named_parameters(), twin.named_buffers()))
        permutation = {group: _cycle(size) for group, size in spec.groups.items()}

        def outputs(modules, tensors):
            values = [torch.func.functional_call(module, tensors, (images[:2],)) for module in modules]
            return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]

        def change(spec, groups, modules):
            moved = apply(spec, identity(spec) | {group: permutation[group] for group in groups}, tensors)
            pairs = zip(outputs(modules, moved), unmoved)
            return torch.stack([(new - old).abs().max() / old.abs().max() for new, old in pairs]).max().item()

        unmoved = outputs(modules, tensors)
        invariance = change(spec, spec.groups, modules)
        if not invariance < LARGEST_CHANGE:  # nor NaN
            worst = max(spec.groups, key=lambda group: change(_carrying(spec, group), [group], modules))
            raise ValueError(
                f"{name}: the permutation spec is wrong: permuting all groups changes an output by {invariance:.1e} "
                f"of its largest value, most of all group {worst}"
            )
        reactions = {}
        for group in spec.groups:
            carrying = _carrying(spec, group)
            half = replace(carrying, axes=tuple(axis for axis in carrying.axes if axis.output))
            # Whatever eval mode has must move what eval mode computes.
            evaluated = any(not site.training for site in spec.sites.get(group, ()))
            reactions[group] = change(half, [group], modules[:1] if evaluated else modules)
    if silent := [group for group, reaction in reactions.items() if not reaction > LEAST_REACTION]:
        raise ValueError(f"{name}: the permutation spec cannot be verified: no output reacts to {', '.join(silent)}")
    return Proof(invariance, reactions)


def _carrying(spec, group):
    """The spec with only those axes that carry `group`."""
    axes = (axis for axis in spec.axes if group in {segment.group for segment in axis.segments})
    return replace(spec, axes=tuple(axes))


def _cycle(size):
    """A random permutation that leaves no entry where it is, as a uniform one often does in a small group."""
    order = torch.randperm(size)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _redraw(network, images):
    """Draw parameters and statistics with which every group matters to the outputs.

    As initialized or trained, a signal may die on its way, and zero biases, equal norm weights or a zero layer would
    hide a forgotten axis. So layers are drawn anew and scaled to outputs of unit variance, norm weights within 50 % of
    1, biases within 0.5 of 0; running statistics are estimated on the images and then jittered.
    """

    def redraw_layer(layer, inputs):
        layer.weight.normal_()
        if layer.bias is not None:
            layer.bias.zero_()
        layer.weight /= layer.forward(*inputs).std().clamp(min=1e-6)
        if layer.bias is not None:
            layer.bias.uniform_(-0.5, 0.5)

    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.uniform_(-0.5, 0.5)
        elif parameter.numel() == max(parameter.shape, default=1):
            parameter.uniform_(0.5, 1.5)
    norms = [module for module in network.modules() if getattr(module, "running_var", None) is not None]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average
    layers = [module for module in network.modules() if type(module) in _LAYERS]
    hooks = [layer.register_forward_pre_hook(redraw_layer) for layer in layers]
    network.train()(images)
    network.eval()
    for hook in hooks:
        hook.remove()
    for norm in norms:
        norm.running_mean += torch.empty_like(norm.running_mean).uniform_(-0.5, 0.5) * norm.running_var.sqrt()
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 1.5)
