"""Check a network's forward pass, and trace it to a torch.fx graph."""

import copy
import inspect
import sys
import textwrap
import traceback
from pathlib import Path

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


# What to write instead of what torch.fx cannot trace, by a word of its message.
INSTEAD = {
    "control flow": "choose by values with torch.where, and by sizes in __init__",
    "'len'": "write x.shape[0] for len(x)",
    "cannot be iterated": "write a, b = ... for what is unpacked, and loop over a number that __init__ knows",
    "item assignment": "build the value with torch.cat or torch.where",
    "autocast or without gradients": "write x.detach() for what no gradient should pass",
    "": "keep to operations of torch on tensors (x.new_zeros(...) for torch.zeros(...))",
}
_PACKAGE = Path(__file__).parent


def place(error):
    """Where in the network's own source an error came from, as ": net.py, line 7, `code`"; empty where nowhere."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if not frames:
        return ""
    code = textwrap.shorten(frames[-1].line or "", 80, placeholder=" ...")
    return f": {Path(frames[-1].filename).name}, line {frames[-1].lineno}, `{code}`"


def _is_own(filename):
    """Whether a file is the network's: none of torch's, and of this package one of its families."""
    path = Path(filename)
    if path.is_relative_to(_PACKAGE):
        return path.parent.name == "networks" and path.name not in ("__init__.py", "own.py")
    return not filename.startswith((str(Path(torch.__file__).parent), "<"))


def _line():
    """Where in the network's own source the caller is, as "net.py, line 7"; empty where nowhere."""
    frame = sys._getframe(1)
    while frame and not _is_own(frame.f_code.co_filename):
        frame = frame.f_back if frame.f_code is not trace.__code__ else None
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}" if frame else ""


