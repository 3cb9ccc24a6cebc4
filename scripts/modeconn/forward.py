"""Check a network's forward pass, and trace it to a torch.fx graph."""

import copy
import inspect

import torch
from torch import fx, nn

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_network(network):
    """Raises ValueError where `network` takes more than images, or has tensors that cannot be replaced by others."""
    values = inspect.signature(network.forward).parameters.values()
    needed = [value.name for value in values if value.default is value.empty and value.kind < value.VAR_POSITIONAL]
    if len(needed) > 1:
        raise ValueError(f"{type(network).__name__} takes {', '.join(needed)}: a network here takes images alone")
    for name, module in network.named_modules():
        where = name or "the network"
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{where} is TorchScript, whose tensors cannot be replaced: give the module it is made of")
        if isinstance(module, WRAPPERS):
            raise ValueError(f"{where} is a {type(module).__name__}: give the network that it wraps, its .module")


def logits_of(output, training):
    """The logits (N, classes) that a network returned, as a tuple; in train mode those of auxiliary heads follow.

    Raises ValueError, which describes the output, where it is anything else.
    """
    heads = output if training and isinstance(output, tuple) else (output,)
    shapes = {value.shape if isinstance(value, torch.Tensor) else () for value in heads}
    if len(shapes) == 1 and len(*shapes) == 2:
        return heads
    mode, more = ("train", ", or a tuple of them and those of auxiliary heads") if training else ("eval", "")
    raise ValueError(
        f"in {mode} mode the network returns {_described(output)}: let it return a tensor of logits, (N, classes){more}"
    )


def _described(output):
    if isinstance(output, torch.Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, tuple | list) and all(isinstance(value, torch.Tensor) for value in output):
        shapes = ", ".join(str(tuple(value.shape)) for value in output)
        return f"a {type(output).__name__} of tensors of shapes {shapes}"
    return f"a {type(output).__name__}"


def hooked(module):
    """Whether the module has hooks on its forward or backward pass."""
    return any(getattr(module, hooks) for hooks in HOOKS)


def copied(network, shared=()):
    """A copy that shares the tensors `shared`.

    Tensors that a module computes and keeps as attributes, as torch.nn.utils' pruning and weight_norm do, are copied
    by value: those of a graph of gradients cannot be copied otherwise.
    """
    kept = [value for module in network.modules() for value in vars(module).values()]
    computed = [value for value in kept if isinstance(value, torch.Tensor) and not value.is_leaf]
    known = {id(tensor): tensor.detach().clone() for tensor in computed} | {id(tensor): tensor for tensor in shared}
    return copy.deepcopy(network, known)


class _Tracer(fx.Tracer):
    """torch.fx's tracer, with the innermost module in which it failed."""

    proxy_buffer_attributes = True  # otherwise values computed from a buffer would be constants of the graph
    failed = None

    def __init__(self):
        super().__init__()
        self.context = _context()

    def is_leaf_module(self, module, name):
        return isinstance(module, nn.LayerNorm) or super().is_leaf_module(module, name)

    def call_module(self, module, forward, args, kwargs):
        if _is_plain_attention(module, args, kwargs):
            return _attend(module, args[0], kwargs.get("need_weights", True))
        if type(module) is nn.TransformerEncoderLayer and len(args) + len(kwargs) == 1:
            return _encode(module, *args, *kwargs.values())
        if type(module) is nn.TransformerEncoder and len(args) + len(kwargs) == 1:
            return _encode_all(module, *args, *kwargs.values())
        try:
            return super().call_module(module, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or f"{self.path_of_module(module)} ({type(module).__name__})"
            raise

    def create_node(self, *arguments, **options):
        if _context() != self.context:
            raise ValueError("it computes a part under autocast or without gradients, which a graph does not keep")
        return super().create_node(*arguments, **options)


# torch's own transformers are leaves of a graph, or branch on values where they are not. These functions compute the
# same for tokens without masks.


def _is_plain_attention(module, args, kwargs):
    """Whether a module is torch's self-attention, without masks or tokens of its own."""
    if type(module) is not nn.MultiheadAttention or module.bias_k is not None or module.add_zero_attn:
        return False
    given = {name: value for name, value in kwargs.items() if value is not None and name != "need_weights"}
    alone = len(args) == 3 and args[0] is args[1] is args[2] and not any(given.values())
    return alone and module._qkv_same_embed_dim and kwargs.get("average_attn_weights", True)


def _attend(module, tokens, need_weights):
    """(mixed tokens, weights or None), in torch's own memory format, which decides the draws of dropout."""
    functional, dropout = nn.functional, module.dropout if module.training else 0.0
    tokens = tokens.transpose(0, 1) if module.batch_first else tokens
    projected = functional.linear(tokens, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    heads = (projected[i].unflatten(-1, (module.num_heads, module.head_dim)) for i in range(3))
    query, key, value = (part.permute(1, 2, 0, 3) for part in heads)
    if need_weights:
        weights = ((query * module.head_dim**-0.5) @ key.transpose(-2, -1)).softmax(-1)
        weights = functional.dropout(weights, dropout, module.training)
        mixed, weights = weights @ value, weights.mean(1)
    else:
        mixed, weights = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout), None
    mixed = module.out_proj(mixed.permute(2, 0, 1, 3).flatten(2))
    return mixed.transpose(0, 1) if module.batch_first else mixed, weights


def _encode(layer, tokens):
    if layer.norm_first:
        tokens = tokens + layer._sa_block(layer.norm1(tokens), None, None)
        return tokens + layer._ff_block(layer.norm2(tokens))
    tokens = layer.norm1(tokens + layer._sa_block(tokens, None, None))
    return layer.norm2(tokens + layer._ff_block(tokens))


def _encode_all(encoder, tokens):
    for layer in encoder.layers:
        tokens = layer(tokens)
    return tokens if encoder.norm is None else encoder.norm(tokens)


def _context():
    """The settings by which contexts such as `with torch.autocast(...)` change how operations compute."""
    devices = ("cpu", "cuda")
    return torch.is_grad_enabled(), *(torch.is_autocast_enabled(device) for device in devices)


def trace(network):
    """The graph of `network` in the mode it is in, as a module that shares its submodules and tensors.

    Each `view` becomes a `reshape`: the same where a view is possible, which it often is not for channels-last images.
    Hooks on the network itself are not in it. Raises ValueError where torch.fx cannot trace the forward pass.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(network)
    except Exception as error:
        name, mode = tracer.failed or type(network).__name__, "train" if network.training else "eval"
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(f"{name}: torch.fx cannot trace its forward pass in {mode} mode: {reason}") from error
    for node in views(graph):
        node.target = "reshape"
    return fx.GraphModule(network, graph)


def views(graph):
    """The nodes of a graph that give a tensor another shape without a copy, which not all strides allow."""
    return [
        node
        for node in graph.find_nodes(op="call_method", target="view")
        if not any(isinstance(value, torch.dtype) for value in (*node.args, *node.kwargs.values()))
    ]


def takes_channels_last(network):
    """Whether `network` computes on images that have the channels last in memory.

    False where a `view` in its forward pass needs contiguous images, and where it cannot be traced.
    """
    training = network.training
    try:
        return not any(views(_Tracer().trace(network.train(mode))) for mode in (False, True))
    except Exception:  # a forward pass may raise any exception with torch.fx's proxies
        return False
    finally:
        network.train(training)
