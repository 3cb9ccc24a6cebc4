"""Prove that a permutation spec does not change its network's function, by a test that could have failed."""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from modeconn import forward
from modeconn.permutation import verdict
from modeconn.permutation.discovery import LAYERS
from modeconn.permutation.graphs import graphs_of
from modeconn.permutation.spec import apply, draw, only, pin

# Decides which groups `prove` pins. It is a thousand times the tolerance of (a), which is in `verdict` because it
# decides no result. Queries and keys affect the outputs only through attention's weights, by 1e-4 to 1e-2.
LEAST_REACTION = 1e-4
# In networks of many residual blocks rounding errors may grow with every block, until they are as large as the outputs.
# Weights are redrawn, at most DRAWS times, until a change of the images' last digit changes outputs by < ROUNDING.
DRAWS = 8
ROUNDING = 1e-10


@dataclass(frozen=True)
class Proof:
    """Changes that `verify` measured, as fractions of an output's largest absolute value."""

    invariance: float  # every group permuted; the output that changed most
    reactions: dict[str, float]  # group -> only its output axes permuted; the output that changed most


def prove(network, spec, example, generator):
    """(the proved spec, its Proof); groups to which no output reacts are pinned.

    Arguments and errors as of `verify`, except that groups which cannot be proved are listed in the spec's `pinned`.
    Raises ValueError, with the reasons, where no group is left.
    """
    proof = _measure(network, spec, example, generator) if spec.groups else Proof(0.0, {})
    spec = pin(spec, _silent(proof), "no output reacts to it, so that its permutation cannot be proved")
    if not spec.groups:
        none = "each hidden channel is used in a way of its own" if spec.channels else "it has no hidden layer"
        reasons = "; ".join(verdict.pinned(spec)) or none
        raise ValueError(f"{type(network).__name__} has no neurons that may be permuted: {reasons}")
    return spec, proof


def verify(network, spec, example, generator):
    """Prove that a spec does not change the network's function, and that this proof could have failed.

    (a) Permuting every group changes no output by `verdict.LARGEST_CHANGE` of its largest value, (b) permuting the
    output axes of any one group alone changes some output by more than LEAST_REACTION. Outputs are those of eval mode
    and those that only train mode has (auxiliary heads), computed with the modules in eval mode.

    Works on a copy, in float64 on the CPU, where the order of summation, which permuting changes, has an effect of
    about 1e-15. example: only its shape is used, and the range of integers, which an embedding takes.
    Returns a Proof. Raises ValueError with the groups for which (a) or (b) does not hold.
    """
    proof = _measure(network, spec, example, generator)
    if silent := _silent(proof):
        name = type(network).__name__
        raise ValueError(f"{name}: the permutation spec cannot be verified: no output reacts to {', '.join(silent)}")
    return proof


def _silent(proof):
    return [group for group, reaction in proof.reactions.items() if not reaction > LEAST_REACTION]


def _measure(network, spec, example, generator):
    """The Proof of a spec. Raises ValueError where (a) of `verify` does not hold."""
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        twin = forward.copied(network).to("cpu", torch.float64)
        images = images_like(example)
        _try(twin, images[:2])
        modules = [twin, *graphs_of(twin)[1:]]
        buffers = dict(twin.named_buffers())
        tensors = dict(twin.named_parameters()) | buffers

        def outputs(modules, tensors, images=images):
            values = []
            for module in modules:
                # Buffers are copied, since the train graph may write into them.
                given = tensors | {name: tensors[name].clone() for name in buffers}
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)  # the same noise each time
                    values.append(torch.func.functional_call(module, given, (images[:2],)))
            return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]

        def distance(outputs):
            pairs = zip(outputs, unmoved)
            return torch.stack([(new - old).abs().max() / old.abs().max() for new, old in pairs]).max().item()

        for _ in range(DRAWS):
            redraw(twin, images)
            unmoved = outputs(modules, tensors)
            if not images.is_floating_point() or distance(outputs(modules, tensors, images * (1 + 1e-15))) < ROUNDING:
                break
        permutation = draw(spec, _cycle)

        def change(spec, groups, modules):
            return distance(outputs(modules, apply(spec, only(spec, permutation, groups), tensors)))

        invariance = change(spec, spec.groups, modules)
        declared = [name for name, module in network.named_modules() if getattr(module, "permutable", None) is not None]
        verdict.check(
            type(network).__name__,
            invariance,
            declared,
            lambda: max(spec.groups, key=lambda group: change(_carrying(spec, group), [group], modules)),
        )
        reactions = {}
        for group in spec.groups:
            carrying = _carrying(spec, group)
            axes = tuple(_written(axis) for axis in carrying.axes if axis.output)
            # If every axis both writes and reads, as with a decoder's weight tied to the encoder's: all axes but one.
            half = replace(carrying, axes=axes[1:] if axes == carrying.axes else axes)
            # Groups of the eval graph must change outputs of eval mode.
            evaluated = any(not site.training for site in spec.sites.get(group, ()))
            reactions[group] = change(half, [group], modules[:1] if evaluated else modules)
    return Proof(invariance, reactions)


