"""Fold batch normalization into the convolutions before it, for networks in evaluation mode.

The outputs stay the same up to rounding. It saves passes over the activations, which in small networks take as long as
the convolutions.
"""

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from modeconn.forward import hooked, trace


@dataclass(frozen=True)
class Folded:
    """A network as it computes in evaluation mode.

    module: takes the tensors `names` of the network's state and, for `convolutions` (name -> (name of the normalization
    folded into it, its epsilon)), the folded tensors that `tensors` computes.
    """

    module: nn.Module
    names: list
    convolutions: dict

    def tensors(self, state):
        """The tensors that `module` reads, by name, from a state dict; made once for all images of a network.

        A convolution's weight (K, C, h, w) is scaled, and its bias (K,) scaled and shifted, as its normalization would
        do to its output: batch normalization with running statistics (Ioffe and Szegedy 2015).
        """
        found = {name: state[name] for name in self.names}
        for conv, (norm, epsilon) in self.convolutions.items():
            gain, offset, mean, variance = (
                state[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gain * torch.rsqrt(variance + epsilon)
            bias = state.get(f"{conv}.bias")
            shift = mean if bias is None else mean - bias
            found[f"{conv}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
            found[f"{conv}.bias"] = torch.addcmul(offset, shift, scale, value=-1)
        return found

    def __call__(self, tensors, images):
        """Outputs for images (N, C, H, W), with `tensors` as the method of that name returns them."""
        return functional_call(self.module, tensors, (images,))


def folded(network):
    """`network` in evaluation mode with normalization folded; `network` itself is not changed.

    A network that torch.fx cannot trace, or that has hooks, which a graph would lose, is not folded.
    """
    training = network.training
    try:
        module = None if hooked(network) else trace(network.eval())
    except ValueError:
        module = None
    finally:
        network.train(training)
    if module is None:
        return Folded(network, _read(network, network.state_dict()), {})
    return fold(module, network.state_dict())


def fold(module, names):
    """Fold normalization into convolutions in `module`, an fx.GraphModule in evaluation mode, in place.

    names: of the network's tensors that will be given. Submodules are replaced, not changed: they may be those of the
    network that was traced. Returns a Folded.
    """
    modules = dict(module.named_modules())
    calls = Counter(node.target for node in module.graph.nodes if node.op == "call_module")
    owners = Counter(id(tensor) for _, tensor in module.named_parameters(remove_duplicate=False))

    def called(node, *kinds):
        """The module that a node calls, if it is exactly of one of these kinds and has no hooks."""
        module = modules[node.target] if node.op == "call_module" else None
        return module if type(module) in kinds and not hooked(module) else None

    def plain(layer):
        """Whether weight and bias are parameters of this layer only: not shared, nor computed by torch's pruning."""
        parameters = dict(layer.named_parameters())
        own = {name for name in ("weight", "bias") if getattr(layer, name) is not None}
        return own == set(parameters) and all(owners[id(tensor)] == 1 for tensor in parameters.values())

    graph, convolutions = module.graph, {}
    for norm_node in graph.find_nodes(op="call_module", sort=True):
        norm = called(norm_node, nn.BatchNorm2d)
        if norm is None or not norm_node.args or not (norm.affine and norm.track_running_stats and plain(norm)):
            continue
        conv_node = norm_node.args[0]
        conv = called(conv_node, nn.Conv2d)
        if conv is None or not conv_node.args or conv.padding_mode != "zeros" or not plain(conv):
            continue
        if calls[conv_node.target] > 1 or calls[norm_node.target] > 1 or len(conv_node.users) > 1:
            continue
        norm_node.replace_all_uses_with(conv_node)
        graph.erase_node(norm_node)
        # The convolution's output has no other reader, and no gradient needs it.
        users = list(conv_node.users)
        rectify = len(users) == 1 and called(users[0], nn.ReLU) is not None
        if rectify:
            users[0].replace_all_uses_with(conv_node)
            graph.erase_node(users[0])
        module.set_submodule(conv_node.target, FoldedConvolution(conv, norm, rectify))
        convolutions[conv_node.target] = norm_node.target, norm.eps
    module.delete_all_unused_submodules()
    module.recompile()
    made = {f"{conv}.{name}" for conv in convolutions for name in ("weight", "bias")}
    return Folded(module, _read(module, [name for name in names if name not in made]), convolutions)


def _read(module, names):
    """The names in `names` of tensors of `module`; of a tensor with several names, the first."""
    present = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return [name for name in names if name in present]


class FoldedConvolution(nn.Module):
    """A convolution with normalization folded in: (N, C, H, W) -> (N, K, H, W).

    rectify: whether negative outputs are set to 0. Its own parameters are those before folding; they are replaced by
    the folded ones in each call.
    """

    def __init__(self, conv, norm, rectify):
        super().__init__()
        self.weight, self.bias, self.rectify = conv.weight, norm.bias, rectify
        self.settings = conv.stride, conv.padding, conv.dilation, conv.groups

    def forward(self, images):
        stride, padding, dilation, groups = self.settings
        # The precision of convolutions here.
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
        if self.rectify and not isinstance(padding, str) and _rectified_by_onednn(images.device, dtype):
            images, weight, bias = (tensor.to(dtype) for tensor in (images, self.weight, self.bias))
            return torch.ops.mkldnn._convolution_pointwise(
                images, weight, bias, padding, stride, dilation, groups, "relu", [], ""
            )
        convolved = F.conv2d(images, self.weight, self.bias, stride, padding, dilation, groups)
        return F.relu_(convolved) if self.rectify else convolved


def _rectified_by_onednn(device, dtype):
    """Whether oneDNN can apply ReLU to a convolution's output: on a CPU that supports `dtype`, without gradients."""
    if device.type != "cpu" or torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
