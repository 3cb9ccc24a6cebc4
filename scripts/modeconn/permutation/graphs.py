"""A network's torch.fx graphs, in eval and in train mode, and the activations inside them."""

from itertools import chain

import torch
from torch import fx, nn

from modeconn import forward


def words(text):
    """A set of names as `kind_of` gives them."""
    return frozenset(text.split())


ALIKE = 1e-4  # as a fraction of the largest logit: allows other kernels, not other operations
DROPOUT = words("dropout dropout1d dropout2d dropout3d alphadropout featurealphadropout stochasticdepth")


def kind_of(target):
    """An operation's name in lower case without underscores; empty for functions outside torch, whatever their name.

    target: a node's function, method's name or module. nn.ReLU, F.relu and Tensor.relu_ are all "relu".
    """
    if not isinstance(target, str):
        target = type(target) if isinstance(target, nn.Module) else target
        library = (target.__module__ or "").split(".")[0]
        target = target.__name__ if library in ("torch", "torchvision", "_operator", "builtins") else ""
    return target.replace("_", "").lower()


def trace(network, training, example=None):
    """The graph of `network` in train or eval mode, as a module in eval mode that has all of the network's tensors.

    Dropout is off, and normalization uses running statistics, in the train graph too.
    example: a batch of images, on which graph and network must compute the same in this mode.
    Raises ValueError where they do not, and where either fails on it or returns anything but logits.
    """
    try:
        graph = forward.trace(network.train(training))
        if example is not None:
            _compare(network, graph, example)
    finally:
        network.eval()
    for node in graph.graph.nodes:
        # A dropout that is a module is in eval mode; a function has the mode of the trace written into it.
        if node.op == "call_function" and kind_of(node.target) in DROPOUT:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)
            graph.recompile()
        elif "dropout_p" in node.kwargs:
            node.update_kwarg("dropout_p", 0.0)
            graph.recompile()
    # A GraphModule keeps only tensors that its graph uses; functional_call with a whole state dict needs every name.
    for table in ("_modules", "_parameters", "_buffers"):
        getattr(graph, table).update(getattr(network, table))
    return graph.eval()


def _compare(network, graph, example):
    buffers = list(network.buffers())
    before = [buffer.clone() for buffer in buffers]
    computed = []
    for module in (network, graph):
        with torch.random.fork_rng([example.device] if example.is_cuda else []):  # so that dropout is the same in both
            torch.manual_seed(0)
            output = attempt(module, example.contiguous(), type(network).__name__)
        computed.append(torch.cat(forward.logits_of(output, network.training)))
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)
    expected, found = computed
    if not torch.allclose(found, expected, rtol=0, atol=ALIKE * expected.abs().max().item(), equal_nan=True):
        mode = "train" if network.training else "eval"
        raise ValueError(
            f"{type(network).__name__}: in {mode} mode it computes other logits than its graph by torch.fx, which has "
            "neither hooks of the network itself nor branches that depend on values: compute all in its forward pass, "
            "without such branches"
        )


class Refused(ValueError):
    """A module's attribute `permutable` declares what cannot be true."""


@torch.no_grad()
def attempt(module, example, name):
    """What `module` returns for images. Raises ValueError, with the name and the reason, where it fails."""
    try:
        return module(example)
    except Refused:
        raise
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0] + forward.place(error)
        raise ValueError(f"{name} does not run on an example of shape {tuple(example.shape)}: {reason}") from error


def graphs_of(network, example=None):
    """The eval graph and, where it differs, the train graph; example as in `trace`."""
    graphs = [trace(network, training, example) for training in (False, True)]
    return graphs if graphs[0].code != graphs[1].code else graphs[:1]


def capture(network, nodes, example, training=False):
    """A module from images to (values of `nodes`, output of the network), in eval mode.

    nodes: names as in `Site.node`, of the eval graph or, with `training`, of the train graph, whose output includes the
    logits of auxiliary heads; its modules are in eval mode too. The values are a tuple of what the nodes returned.
    Those that a later operation changes in place are copied; one run on `example`, a batch of images, finds them.
    The module has the network's own parameters and buffers under their names, so that
    `torch.func.functional_call(captured, tensors, (images,))` computes with others.
    Raises ValueError for unknown nodes.
    """
    captured = trace(forward.copied(network, chain(network.parameters(), network.buffers())), training)
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
    """Runs a graph and records the version counter of each value, which every operation in place increases."""

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
