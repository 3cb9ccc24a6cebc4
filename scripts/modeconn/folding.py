"""Networks in evaluation mode with normalization folded into the convolutions before it.

The same function up to rounding, with fewer passes over the activations, which cost as much as the
convolutions of small networks do.
"""

import torch
import torch.nn.functional as F
from torch import fx, nn


def folded(network):
    """(module, names): `network` as it computes in evaluation mode, and the tensors of its state that it reads.

    The module has the network's own tensors under their names, so `torch.func.functional_call` works with others:
    what is folded is the call, not the weights. A network that torch.fx cannot trace is returned as it is.
    """
    training = network.training
    try:
        module = fx.symbolic_trace(network.eval())
    except Exception:  # whatever a forward pass may raise when it meets torch.fx's proxies
        module = network
    else:
        fold(module)
    finally:
        network.train(training)
    present = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return module, [name for name in network.state_dict() if name in present]


def fold(module):
    """Fold normalization into convolutions in `module`, an fx.GraphModule in evaluation mode, in place."""
    modules = dict(module.named_modules())

    def called(node, *kinds):
        return modules[node.target] if node.op == "call_module" and type(modules[node.target]) in kinds else None

    graph = module.graph
    for norm_node in graph.find_nodes(op="call_module", sort=True):
        norm = called(norm_node, nn.BatchNorm2d)
        if norm is None or not norm_node.args or not (norm.affine and norm.track_running_stats):
            continue
        conv_node = norm_node.args[0]
        conv = called(conv_node, nn.Conv2d)
        if conv is None or not conv_node.args or conv.padding_mode != "zeros" or len(conv_node.users) > 1:
            continue
        with graph.inserting_before(norm_node):

            def tensor(node, name):
                return graph.get_attr(f"{node.target}.{name}")

            moments = [tensor(norm_node, name) for name in ("weight", "bias", "running_mean", "running_var")]
            bias = None if conv.bias is None else tensor(conv_node, "bias")
            settings = {key: getattr(conv, key) for key in ("stride", "padding", "dilation", "groups")}
            arguments = (conv_node.args[0], tensor(conv_node, "weight"), bias, *moments, norm.eps)
            convolved = graph.call_function(convolve_and_normalize, arguments, settings)
        norm_node.replace_all_uses_with(convolved)
        graph.erase_node(norm_node)
        graph.erase_node(conv_node)
        # Nobody else sees what the convolution wrote, and no gradient needs it.
        (user, *others) = convolved.users
        if not others and called(user, nn.ReLU):
            user.replace_all_uses_with(convolved)
            graph.erase_node(user)
            convolved.update_kwarg("rectify", True)
    module.recompile()


def convolve_and_normalize(
    images, weight, bias, gain, offset, mean, variance, epsilon, *, rectify=False, stride, padding, dilation, groups
):
    """Batch normalization in evaluation mode after a convolution, as one convolution: (N, C, H, W) -> (N, K, H, W).

    rectify: with what is negative set to 0.
    """
    scale = gain * torch.rsqrt(variance + epsilon)
    shift = offset - mean * scale if bias is None else torch.addcmul(offset, bias - mean, scale)
    weight = weight * scale[:, None, None, None]
    # In what precision convolutions compute here.
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
    if rectify and not isinstance(padding, str) and _rectified_by_onednn(images.device, dtype):
        images, weight, shift = (tensor.to(dtype) for tensor in (images, weight, shift))
        return torch.ops.mkldnn._convolution_pointwise(
            images, weight, shift, padding, stride, dilation, groups, "relu", [], ""
        )
    convolved = F.conv2d(images, weight, shift, stride, padding, dilation, groups)
    return F.relu_(convolved) if rectify else convolved


def _rectified_by_onednn(device, dtype):
    """Whether oneDNN can rectify what a convolution writes: on a CPU that knows `dtype`, without gradients."""
    if device.type != "cpu" or torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
