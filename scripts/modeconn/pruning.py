"""Pruning: masks of weights by magnitude (level by level or in one shot) or at random, and training under a mask.

A mask is a dict like a state dict: for each prunable weight of a network, by name, a bool tensor that is True where the
weight is kept. `permutation.apply` permutes a mask with the neurons, and a checkpoint stores it beside the weights.
Rewinding is `apply` on the tensors of an earlier epoch (Frankle et al. 2020, as used by Sharma et al. 2024).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

import torch
from torch import nn

PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

Mask = dict[str, torch.Tensor]


def prunable(network: nn.Module, exclude: Sequence[str] = ()) -> list[str]:
    """Names of the weights of convolutions and linear layers, without those in `exclude`.

    Biases and normalization are never pruned (Sharma et al. 2024, global magnitude).
    Raises ValueError where a name in `exclude` is no such weight, or where none is left.
    """
    names = [f"{name}.weight".lstrip(".") for name, module in network.named_modules() if isinstance(module, PRUNABLE)]
    for name in exclude:
        if name not in names:
            raise ValueError(f"cannot exclude {name} from pruning: the weights of layers are {', '.join(names)}")
    left = [name for name in names if name not in exclude]
    if not left:
        raise ValueError(f"{type(network).__name__} has no weights to prune: all of {len(names)} are excluded")
    return left


def output_of(network: nn.Module, classes: int) -> str:
    """Name of the weight of the output layer (the last in the network's order), to exclude it from pruning.

    Raises ValueError where that layer does not have `classes` outputs.
    """
    name = prunable(network)[-1]
    if len(network.get_parameter(name)) != classes:
        raise ValueError(f"tensor {name}: the last layer does not have {classes} outputs: set keep_output to false")
    return name


def full(tensors: Mapping[str, torch.Tensor], names: Iterable[str]) -> Mask:
    """The mask that keeps all weights `names` of a state dict: level 0."""
    return {name: torch.ones_like(tensors[name], dtype=torch.bool) for name in names}


def remaining(mask: Mask) -> int:
    """How many weights the mask keeps."""
    return sum(int(kept.sum()) for kept in mask.values())


def prune(tensors: Mapping[str, torch.Tensor], mask: Mask, fraction: float) -> Mask:
    """The mask of the next level: without the smallest `fraction` of the weights that `mask` keeps, over all layers.

    Iterative magnitude pruning (Sharma et al. 2024: a fifth a level), or, from `full`, one-shot pruning at the sparsity
    `fraction`. Exactly ceil(fraction x kept) weights are pruned, with `fraction` read as a decimal number; of equal
    magnitudes the first are pruned, in the mask's order of names and then row by row.
    Raises ValueError where the fraction is not from 0 to 1, or where a weight is missing, misshapen or not finite.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"pruning takes a fraction of the weights between 0 and 1, not {fraction}")
    kept = remaining(mask)
    return _largest(tensors, mask, kept - math.ceil(Fraction(str(fraction)) * kept))


def one_shot(tensors: Mapping[str, torch.Tensor], mask: Mask) -> Mask:
    """The mask of the largest of all weights, as many as `mask` keeps: one-shot pruning (Sharma et al. 2024).

    Ties and errors as in `prune`.
    """
    return _largest(tensors, full(mask, mask), remaining(mask))


def _largest(tensors: Mapping[str, torch.Tensor], mask: Mask, count: int) -> Mask:
    """The mask of the `count` largest of the weights that `mask` keeps."""
    _check(mask, {name: tensor.shape for name, tensor in tensors.items()})
    for name in mask:
        if not tensors[name].isfinite().all():
            raise ValueError(f"tensor {name} is not finite: this network has diverged, and cannot be pruned")
    flat = _flat(mask)
    magnitudes = torch.cat([tensors[name].reshape(-1).abs() for name in mask])
    places = flat.nonzero()[:, 0]
    order = magnitudes[places].sort(stable=True).indices
    flat[places[order[: len(places) - count]]] = False
    return _shaped(flat, mask)


def random(mask: Mask, generator: torch.Generator, by_layer: bool) -> Mask:
    """A random mask that keeps as many weights as `mask`: in each layer, or over all layers together.

    generator: on the CPU.
    """
    if by_layer:
        return {name: _shuffled(kept.reshape(-1), generator).view(kept.shape) for name, kept in mask.items()}
    return _shaped(_shuffled(_flat(mask), generator), mask)


def _shuffled(flat: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return flat[torch.randperm(len(flat), generator=generator).to(flat.device)]


def _flat(mask: Mask) -> torch.Tensor:
    return torch.cat([kept.reshape(-1) for kept in mask.values()])


def _shaped(flat: torch.Tensor, like: Mask) -> Mask:
    parts = flat.split([kept.numel() for kept in like.values()])
    return {name: part.view(kept.shape).clone() for (name, kept), part in zip(like.items(), parts)}


def apply(mask: Mask, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with zeros where the mask prunes; all other entries and tensors are unchanged.

    Raises ValueError, with the name, where a tensor is missing or misshapen.
    """
    _check(mask, {name: tensor.shape for name, tensor in tensors.items()})
    return {**tensors, **{name: tensors[name].masked_fill(~kept, 0) for name, kept in mask.items()}}


def vector(mask: Mask, shapes: Mapping[str, torch.Size]) -> torch.Tensor:
    """The mask of a network's vector, (D,) bool: parameters that the mask does not name are kept.

    shapes: name -> shape of all parameters in the vector's order (`Functional.shapes`). With vectors (L, D) of networks
    the pruned ones are `vectors.masked_fill(~vector(mask, shapes), 0)`, and masks of several lanes stack to (L, D).
    Raises ValueError where the mask names another network's weight.
    """
    _check(mask, shapes)
    like = next(iter(mask.values()))
    every = [mask[name] if name in mask else like.new_ones(shape) for name, shape in shapes.items()]
    return torch.cat([kept.reshape(-1) for kept in every])


def _check(mask: Mask, shapes: Mapping[str, torch.Size]) -> None:
    for name, kept in mask.items():
        if shapes.get(name) != kept.shape:
            found = tuple(shapes[name]) if name in shapes else "nothing"
            raise ValueError(
                f"tensor {name}: its mask has shape {tuple(kept.shape)}, the network {found}: take this network's mask"
            )


@torch.no_grad()
def hold(variables: Sequence[torch.Tensor], kept: Sequence[torch.Tensor]) -> Callable[[float], None]:
    """A function for `optimization.minimize`, `after_step`, that keeps pruned entries of its variables at exactly zero.

    variables: leaf tensors (L, D); their pruned entries are set to zero by this call. kept: for each of them a mask,
    bool (L, D) or (D,). From this call on gradients of pruned entries are zero, so that the optimizer's state for them
    (momentum, running means and squares) stays zero, and the kept weights are updated as if there were no others.
    """
    pruned = [~mask.to(variable.device) for variable, mask in zip(variables, kept, strict=True)]

    @torch.no_grad()
    def after_step(rate: float) -> None:
        for variable, mask in zip(variables, pruned):
            variable.masked_fill_(mask, 0)

    for variable, mask in zip(variables, pruned):
        variable.register_hook(lambda gradient, mask=mask: gradient.masked_fill(mask, 0))
    after_step(0)
    return after_step
