"""Matching by weights: coordinate descent over groups (Git Re-Basin; Sharma et al. 2024)."""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from itertools import islice

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from modeconn import permutation as permutations
from modeconn import randomness
from modeconn.matching import assign_blocks, assign_within, check_tensors
from modeconn.permutation import Axis, Segment

BLOCK = 2**16  # numbers that are turned into float64 at a time
# Of the largest similarity: what is closer than this is not told apart by products in float32.
RESOLUTION = 1e-5


@torch.no_grad()
def match_weights(spec, tensors_a, tensors_b, names, seed=0, restarts=1, initial=None, max_sweeps=100):
    """Permutation of b that maximizes Σ ⟨a, permuted b⟩ over the tensors `names`, by coordinate descent.

    Algorithm 1 of Git Re-Basin (Ainsworth et al. 2023), as used by Sharma et al. 2024 (linear kernel):
    one group at a time, in random order by `seed`, the others fixed, until no group gains. Groups that permute the
    same blocks (heads; a convolution's groups) are matched as one. A group's similarity counts every axis that
    carries it: incoming and outgoing weights, biases, normalization.
    names: the parameters, all or some (without biases, say); running statistics describe data and
    have other units, so they do not belong here.
    restarts: descents, each from another start (`_starts`); the best result counts.
    initial: a permutation, group -> indices, to start from before any other start.
    The result is never worse than the first start nor, without `initial`, than the identity. Products are float32, and
    gains that they leave in doubt are measured in float64. Memory: at most three times these tensors of one network,
    besides the matrices of the largest group's assignment.
    Raises ValueError where one of these tensors is missing, misshapen or not finite, where `initial` is not of this
    network, or where there are no restarts.
    """
    if restarts < 1:
        raise ValueError(f"weight matching takes at least one start, not {restarts}")
    names = set(names)
    used = list(dict.fromkeys(axis.tensor for axis in spec.axes if axis.tensor in names))
    check_tensors(used, tensors_a, tensors_b)
    if initial is not None:
        permutations.apply(spec, initial, {name: tensors_b[name] for name in used})  # refuses another network's
    (straight, tensors_a), (_, tensors_b) = (permutations.straightened(spec, each) for each in (tensors_a, tensors_b))
    problem = _Problem(straight, tensors_a, tensors_b, used)
    generator = randomness.generator("match_weights", seed)
    best = None
    for start in islice(_starts(problem, generator, initial), restarts):
        start.descend(generator, max_sweeps)
        if best is None or start.objective() > best.objective() + problem.least_gain:
            best = start
    return best.permutation


def _starts(problem, generator, initial):
    """Where descents begin, without end.

    First `initial`, where it is given. Then the groups matched in graph order, or the identity where that is better;
    the other one of these two; and from then on the groups matched in random orders that grow from what is pinned.
    """
    if initial is not None:
        yield _Matching(problem, initial)
    starts = [_Matching(problem).match_progressively(problem.groups), _Matching(problem)]
    starts.sort(key=_Matching.objective, reverse=True)  # stable: where they are equal, the first one
    while starts:
        yield starts.pop(0)
    while True:
        yield _Matching(problem).match_progressively(_grown(problem, generator))


def _grown(problem, generator):
    """The groups in random order, each next to what is pinned or already there, as far as the network allows."""
    left, there = list(problem.groups), set()
    while left:
        near = [
            group for group in left if any(run.others <= there for run in problem.runs_with(group) if not run.stacked)
        ]
        near = near or left
        group = near[torch.randint(len(near), (), generator=generator)]
        left.remove(group)
        there.add(group)
        yield group


@dataclass(frozen=True)
class _Run:
    """Consecutive entries of one axis that carry a group: `size` channels of `repeat` entries each."""

    group: str
    tensor: str
    dim: int
    start: int
    size: int
    repeat: int
    others: frozenset  # the groups on the tensor's other axes
    stacked: bool = False  # the tensor is a stack of vectors

    def rows(self, tensor, entries):
        """(size, everything else of the tensor at a channel), with `entries` of the other axes: dim -> indices."""
        length = self.size * self.repeat
        if length < tensor.shape[self.dim]:
            tensor = tensor.narrow(self.dim, self.start, length)
        for dim, indices in entries.items():
            tensor = tensor.index_select(dim, indices)
        return tensor.movedim(self.dim, 0).reshape(self.size, -1)


