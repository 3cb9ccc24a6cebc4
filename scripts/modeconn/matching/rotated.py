"""Matching by weights of networks whose residual streams may be rotated: rotations in turns with permutations."""

from collections.abc import Iterable, Mapping

import torch

from modeconn import permutation as permutations
from modeconn.matching.weight import match_weights
from modeconn.permutation import PermutationSpec, rotations, scales
from modeconn.permutation.rotations import Rotated

ROUNDS = 100
LEAST_GAIN = 1e-7  # of the objective in a round, as a fraction of ‖a‖ ‖b‖
RANK = 1e-6  # of singular values: below this fraction of the largest, a direction is not known from the first products


@torch.no_grad()
def match_rotated(
    spec: PermutationSpec,
    tensors_a: Mapping[str, torch.Tensor],
    tensors_b: Mapping[str, torch.Tensor],
    names: Iterable[str],
) -> Rotated:
    """The rotations of the groups `spec.rotations`, and the permutation of all others, that bring b to a.

    They maximize Σ ⟨a, moved b⟩ over the tensors `names`, with gains folded into the layers that read them
    (`rotations.folded`), by coordinate descent: each rotation is the best for the permutations (orthogonal Procrustes),
    then the permutations are matched for the rotations by `weight.match_weights`, whose errors these are.
    It starts twice: from the rotation that weights without any other group determine, such as those of the first and
    the last layer, and from the permutation that matches the folded weights, so that it is never worse than that.
    What is returned moves b, as it is given, into the basis of a, with the gains of a.
    """
    used = {axis.tensor for axis in spec.axes}
    names = [name for name in names if name in used]
    gains = {name: tensors_a[name] for rotation in spec.rotations.values() for g in rotation.gains for name in g.names}
    rotations.folded(spec, tensors_a, gains)  # refuses gains that cannot be divided by
    a, b = (rotations.folded(spec, tensors) for tensors in (tensors_a, tensors_b))
    descent = _Descent(spec, a, b, names)
    permuted = match_weights(spec, a, b, names)
    best = max((descent.run(*start) for start in (descent.determined(), descent.of(permuted))), key=lambda run: run[0])
    return Rotated(best[2], best[1], gains)


class _Descent:
    """Coordinate descent over the rotations and the permutations of b, both networks with gains folded."""

    def __init__(self, spec, a, b, names):
        self.spec, self.a, self.b, self.names = spec, a, b, names
        self.others = permutations.pin(spec, spec.rotations, "rotated")
        self.axes = {
            group: [axis for axis in rotations.carrying(spec, group) if axis.tensor in names]
            for group in spec.rotations
        }
        self.least = LEAST_GAIN * self._inner(a, a) ** 0.5 * self._inner(b, b) ** 0.5

    def determined(self):
        """(rotations, permutation) from the weights with no other group; rotations are 0 where these are 0."""
        found = {}
        for group, axes in self.axes.items():
            alone = [axis for axis in axes if not self._groups_beside(axis)]
            found[group] = self._fitted(group, alone, self.b, RANK)
        return found, self._matched(found, None)

    def of(self, permutation):
        """(rotations, permutation) that are equal to a permutation of all groups."""
        turned = {group: torch.eye(len(order)).double()[order] for group, order in permutation.items()}
        return {group: turned[group] for group in self.axes}, self._unturned(permutation)

    def run(self, turned, permutation):
        """(objective, rotations, permutation) after the descent."""
        value = -float("inf")
        for _ in range(ROUNDS):
            moved = permutations.apply(self.spec, permutation, self.b)
            for group, axes in self.axes.items():
                others = {other: matrix for other, matrix in turned.items() if other != group}
                turned = turned | {group: self._better(group, axes, moved, turned, others)}
            permutation = self._matched(turned, permutation)
            before, value = value, self._value(turned, permutation)
            if value - before <= self.least:
                break
        return value, turned, permutation

    def _better(self, group, axes, moved, turned, others):
        """The best rotation of one group, given the others and the permutation."""
        moved = rotations.rotate(self.spec, others, moved)
        if len({axis.tensor for axis in axes}) == len(axes):
            return self._fitted(group, axes, moved)
        # The objective is quadratic in the rotation of a tensor with the group on two axes. The best rotation for the
        # present one of the other axis may be worse, and is then not taken.
        products = 0
        for axis in axes:
            tensor = moved[axis.tensor]
            for other in axes:
                if other.tensor == axis.tensor and other.dim != axis.dim:
                    tensor = rotations.turned(other, group, tensor, turned[group])
            products = products + self._products(group, axis, tensor)
        candidate = rotations.nearest(products, self.spec.rotations[group].centred)
        values = [
            self._inner(self.a, rotations.rotate(self.spec, {group: m}, moved)) for m in (turned[group], candidate)
        ]
        return candidate if values[1] > values[0] else turned[group]

    def _fitted(self, group, axes, moved, rank_tolerance=0.0):
        """The best rotation of one group by these axes, none of whose tensors has it twice."""
        products = torch.zeros(self.spec.groups[group], self.spec.groups[group], dtype=torch.float64)
        for axis in axes:
            products += self._products(group, axis, moved[axis.tensor])
        return rotations.nearest(products, self.spec.rotations[group].centred, rank_tolerance)

    def _products(self, group, axis, tensor):
        """(n, n), float64: inner products of the channels of a and of a tensor of b."""
        a, b = (scales.rows_of(axis, group, each).double() for each in (self.a[axis.tensor], tensor))
        return (a @ b.T).cpu()

    def _groups_beside(self, axis):
        """The groups on the other axes of an axis' tensor."""
        others = [other for other in self.spec.axes if other.tensor == axis.tensor and other.dim != axis.dim]
        return {segment.group for other in others for segment in other.segments} - {None}

    def _matched(self, turned, permutation):
        """The permutation of the groups that are not rotated."""
        b = rotations.rotate(self.spec, turned, self.b)
        initial = permutation and {group: permutation[group] for group in self.others.groups}
        return self._unturned(match_weights(self.others, self.a, b, self.names, initial=initial))

    def _unturned(self, permutation):
        """A permutation with the identity for groups that are rotated."""
        identity = permutations.identity(self.spec)
        return {group: identity[group] if group in self.axes else permutation[group] for group in identity}

    def _value(self, turned, permutation):
        moved = rotations.rotate(self.spec, turned, permutations.apply(self.spec, permutation, self.b))
        return self._inner(self.a, moved)

    def _inner(self, a, b):
        return sum(torch.vdot(a[name].flatten().double(), b[name].flatten().double()).item() for name in self.names)
