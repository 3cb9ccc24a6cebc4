"""Networks of one architecture brought into a common frame: for each of them a permutation of its own (Kalaivanan 2023).

A frame maps each group to indices (N, n) int64, of which row k is the permutation of network k, as `permutation.apply`
takes it. Whatever the frame, the way from network k over l to m is the way from k to m: frames are cycle-consistent
(C2M3, Crisostomi et al. 2024). What differs is how good they are: `objective` is the sum over all pairs of networks of
their inner products in the frame, the largest where the sum of squared distances is the least.

    first   each network is matched to the first one, as in the thesis
    mean    each in turn is matched to the mean of the others (MergeMany of Git Re-Basin, Ainsworth et al. 2023)
    cycle   the objective itself is raised, from the better of these two on
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from modeconn import permutation as permutations
from modeconn import randomness
from modeconn.matching.weight import match_weights
from modeconn.permutation import PermutationSpec

Frame = dict[str, Tensor]
PATIENCE = 10  # divisions into halves in a row that gain nothing, before `cycle` ends


def first(spec: PermutationSpec, tensors: Mapping[str, Tensor], names: Iterable[str], seed: int = 0) -> Frame:
    """The frame of the first network: its own row is the identity, each other network is matched to it by weights.

    tensors: name -> (N, ...), those of N networks; names: the parameters that are compared; seed: order of descents.
    For networks of one hidden layer each matching is one assignment, and the best there is.
    Raises ValueError as `match_weights` does, and where these are no stacks of the spec's tensors.
    """
    networks = _networks(spec, tensors, names)
    found = [match_weights(spec, networks[0], network, names, seed) for network in networks[1:]]
    return _frame([permutations.identity(spec), *found])


def mean(spec: PermutationSpec, tensors: Mapping[str, Tensor], names: Iterable[str], seed: int = 0) -> Frame:
    """The frame in which no network gains by being matched to the mean of the others (MergeMany, Algorithm 3).

    From the networks as they are, in random order by `seed`, again and again. Arguments and errors as of `first`.
    """
    networks = _networks(spec, tensors, names)
    ascent = _Ascent(spec, networks, names, _frame([permutations.identity(spec)] * len(networks)), seed)
    ascent.settle()
    return _frame(ascent.permutations)


def cycle(spec: PermutationSpec, tensors: Mapping[str, Tensor], names: Iterable[str], seed: int = 0) -> Frame:
    """The frame of a large `objective`, never below those of `first` and `mean`.

    Block coordinate ascent from the better of the two: one network is matched to the sum of the others, and where none
    gains, random halves of the networks are matched to each other, sum to sum, which moves networks together that
    cannot gain alone. Arguments and errors as of `first`.
    """
    names = list(names)
    starts = [method(spec, tensors, names, seed) for method in (first, mean)]
    best = max(starts, key=lambda frame: objective(spec, tensors, names, frame))
    ascent = _Ascent(spec, _networks(spec, tensors, names), names, best, seed)
    ascent.settle()
    failures = 0
    while failures < PATIENCE:
        if ascent.move(ascent.half()):
            failures = 0
            ascent.settle()
        else:
            failures += 1
    return _frame(ascent.permutations)


def objective(
    spec: PermutationSpec, tensors: Mapping[str, Tensor], names: Iterable[str], frame: Mapping[str, Tensor]
) -> float:
    """Σ ⟨network k, network l⟩ over all pairs k < l, of the tensors `names` in the frame, in float64.

    tensors: name -> (N, ...). It is half of what the squared norm of the sum exceeds the sum of squared norms by.
    """
    total = 0.0
    for stack in apply(spec, frame, {name: tensors[name] for name in names}).values():
        rows = stack.flatten(1).double()
        total += (rows.sum(0).square().sum() - rows.square().sum()).item() / 2
    return total


def apply(spec: PermutationSpec, frame: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`permutation.apply` of row k of the frame to network k: tensors name -> (N, ...), in the frame."""
    lanes = len(next(iter(tensors.values())))
    permuted = [
        permutations.apply(spec, of_network(frame, lane), {name: stack[lane] for name, stack in tensors.items()})
        for lane in range(lanes)
    ]
    return {name: torch.stack([network[name] for network in permuted]) for name in tensors}


def of_network(frame: Mapping[str, Tensor], lane: int) -> dict[str, Tensor]:
    """The permutation that brings network `lane` into the frame: group -> (n,) int64."""
    return {group: indices[lane] for group, indices in frame.items()}


def between(frame: Mapping[str, Tensor], to: int, lane: int) -> dict[str, Tensor]:
    """The permutation that the frame brings network `lane` to network `to` by: into the frame, and back as `to`."""
    return permutations.compose(of_network(frame, lane), permutations.invert(of_network(frame, to)))


class _Ascent:
    """Networks in a frame that is made better step by step. Every step that is taken raises the objective."""

    def __init__(self, spec, networks, names, frame, seed):
        self.spec, self.names, self.seed = spec, list(names), seed
        self.permutations = [of_network(frame, lane) for lane in range(len(networks))]
        self.networks = [permutations.apply(spec, *pair) for pair in zip(self.permutations, networks)]
        self.generator = randomness.generator("frames", seed)
        self.total = self._sum(range(len(networks)))

    def settle(self):
        """Match each network in turn to the sum of the others, in random order, until none gains."""
        while any([self.move([lane]) for lane in self._shuffled()]):
            pass

    def half(self):
        """A random half of the networks."""
        return self._shuffled()[: len(self.networks) // 2]

    def move(self, lanes):
        """Match these networks, all by one permutation, to the sum of the others; whether that raised the objective."""
        own = self._sum(lanes)
        others = {name: self.total[name] - own[name] for name in own}
        identity = permutations.identity(self.spec)
        found = match_weights(self.spec, others, own, self.names, self.seed, initial=identity)
        if all(torch.equal(found[group], identity[group]) for group in identity):
            return False
        for lane in lanes:
            self.permutations[lane] = permutations.compose(self.permutations[lane], found)
            self.networks[lane] = permutations.apply(self.spec, found, self.networks[lane])
        moved = permutations.apply(self.spec, found, own)
        self.total = {name: others[name] + moved[name] for name in own}
        return True

    def _shuffled(self):
        return torch.randperm(len(self.networks), generator=self.generator).tolist()

    def _sum(self, lanes):
        """In float64, so that what a step gains is a gain whatever the order of the steps."""
        return {name: sum(self.networks[lane][name].double() for lane in lanes) for name in self.networks[0]}


def _networks(spec, tensors, names):
    """The networks one by one, with those of the tensors `names` that the spec permutes.

    Raises ValueError where they are not there, or not stacks of equal length.
    """
    names = set(names)
    used = list(dict.fromkeys(axis.tensor for axis in spec.axes if axis.tensor in names))
    lanes = {len(tensors[name]) if name in tensors else 0 for name in used}
    if len(lanes) != 1 or lanes == {0}:
        raise ValueError(
            f"frames: the tensors {', '.join(used[:3])} ... have to be there, each a stack of the same networks; they "
            f"hold {', '.join(map(str, sorted(lanes))) or 'no'} networks"
        )
    return [{name: tensors[name][lane] for name in used} for lane in range(*lanes)]


def _frame(found):
    return {group: torch.stack([permutation[group] for permutation in found]) for group in found[0]}