class _Problem:
    """Both networks' tensors, and which of their axes carry which groups.

    The vectors of a group (biases, normalization) are one tensor here: they are many and small, and have no other axis.
    """

    def __init__(self, spec, tensors_a, tensors_b, names):
        self.spec = spec
        self.tensors, self.axes = {}, {}  # tensor -> (a, b); tensor -> dim -> axis
        self.runs = {group: [] for group in spec.groups}
        self.members = permutations.clusters(spec)
        first = {group: group for group in spec.groups} | spec.blocks  # what a group is matched with
        axes, vectors = defaultdict(dict), defaultdict(list)
        for axis in spec.axes:
            axes[axis.tensor][axis.dim] = axis
        for name in names:
            both = [_single(tensors[name]) for tensors in (tensors_a, tensors_b)]
            for run in _runs(name, axes[name], first):
                if both[0].ndim == 1:
                    vectors[run.group].append([run.rows(tensor, {}) for tensor in both])
                else:
                    self._add(run, both, axes[name])
        for group, rows in vectors.items():
            name, size = f"vectors of {group}", spec.groups[group]
            axis = Axis(name, 0, (Segment(group, size),), output=True)
            both = [torch.cat(parts, 1) for parts in zip(*rows)]
            self._add(_Run(group, name, 0, 0, size, 1, frozenset(), stacked=True), both, {0: axis})
        self.groups = [group for group in self.runs if group not in spec.blocks and self.runs_with(group)]
        squares = [sum(_inner(both[i], both[i]) for both in self.tensors.values()) for i in range(2)]
        self.least_gain = 1e-12 * math.prod(map(math.sqrt, squares))

    def runs_with(self, group):
        """The runs of a group and of those that permute its blocks."""
        return [run for each in (group, *self.members.get(group, ())) for run in self.runs[each]]

    def _add(self, run, both, axes):
        self.tensors[run.tensor], self.axes[run.tensor] = both, axes
        self.runs[run.group].append(run)