def _try(network, images):
    """Raises ValueError, one line, where the network does not compute in float64."""
    try:
        network.eval()(images)
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(
            f"{type(network).__name__} does not compute in float64, in which it is proved: {reason}"
            f"{forward.place(error)}: take types from x.dtype, and tensors from x.new_zeros(...) or buffers"
        ) from error


def images_like(example):
    """A batch of inputs to draw statistics from, of the example's shape: at least 8, float64, or integers."""
    shape = (max(8, len(example)), *example.shape[1:])
    if not example.is_floating_point():
        return torch.randint(int(example.min()), int(example.max()) + 1, shape)
    # Each image is noise around a colour of its own: noise alone would vanish in global pooling, and with colours alone
    # all positions would be equal to attention.
    colours = torch.rand(shape[:2] + (1,) * len(shape[2:]), dtype=torch.float64)
    return 0.5 * colours + 0.5 * torch.rand(shape, dtype=torch.float64)


def _carrying(spec, group):
    """The spec with only those axes that carry `group`, or channels whose blocks it permutes."""
    moved = {group} | {member for member, blocks in spec.blocks.items() if blocks == group}
    axes = (axis for axis in spec.axes if moved & {segment.group for segment in axis.segments})
    return replace(spec, axes=tuple(axes))


def _written(axis):
    """The axis without the segments that a product reads (`Segment.read`)."""
    segments = (replace(segment, group=None) if segment.read else segment for segment in axis.segments)
    return replace(axis, segments=tuple(segments))


def _cycle(size):
    """A random permutation that leaves no entry where it is, as a uniform one often does in a small group."""
    order = torch.randperm(size)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def redraw(network, images):
    """Draw parameters and statistics with which every group matters to the outputs.

    With weights as initialized or trained, signals may vanish, and biases of zeros, equal gains or a layer of zeros
    would hide an axis that the spec lacks. So layers are redrawn and scaled to outputs of unit variance; other weights,
    such as attention's, such that they keep the variance of what they multiply; gains within 50 % of 1, biases within
    0.5 of 0. Running statistics are estimated on the images and then jittered. Outputs of batch normalization are
    scaled to a tenth, so that residual branches are small beside what they are added to, and rounding errors grow less.
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
        else:
            outputs = next(size for size in parameter.shape if size > 1)
            parameter.normal_(std=(outputs / parameter.numel()) ** 0.5)
    norms = [module for module in network.modules() if getattr(module, "running_var", None) is not None]
    for norm in norms:
        for parameter in norm.parameters(recurse=False):
            parameter *= 0.1
        norm.reset_running_stats()
        norm.momentum = None  # plain average
    # Where the weight is computed from other parameters, those are drawn.
    layers = [m for m in network.modules() if type(m) in LAYERS and isinstance(m.weight, nn.Parameter)]
    hooks = [layer.register_forward_pre_hook(redraw_layer) for layer in layers]
    network.train()(images)
    network.eval()
    for hook in hooks:
        hook.remove()
    for norm in norms:
        norm.running_mean += torch.empty_like(norm.running_mean).uniform_(-0.5, 0.5) * norm.running_var.sqrt()
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 1.5)
