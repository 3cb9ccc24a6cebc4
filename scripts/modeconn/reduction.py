"""Remove units from a network, or add units to it, without changing its function (Kalaivanan 2023, model reduction).

Two units of a ReLU layer whose incoming weights and biases have the same direction are merged: their outgoing weights
are added. Dead units are removed. A narrow network is padded with units of zeros to the width of a wide one, so that
both can be averaged. Only for fully connected networks without normalization.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from modeconn import permutation as permutations
from modeconn.permutation import PermutationSpec


@torch.no_grad()
def dead(network: nn.Module, spec: PermutationSpec, tensors: Mapping[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Which units are zero on all of the images, group -> (n,) bool.

    network: the architecture; tensors: its state; images: (N, C, H, W) as the network takes them.
    """
    sites = {group: spec.sites[group][0] for group in spec.groups}
    captured = permutations.capture(network, [site.node for site in sites.values()], images[:2])
    values, _ = functional_call(captured, dict(tensors), (images,))
    return {
        group: (value.narrow(site.dim, site.offset, site.size).movedim(site.dim, 0).flatten(1) == 0).all(1)
        for (group, site), value in zip(sites.items(), values)
    }


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


def padded(spec: PermutationSpec, tensors: Mapping[str, Tensor], units: Mapping[str, int]) -> dict[str, Tensor]:
    """A state dict of a wider network with the same outputs: each layer gets units of zeros after its own.

    spec: of the narrow network; units: group -> how many the wider one has.
    Raises ValueError where these are fewer, or the network is not fully connected and without normalization.
    """
    found = dict(tensors)
    for layer in _layers(spec, tensors):
        more = units[layer.group] - spec.groups[layer.group]
        if more < 0:
            raise ValueError(
                f"group {layer.group}: it has {spec.groups[layer.group]} units and cannot be padded to "
                f"{units[layer.group]}: give at least as many"
            )
        for name, dim in layer.axes:
            sides = [0, 0] * (found[name].ndim - 1 - dim) + [0, more]  # from the last axis on
            found[name] = F.pad(found[name], sides)
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