class _Matching:
    """A permutation of b on its way to a, and what is known of it."""

    def __init__(self, problem, permutation=None):
        self.problem = problem
        self.permutation = dict(permutation or permutations.identity(problem.spec))
        # tensor -> dim -> indices into b; replaced, never written to
        self.entries = {name: {dim: self._indices(name, dim) for dim in axes} for name, axes in problem.axes.items()}
        self.products = {}  # tensor -> ⟨a, permuted b⟩ in float64, where it is known
        self.grams = {}  # run -> (its Gram matrix, the other axes' entries that it holds for)

    def objective(self):
        """Σ ⟨a, permuted b⟩ in float64."""
        return sum(map(self._product, self.problem.tensors))

    def match_progressively(self, groups):
        """Match the groups once, in this order, each on matched tensors only; returns self.

        A group counts the tensors whose other axes are pinned or already matched. So a permuted copy is recovered
        exactly, where a descent from the identity can end in a local optimum. Where a group has no such tensor, it is
        matched by its sorted weights, which do not depend on the order of the other axes.
        """
        matched = set()
        for group in groups:
            runs = self.problem.runs_with(group)
            ready = [run for run in runs if run.others <= matched]
            if group in self.problem.members:
                self._move_all(self._assign_blocks(group, ready or runs, self._gram if ready else self._sorted_gram))
                self._refine_blocks(group, matched | {group})
            elif ready:
                self._move(group, self._assign(ready, self._similarity(ready)))
            else:
                self._move(group, torch.from_numpy(_assign(sum(map(self._sorted_gram, runs)).numpy())))
            matched.add(group)
        return self

    def descend(self, generator, max_sweeps):
        """Coordinate descent: one group at a time, in random order, until none gains."""
        groups = self.problem.groups
        stale = set(groups)  # groups whose similarity has changed since they were last matched
        for _ in range(max_sweeps):
            for group in (groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()):
                if group in stale:
                    stale.remove(group)
                    if self._improve(group):
                        stale.update(*(run.others for run in self.problem.runs_with(group)))
        self.grams.clear()

    def _improve(self, group):
        """Match one group, the others fixed; whether that raised the objective."""
        if group in self.problem.members:
            return self._improve_blocks(group)
        runs = self.problem.runs[group]
        before, tensors = self.permutation[group], {run.tensor for run in runs}
        similarity = self._similarity(runs)
        order = self._assign(runs, similarity)
        if torch.equal(order, before):
            return False
        # Where a tensor carries the group on two axes, the assignment's gain is not what is gained.
        if not any(group in run.others for run in runs) and _gains(similarity, order.numpy(), before.numpy()):
            self._move(group, order)
            return True
        known = {name: (self._product(name), self.entries[name]) for name in tensors}
        self._move(group, order)
        gain = sum(self._product(name) - known[name][0] for name in sorted(tensors))
        if gain > self.problem.least_gain:
            return True
        self.permutation[group] = before
        for name, (product, entries) in known.items():
            self.products[name], self.entries[name] = product, entries
        return False

    def _improve_blocks(self, blocks):
        """Match all that permutes some blocks, or only what is within them, the others fixed; whether that gained."""
        before = {group: self.permutation[group] for group in (blocks, *self.problem.members[blocks])}
        value = self._value(blocks)
        runs = [run for run in self.problem.runs_with(blocks) if blocks not in run.others]
        for anew in (True, False):
            if anew:
                self._move_all(self._assign_blocks(blocks, runs, self._gram))
            self._refine_blocks(blocks)
            changed = any(not torch.equal(order, self.permutation[group]) for group, order in before.items())
            if changed and self._value(blocks) - value > self.problem.least_gain:
                return True
            self._move_all(before)
        return False

    def _value(self, blocks):
        return sum(map(self._product, sorted({run.tensor for run in self.problem.runs_with(blocks)})))

    def _assign_blocks(self, blocks, runs, gram):
        """The best orders by these runs, of which none has two axes with these blocks: group -> indices."""
        similarity = {}
        for group in (blocks, *self.problem.members[blocks]):
            size = self.problem.spec.groups[group]
            grams = [gram(run).double().cpu().numpy() for run in runs if run.group == group]
            similarity[group] = sum(grams, np.zeros((size, size)))
        order, within = assign_blocks(similarity.pop(blocks), similarity)
        return {blocks: order} | within

    def _refine_blocks(self, blocks, there=None):
        """Order anew what is within each block, one group after the other, by all tensors or those matched so far."""
        for group in self.problem.members[blocks]:
            runs = [run for run in self.problem.runs[group] if there is None or run.others <= there]
            if runs:
                self._move(group, assign_within(self._similarity(runs), self.permutation[blocks]))

    def _move_all(self, orders):
        for group, order in orders.items():
            self._move(group, order)

    def _move(self, group, order):
        self.permutation[group] = order
        for name in {run.tensor for run in self.problem.runs[group]}:
            dims = {run.dim for run in self.problem.runs[group] if run.tensor == name}
            self.entries[name] = self.entries[name] | {dim: self._indices(name, dim) for dim in dims}
            self.products.pop(name, None)

    def _indices(self, name, dim):
        """Indices into b along an axis of a tensor."""
        parts, start = [], 0
        for segment in self.problem.axes[name][dim].segments:
            channels = torch.arange(segment.size) if segment.group is None else self.permutation[segment.group]
            if segment.repeat > 1:
                channels = (channels[:, None] * segment.repeat + torch.arange(segment.repeat)).flatten()
            parts.append(channels + start if start else channels)
            start += len(channels)
        indices = torch.cat(parts) if len(parts) > 1 else parts[0]
        return indices.to(self.problem.tensors[name][1].device)

    def _product(self, name):
        if name not in self.products:
            a, b = self.problem.tensors[name]
            for dim, indices in self.entries[name].items():
                b = b.index_select(dim, indices)
            self.products[name] = _inner(a, b)
        return self.products[name]

    def _similarity(self, runs):
        return reduce(torch.add, map(self._gram, runs)).double().cpu().numpy()

    def _assign(self, runs, similarity):
        """The best order of a group's channels by these runs: for each channel of a, one of b."""
        if np.isfinite(similarity).all():
            order = _assign(similarity)
            close = _exchangeable(similarity[:, order], RESOLUTION * np.abs(similarity).max())
        else:  # too large for float32
            order, close = np.arange(len(similarity)), np.arange(len(similarity))
        if len(close):
            order[close] = order[close][_assign(self._exact(runs, close, order[close]))]
        return torch.from_numpy(order)

    def _exact(self, runs, rows, columns):
        """Similarity in float64 of the channels `rows` of a to the channels `columns` of b."""
        similarity = 0
        for run in runs:
            a, b = self.problem.tensors[run.tensor]
            others = self._others(run)
            a = run.rows(a, {})[torch.from_numpy(rows).to(a.device)]
            b = run.rows(b, others)[torch.from_numpy(columns).to(b.device)]
            width = max(1, BLOCK // len(rows))
            for x, y in zip(a.split(width, 1), b.split(width, 1)):
                similarity += x.double() @ y.double().T
        return similarity.cpu().numpy()

    def _others(self, run):
        return {dim: indices for dim, indices in self.entries[run.tensor].items() if dim != run.dim}

    def _gram(self, run):
        """Inner products of a run's channels, (size, size) float32."""
        a, b = self.problem.tensors[run.tensor]
        others = self._others(run)
        matrix, before = self.grams.get(run, (None, None))
        if matrix is not None and all(before[dim] is others[dim] for dim in others):
            return matrix
        if matrix is not None and len(others) == 1:
            ((dim, indices),) = others.items()
            changed = (indices != before[dim]).nonzero()[:, 0]
            if 3 * len(changed) <= len(indices):  # few: the old and the new ones are quicker than all
                difference = run.rows(b, {dim: indices[changed]}) - run.rows(b, {dim: before[dim][changed]})
                matrix += run.rows(a, {dim: changed}) @ difference.T
                self.grams[run] = matrix, others
                return matrix
        matrix = run.rows(a, {}) @ run.rows(b, others).T
        # What is kept takes no more than half of the tensor; the other half is for its other axis.
        if 2 * matrix.numel() <= run.size * run.repeat * (a.numel() // a.shape[run.dim]):
            self.grams[run] = matrix, others
        return matrix

    def _sorted_gram(self, run):
        """Inner products of a run's channels, (size, size), with the entries of the other axes in sorted order."""
        a, b = (run.rows(_sorted(tensor, self._others(run)), {}) for tensor in self.problem.tensors[run.tensor])
        return a @ b.T


def _sorted(tensor, dims):
    array = tensor.cpu().numpy()
    for dim in dims:
        array = np.sort(array, dim)
    return torch.from_numpy(array)


def _runs(name, axes, first):
    """The runs of the groups on a tensor's axes. first: the group that a group is matched with."""
    for dim, axis in axes.items():
        groups = {s.group for other in axes.values() if other is not axis for s in other.segments} - {None}
        others = {first[group] for group in groups}
        start = 0
        for segment in axis.segments:
            if segment.group is not None:
                yield _Run(segment.group, name, dim, start, segment.size, segment.repeat, frozenset(others))
            start += segment.size * segment.repeat


def _single(tensor):
    """In float32, or as it is where it is float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _inner(a, b):
    """⟨a, b⟩ in float64."""
    if a.numel() <= BLOCK:
        return torch.vdot(a.flatten().double(), b.flatten().double()).item()
    blocks = zip(a.flatten().split(BLOCK), b.flatten().split(BLOCK))
    return sum(torch.vdot(x.double(), y.double()).item() for x, y in blocks)


def _gains(similarity, order, before):
    """Whether `order` of a group is better than `before` by more than products in float32 are off."""
    rows = np.flatnonzero(order != before)
    gain = (similarity[rows, order[rows]] - similarity[rows, before[rows]]).sum()
    return gain > len(rows) * RESOLUTION * np.abs(similarity).max()


def _exchangeable(similarity, least):
    """Channels that lose at most `least` by changing places with some other one; matched ones are on the diagonal."""
    own = similarity.diagonal()
    lost = own[:, None] + own - similarity - similarity.T
    np.fill_diagonal(lost, np.inf)
    return (lost <= least).any(1).nonzero()[0]


def _assign(similarity):
    return linear_sum_assignment(similarity, maximize=True)[1]
