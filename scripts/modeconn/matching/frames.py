"""Networks of one architecture in a common frame: each is permuted by a permutation of its own (Kalaivanan 2023).

A frame maps each group to indices (N, n) int64, of which row k is the permutation of network k, as `permutation.apply`
takes it. Every frame is cycle-consistent: permuting network k to l and then to m equals permuting it to m (C2M3,
Crisostomi et al. 2024). Frames differ in their `objective`, the sum of inner products in the frame over all pairs of
networks, which is largest where the sum of squared distances is least.

    first   each network is matched to the first one, as in the thesis
    mean    each in turn is matched to the mean of the others (MergeMany of Git Re-Basin, Ainsworth et al. 2023)
    cycle   the objective itself is maximized, starting from the better of these two
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from modeconn import permutation as permutations
from modeconn import randomness
from modeconn.matching.weight import match_weights
from modeconn.permutation import PermutationSpec

Frame = dict[str, Tensor]
PATIENCE = 20  # sets of networks in a row that gain nothing, before `cycle` ends


def first(spec: PermutationSpec, tensors: Mapping[str, Tensor], names: Iterable[str], seed: int = 0) -> Frame:
    """The frame of the first network: its own row is the identity, each other network is matched to it by weights.

    tensors: name -> (N, ...), those of N networks; names: the parameters that are compared; seed: order of descents.
    For networks of one hidden layer each matching is one assignment, and the best there is.
    Raises ValueError where one of these tensors is missing, no stack of the same networks, or not finite.
    """
    networks = _networks(spec, tensors, names)
    found = [match_weights(spec, networks[0], network, networks[0], seed) for network in networks[1:]]
    return permutations.stacked([permutations.identity(spec), *found])


def mean(spec: PermutationSpec, tensors: Mapping[str, Tensor], names: Iterable[str], seed: int = 0) -> Frame:
    """The frame in which no network gains by being matched to the mean of the others (MergeMany of Git Re-Basin).

    Starts from the identity and matches the networks in random order, by `seed`, until none gains, each by coordinate
    descent over groups.
    Arguments and errors as of `first`.
    """
    networks = _networks(spec, tensors, names)
    ascent = _Ascent(spec, networks, permutations.stacked([permutations.identity(spec)] * len(networks)), seed)
    ascent.settle()
    return permutations.stacked(ascent.permutations)


def cycle(
    spec: PermutationSpec,
    tensors: Mapping[str, Tensor],
    names: Iterable[str],
    seed: int = 0,
    starts: Sequence[Mapping[str, Tensor]] = (),
) -> Frame:
    """A frame of large `objective`, never below those of `first` and `mean`.

    Block coordinate ascent over networks and groups, from the better of the two: one network is matched to the sum of
    the others. If none gains, a random network and its nearest ones are moved together, which can gain where each alone
    would lose more to the nearest ones.
    starts: frames, of which the best is the start; for callers that already have `first` and `mean`.
    Other arguments and errors as of `first`.
    """
    names = list(names)
    networks = _networks(spec, tensors, names)
    starts = starts or [method(spec, tensors, names, seed) for method in (first, mean)]
    ascent = _Ascent(spec, networks, max(starts, key=lambda frame: objective(spec, tensors, names, frame)), seed)
    ascent.settle()
    # Of three networks or less, such a set is all but one, which was tried.
    failures = 0 if len(networks) > 3 else PATIENCE
    while failures < PATIENCE:
        if ascent.match(ascent.neighbours()):
            failures = 0
            ascent.settle()
        else:
            failures += 1
    return permutations.stacked(ascent.permutations)


def objective(
    spec: PermutationSpec, tensors: Mapping[str, Tensor], names: Iterable[str], frame: Mapping[str, Tensor]
) -> float:
    """Σ ⟨network k, network l⟩ over all pairs k < l, of the tensors `names` in the frame, in float64.

    tensors: name -> (N, ...). Computed as (‖sum of the networks‖² - Σ ‖network k‖²) / 2.
    """
    total = 0.0
    for stack in apply(spec, frame, {name: tensors[name] for name in names}).values():
        rows = stack.flatten(1).double()
        total += (rows.sum(0).square().sum() - rows.square().sum()).item() / 2
    return total


def apply(spec: PermutationSpec, frame: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`permutation.apply` of row k of the frame to network k: tensors name -> (N, ...), in the frame."""
    permuted = [
        permutations.apply(
            spec, permutations.member(frame, lane), {name: stack[lane] for name, stack in tensors.items()}
        )
        for lane in range(len(next(iter(tensors.values()))))
    ]
    return {name: torch.stack([network[name] for network in permuted]) for name in tensors}


def between(frame: Mapping[str, Tensor], to: int, lane: int) -> dict[str, Tensor]:
    """The permutation that brings network `lane` to network `to`: into the frame, then by the inverse of `to`'s."""
    return permutations.compose(permutations.member(frame, lane), permutations.invert(permutations.member(frame, to)))


