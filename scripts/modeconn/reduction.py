"""Remove units from a network, or add units to it, without changing its function (Kalaivanan 2023, model reduction).

Two units of a ReLU layer whose incoming weights and biases have the same direction are merged: their outgoing weights
are added. Dead units are removed. A narrow network is padded with units of zeros to the width of a wide one, so that
both can be averaged. Only for fully connected networks without normalization.

A recipe asks for it by `units`, how many a layer has while it is trained, and `merge`, the cosine above which units are
merged then. The result has the shapes of the whole network, with zeros where units are missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from modeconn import datasets
from modeconn import permutation as permutations
from modeconn.datasets import Dataset
from modeconn.functional import Functional
from modeconn.permutation import PermutationSpec, scales


def narrowed(network: dict, recipe: dict) -> dict:
    """The values of the network that a recipe trains: with `units` in each hidden layer, or those of `network`."""
    units = recipe.get("units")
    return network | {"hidden": [units] * len(network["hidden"]), "width": 1} if units else network


@torch.no_grad()
def finished(
    functional: Functional, vectors: Tensor, whole: Functional, recipe: dict, dataset: Dataset
) -> tuple[Tensor, list[int]]:
    """Trained networks, reduced and padded as a recipe asks, and how many hidden units each has.

    vectors: (L, D), of `functional`; returned (L, D'), of `whole`, with missing units as zeros. Units are dead that are
    zero on all training images.
    """
    spec, wide = (permutations.discover(of.network, dataset.example()) for of in (functional, whole))
    images, _ = dataset.split("train")
    found, left = [], []
    for vector in vectors:
        tensors, places = functional.unpack(vector), None
        if cosine := recipe.get("merge"):
            silent = dead(functional.network, spec, tensors, images, recipe["batch"])
            tensors, places = reduced(spec, tensors, cosine, silent)
        found.append(whole.pack(padded(spec, tensors, wide.groups, places))[0])
        left.append(sum(map(len, places.values())) if places else sum(spec.groups.values()))
    return torch.stack(found), left


def units_left(spec: PermutationSpec, tensors: Mapping[str, Tensor]) -> int:
    """How many units, or channels, of a network of any kind have a weight or bias that writes them and is not zero."""
    left = 0
    for group in spec.groups.keys() - spec.blocks.values():  # blocks, such as heads, consist of channels that count
        axes = [axis for axis in spec.axes if axis.output and any(part.group == group for part in axis.segments)]
        rows = [scales.rows_of(axis, group, tensors[axis.tensor]) for axis in axes if axis.tensor in tensors]
        left += int(torch.cat(rows, 1).any(1).sum())
    return left


@torch.no_grad()
def dead(
    network: nn.Module, spec: PermutationSpec, tensors: Mapping[str, Tensor], images: Tensor, batch: int = 1024
) -> dict[str, Tensor]:
    """Which units are zero on all of the images, group -> (n,) bool.

    network: the architecture; tensors: its state; images: (N, C, H, W) as data sets hold them; batch: how many are
    computed at once.
    """
    sites = {group: spec.sites[group][0] for group in spec.groups}
    batches = [inputs[0] for inputs in datasets.in_order(images, batch)]
    captured = permutations.capture(network, [site.node for site in sites.values()], batches[0][:2])
    found = {group: torch.ones(site.size, dtype=torch.bool, device=images.device) for group, site in sites.items()}
    for inputs in batches:
        values, _ = functional_call(captured, dict(tensors), (inputs,))
        for (group, site), value in zip(sites.items(), values):
            units = value.narrow(site.dim, site.offset, site.size).movedim(site.dim, 0)
            found[group] &= (units.flatten(1) == 0).all(1)
    return found


def reduced(
    spec: PermutationSpec,
    tensors: Mapping[str, Tensor],
    cosine: float,
    silent: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state dict with fewer units, and which units are left, group -> ascending indices int64.

    In each layer units are visited in descending order of the product of their incoming and outgoing norms. A unit
    absorbs all remaining ones whose incoming weights and bias have a cosine above `cosine` to its own: their outgoing
    weights, times the ratio of their norm to its own, are added to its own. This is exact for ReLU where the cosine is
    1.
    silent: units that are always zero, from `dead`; they are removed, as are units without outgoing weights and units
    that no input can raise above 0. At least one unit of a layer is kept.
    Raises ValueError where `cosine` is not between 0 and 1, or the network is not fully connected and without
    normalization.
    """
    if not 0 < cosine < 1:
        raise ValueError(f"cosine {cosine}: the cosine above which units are merged has to lie between 0 and 1")
    found, kept = dict(tensors), {}
    for layer in _layers(spec, tensors):
        incoming, outgoing = layer.incoming(found), found[layer.reads].double()
        norms, sizes = incoming.norm(dim=1), outgoing.norm(dim=0)
        # Zero weights and a bias not above zero: the unit is always zero.
        left = (sizes > 0) & (found[layer.weight].any(1) | (layer.bias_of(found) > 0))
        if silent:
            left &= ~silent[layer.group]
        units = []
        for unit in (norms * sizes).argsort(descending=True, stable=True).tolist():
            if left[unit]:
                alike = left & (incoming @ incoming[unit] > cosine * norms * norms[unit])
                alike[unit] = True  # by rounding it may not be
                outgoing[:, unit] = outgoing[:, alike] @ (norms[alike] / norms[unit])
                left &= ~alike
                units.append(unit)
        kept[layer.group] = torch.tensor(sorted(units) or [0])
        found[layer.reads] = outgoing.to(found[layer.reads].dtype)
        for name, dim in layer.axes:
            found[name] = found[name].index_select(dim, kept[layer.group])
    return found, kept


def padded(
    spec: PermutationSpec,
    tensors: Mapping[str, Tensor],
    units: Mapping[str, int],
    places: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """A state dict of a wider network with the same outputs: each layer gets units of zeros beside its own.

    spec: of the narrow network, or of the one that it was reduced from; units: group -> how many the wider one has;
    places: group -> where among these its own stand, or None for the first.
    Raises ValueError where the wider one has fewer, or the network is not fully connected and without normalization.
    """
    found = dict(tensors)
    for layer in _layers(spec, tensors):
        own, more = len(found[layer.weight]), units[layer.group]
        if more < own:
            raise ValueError(
                f"group {layer.group}: it has {own} units and cannot be padded to {more}: give at least as many"
            )
        at = torch.arange(own) if places is None else places[layer.group]
        for name, dim in layer.axes:
            shape = [*found[name].shape[:dim], more, *found[name].shape[dim + 1 :]]
            found[name] = found[name].new_zeros(shape).index_copy_(dim, at.to(found[name].device), found[name])
    return found


@dataclass(frozen=True)
class _Layer:
    """A hidden layer: its units are rows of `weight` and `bias` (if it has any), and columns of `reads`."""

    group: str
    weight: str
    bias: str | None
    reads: str

    @property
    def axes(self):
        return [(self.weight, 0), *([(self.bias, 0)] if self.bias else []), (self.reads, 1)]

    def bias_of(self, tensors):
        return tensors[self.bias] if self.bias else tensors[self.weight].new_zeros(len(tensors[self.weight]))

    def incoming(self, tensors):
        """Incoming weights and bias of each unit, (n, inputs + 1) float64."""
        return torch.cat([tensors[self.weight], self.bias_of(tensors)[:, None]], 1).double()


def _layers(spec, tensors):
    """The hidden layers in the order of the graph. Raises ValueError where the network is not of this kind."""
    for group in spec.groups:
        axes = [axis for axis in spec.axes if any(segment.group == group for segment in axis.segments)]
        kinds = [(axis.output, tensors[axis.tensor].ndim) for axis in axes]
        whole = all(len(axis.segments) == 1 and axis.segments[0].repeat == 1 for axis in axes)
        # A weight that is written, a bias perhaps, and a weight that is read.
        if not whole or sorted(kinds) not in ([(False, 2), (True, 2)], [(False, 2), (True, 1), (True, 2)]):
            raise ValueError(
                f"group {group} ({', '.join(axis.tensor for axis in axes)}): units are merged and padded in fully "
                "connected networks without normalization only: give one of family mlp with norm none"
            )
        name = dict(zip(kinds, (axis.tensor for axis in axes)))
        yield _Layer(group, name[True, 2], name.get((True, 1)), name[False, 2])
