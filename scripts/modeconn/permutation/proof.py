"""The proof that a permutation spec leaves what its network computes unchanged, and could have failed."""

from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch.utils._pytree import tree_leaves

from modeconn import forward
from modeconn.permutation.discovery import LAYERS
from modeconn.permutation.graphs import graphs_of
from modeconn.permutation.spec import apply, identity

LARGEST_CHANGE = 1e-5
LEAST_REACTION = 1e-2


@dataclass(frozen=True)
class Proof:
    """Changes that `verify` measured, as fractions of an output's largest absolute value."""

    invariance: float  # every group permuted; the output that changed most
    reactions: dict[str, float]  # group -> only its output axes permuted; the output that changed most


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
        twin = forward.copied(network).to("cpu", torch.float64)
        shape = (max(8, len(example)), *example.shape[1:])
        # Each image is noise around a colour of its own: of noise alone, global pooling leaves little.
        colours = torch.rand(shape[:2] + (1,) * len(shape[2:]), dtype=torch.float64)
        images = 0.8 * colours + 0.2 * torch.rand(shape, dtype=torch.float64)
        _redraw(twin, images)
        modules = [twin, *graphs_of(twin)[1:]]
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
    layers = [module for module in network.modules() if type(module) in LAYERS]
    hooks = [layer.register_forward_pre_hook(redraw_layer) for layer in layers]
    network.train()(images)
    network.eval()
    for hook in hooks:
        hook.remove()
    for norm in norms:
        norm.running_mean += torch.empty_like(norm.running_mean).uniform_(-0.5, 0.5) * norm.running_var.sqrt()
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 1.5)