class _Tracer(fx.Tracer):
    """torch.fx's tracer, with the innermost module in which it failed.

    A module that has the attribute `permutable` is a leaf, as torch's own layers are (`permutation.discover`).
    """

    proxy_buffer_attributes = True  # otherwise values computed from a buffer would be constants of the graph
    failed = None

    def __init__(self):
        super().__init__()
        self.context = _context()

    def is_leaf_module(self, module, name):
        leaf = isinstance(module, nn.LayerNorm) or hasattr(module, "permutable")
        return leaf or (type(module) is not nn.TransformerDecoderLayer and super().is_leaf_module(module, name))

    def call_module(self, module, forward, args, kwargs):
        if type(module) is nn.Sequential and not any(module is known for known in self.root.modules()):
            return forward(*args, **kwargs)  # a part of one, as layers[2:]
        if written := _WRITTEN.get(type(module)):
            given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
            if (returned := written(self.root, module, **given)) is not NotImplemented:
                return returned
        try:
            return super().call_module(module, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or (self.path_of_module(module), type(module))
            raise

    def create_node(self, *arguments, **options):
        if _context() != self.context:
            raise ValueError("it computes a part under autocast or without gradients, which a graph does not keep")
        node = super().create_node(*arguments, **options)
        node.meta["line"] = _line()
        return node


# torch's own transformers are leaves of a graph, or hang on values where they are not. These compute what they do
# without padding; a mask has to be a tensor that is known while tracing. NotImplemented is what they do not know.


def _attend(root, module, query, key, value, need_weights=True, attn_mask=None, **others):
    """(mixed tokens, weights or None), in torch's own memory format: by it dropout draws."""
    plain = module.bias_k is None and not module.add_zero_attn and module._qkv_same_embed_dim
    mask = _mask(root, attn_mask)
    if not plain or not others.pop("average_attn_weights", True) or _padded(others) or mask is NotImplemented:
        return NotImplemented
    functional, dropout = nn.functional, module.dropout if module.training else 0.0
    alike = query is key is value
    tokens = [part.transpose(0, 1) if module.batch_first else part for part in (query, key, value)]
    projected = [
        functional.linear(part, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
        for part in (tokens[:1] if alike else tokens)
    ]
    parts = (projected[0 if alike else i][i] for i in range(3))
    heads = (part.unflatten(-1, (module.num_heads, module.head_dim)) for part in parts)
    query, key, value = (part.permute(1, 2, 0, 3) for part in heads)
    if mask is not None and not mask[1]:
        mask = mask[0].type_as(query), False
    if need_weights:
        weights = (query * module.head_dim**-0.5) @ key.transpose(-2, -1)
        if mask is not None:
            weights = weights.masked_fill(mask[0], float("-inf")) if mask[1] else weights + mask[0]
        weights = functional.dropout(weights.softmax(-1), dropout, module.training)
        mixed, weights = weights @ value, weights.mean(1)
    else:
        given = None if mask is None else mask[0].logical_not() if mask[1] else mask[0]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=given, dropout_p=dropout)
        weights = None
    mixed = module.out_proj(mixed.permute(2, 0, 1, 3).flatten(2))
    return mixed.transpose(0, 1) if module.batch_first else mixed, weights


def _mask(root, mask):
    """(a mask of queries and keys, whether it is of booleans, true where it hides); None where there is none."""
    known = mask
    if isinstance(mask, fx.Proxy):
        known = dict(root.named_buffers()).get(mask.node.target) if mask.node.op == "get_attr" else None
    if isinstance(known, torch.Tensor) and known.ndim == 2:
        return mask, known.dtype == torch.bool
    return None if mask is None else NotImplemented


def _padded(given):
    """Whether any of these arguments pads: all but the hint that a mask is causal."""
    return any(value is not None for name, value in given.items() if not name.endswith("is_causal"))


def _encode(root, layer, src, src_mask=None, **others):
    if _padded(others) or _mask(root, src_mask) is NotImplemented:
        return NotImplemented
    if layer.norm_first:
        src = src + layer._sa_block(layer.norm1(src), src_mask, None)
        return src + layer._ff_block(layer.norm2(src))
    src = layer.norm1(src + layer._sa_block(src, src_mask, None))
    return layer.norm2(src + layer._ff_block(src))


def _encode_all(root, encoder, src, mask=None, **others):
    if _padded(others) or _mask(root, mask) is NotImplemented:
        return NotImplemented
    for layer in encoder.layers:
        src = layer(src, src_mask=mask)
    return src if encoder.norm is None else encoder.norm(src)


def _decode_all(root, decoder, tgt, memory, tgt_mask=None, memory_mask=None, **others):
    if _padded(others) or NotImplemented in (_mask(root, tgt_mask), _mask(root, memory_mask)):
        return NotImplemented
    for layer in decoder.layers:
        tgt = layer(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask)
    return tgt if decoder.norm is None else decoder.norm(tgt)


def _transform(root, module, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, **others):
    if _padded(others):
        return NotImplemented
    memory = module.encoder(src, mask=src_mask)
    return module.decoder(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask)


_WRITTEN = {
    nn.MultiheadAttention: _attend,
    nn.TransformerEncoderLayer: _encode,
    nn.TransformerEncoder: _encode_all,
    nn.TransformerDecoder: _decode_all,
    nn.Transformer: _transform,
}


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
        name, kind = tracer.failed or ("", type(network))
        mode = "train" if network.training else "eval"
        reason = (str(error) or repr(error)).splitlines()[0].split(". ")[0]
        instead = next(told for word, told in INSTEAD.items() if word in reason)
        declare = "move it to a module with the attribute permutable"
        if name and not kind.__module__.startswith("torch."):
            declare = f"give {kind.__name__} the attribute permutable"
        where = f"{name} ({kind.__name__})" if name else kind.__name__
        raise ValueError(
            f"{where}: torch.fx cannot trace its forward pass in {mode} mode: {reason}{place(error)}: {instead}, or "
            f"{declare} (config/README.md)"
        ) from error
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

    False where a `view` in its forward pass needs contiguous images, and where it, or a part, cannot be traced.
    """
    training = network.training
    if any(hasattr(module, "permutable") for module in network.modules()):
        return False
    try:
        return not any(views(_Tracer().trace(network.train(mode))) for mode in (False, True))
    except Exception:  # a forward pass may raise any exception with torch.fx's proxies
        return False
    finally:
        network.train(training)