class _Ascent:
    """Coordinate ascent of a frame's objective."""

    def __init__(self, spec, networks, frame, seed):
        self.spec = spec
        self.permutations = [permutations.member(frame, lane) for lane in range(len(networks))]
        self.networks = [permutations.apply(spec, *pair) for pair in zip(self.permutations, networks)]
        self.generator = randomness.generator("frames", seed)
        self.axes = {group: [] for group in spec.groups}  # group -> (tensor, dim, start, size) of what carries it
        for axis in spec.axes:
            start = 0
            for segment in axis.segments:
                if segment.group is not None and axis.tensor in networks[0]:
                    self.axes[segment.group].append((axis.tensor, axis.dim, start, segment.size * segment.repeat))
                start += segment.size * segment.repeat
        self.axes = {group: axes for group, axes in self.axes.items() if axes}
        self.total = self._sum(range(len(networks)), networks[0])

    def settle(self):
        """Match each network in turn to the others, in random order, until none gains."""
        gained = True
        while gained:
            # A list, since any() of a generator would stop at the first network that gains.
            gained = any([self.match([lane]) for lane in self._shuffled(len(self.networks))])  # noqa: C419

    def neighbours(self):
        """A random network and those of the largest inner products with it; two to half of the networks."""
        centre = self.networks[self._shuffled(len(self.networks))[0]]
        count = torch.randint(2, len(self.networks) // 2 + 1, (), generator=self.generator)
        products = [sum((centre[name] * other[name]).sum() for name in centre) for other in self.networks]
        return torch.stack(products).topk(count).indices.tolist()

    def match(self, lanes):
        """Match these networks, moved together, to the others, by groups until none gains; whether any did."""
        groups, gained = list(self.axes), False
        stale = set(groups)
        while stale:
            for group in (groups[i] for i in self._shuffled(len(groups))):
                if group in stale:
                    stale.remove(group)
                    if self._move(lanes, group):
                        gained = True
                        names = {name for name, *_ in self.axes[group]}
                        stale |= {other for other in groups if names & {name for name, *_ in self.axes[other]}} - {
                            group
                        }
        return gained

    def _move(self, lanes, group):
        """Permute one group of these networks as the assignment to the others says, where that is a gain."""
        names = dict.fromkeys(name for name, *_ in self.axes[group])
        own = self._sum(lanes, names)
        others = {name: self.total[name] - own[name] for name in names}
        # Both are means, so that an assigned unit is near.
        a = self._rows(others, group) / max(1, len(self.networks) - len(lanes))
        b = self._rows(own, group) / len(lanes)
        order = _nearest(a, b)
        step = permutations.identity(self.spec) | {group: order}
        moved = permutations.apply(self.spec, step, own)
        gain = sum((others[name] * (moved[name] - own[name])).sum().item() for name in names)
        least = sum((others[name].norm() * own[name].norm()).item() for name in names) * 1e-12
        # The gain is computed, since a tensor may carry the group on two axes, and orders may be equal up to rounding.
        if gain <= least:
            return False
        for lane in lanes:
            self.permutations[lane] = permutations.compose(self.permutations[lane], step)
            tensors = {name: self.networks[lane][name] for name in names}
            self.networks[lane] = self.networks[lane] | permutations.apply(self.spec, step, tensors)
        self.total |= {name: others[name] + moved[name] for name in names}
        return True

    def _rows(self, tensors, group):
        """What the group's units are compared by, (n, everything else of its tensors)."""
        size = self.spec.groups[group]
        return torch.cat(
            [
                tensors[name].narrow(dim, start, length).movedim(dim, 0).reshape(size, -1)
                for name, dim, start, length in self.axes[group]
            ],
            1,
        )

    def _shuffled(self, count):
        return torch.randperm(count, generator=self.generator).tolist()

    def _sum(self, lanes, names):
        """The sum of some networks, in float64, so that rounding does not turn a gain into a loss."""
        return {name: sum(self.networks[lane][name].double() for lane in lanes) for name in names}


def _nearest(a, b):
    """For each row of a (n, d) one of b, with the least sum of squared distances.

    This is the assignment of the largest inner products too, but is found in a third of the time.
    """
    cost = (a.square().sum(1)[:, None] + b.square().sum(1)) / 2 - a @ b.T
    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1])


def _networks(spec, tensors, names):
    """The networks one by one, with those of the tensors `names` that the spec permutes."""
    if spec.blocks:
        raise ValueError("frames mean and cycle cannot match heads and grouped convolutions: take the frame first")
    names = set(names)
    used = list(dict.fromkeys(axis.tensor for axis in spec.axes if axis.tensor in names))
    lanes = {len(tensors[name]) if name in tensors else 0 for name in used}
    if len(lanes) != 1 or lanes == {0}:
        counts = ", ".join(f"{name} {len(tensors[name]) if name in tensors else 0}" for name in used)
        raise ValueError(
            f"frames: each tensor has to be a stack of the same networks; they have stacks of: {counts or 'none given'}"
        )
    for name in used:
        for lane in torch.where(~tensors[name].flatten(1).isfinite().all(1))[0].tolist():
            raise ValueError(f"tensor {name} of network {lane} is not finite: this network has diverged, leave it out")
    return [{name: tensors[name][lane] for name in used} for lane in range(*lanes)]


METHODS = {"first": first, "mean": mean, "cycle": cycle}
