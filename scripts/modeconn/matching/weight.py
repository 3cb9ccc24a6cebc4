"""Matching by weights: coordinate descent over groups (Git Re-Basin; Sharma et al. 2024)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, reduce
from itertools import islice

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from modeconn import permutation as permutations
from modeconn import randomness
from modeconn.matching import assign_blocks, assign_within, check_tensors
from modeconn.permutation import Axis, PermutationSpec, Segment

BLOCK = 2**16  # numbers that are turned into float64 at a time
# As a fraction of the largest similarity: smaller differences are below the precision of products in float32.
RESOLUTION = 1e-5
# Log-linear kernel: squared distances below this fraction of the sum of two channels' squares are rounding of float32.
SAME = 1e-12
LEAST_DISTANCE = 1e-16  # in units of the weights, as in the code of Sharma et al. 2024: log 0 is out of its range

KERNELS = ("linear", "cosine", "loglinear")
ORDERS = ("random", "forward", "backward")


@torch.no_grad()
def match_weights(
    spec: PermutationSpec,
    tensors_a: Mapping[str, torch.Tensor],
    tensors_b: Mapping[str, torch.Tensor],
    names: Iterable[str],
    seed: int = 0,
    restarts: int = 1,
    initial: dict[str, torch.Tensor] | None = None,
    max_sweeps: int = 100,
    *,
    kernel: str = "linear",
    order: str = "random",
    held: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Permutation of b that maximizes Σ ⟨a, permuted b⟩ over the tensors `names`, by coordinate descent.

    Algorithm 1 of Git Re-Basin (Ainsworth et al. 2023), with the options of Sharma et al. 2024:
    one group at a time, the others fixed, until no group gains. Groups that consist of the same blocks (heads; groups
    of a convolution) are matched together. A group's similarity is summed over every axis that carries it: incoming and
    outgoing weights, biases, normalization.
    tensors_a, tensors_b: state dicts, or several checkpoints' as `stack` makes one of them.
    names: the parameters, all or some (see `without`), and no running statistics, which describe data and have other
    units.
    restarts: descents, each from another start (`_starts`); the best result counts.
    initial: a permutation, group -> indices, to start from before any other start.
    kernel: how alike two channels' entries x and y along an axis of a tensor are, summed over axes and tensors.
    "linear": ⟨x, y⟩. "cosine": ⟨x, y⟩ / ‖x‖‖y‖, 0 for a channel of zeros; for biases it is the product of signs.
    "loglinear": -log ‖x - y‖², where distances within float32's rounding count as 0; two biases that are close by
    chance count as much as two rows of weights, so that biases should be left out.
    order: of the groups in a sweep: "random", by `seed`, "forward" in graph order, or "backward".
    held: groups that are not matched -> their fixed indices, for which the other groups are matched.
    With the linear kernel the result is never worse than the first start nor, without `initial`, than the identity.
    The other kernels have no common objective: the two groups of a tensor compare its rows and its columns, so that one
    group's gain may be another's loss. The descent ends where no group gains, or after `max_sweeps`.
    Products are float32, and gains within their rounding are measured in float64; distances are float64. Memory: at
    most three times these tensors of one network, besides the matrices of the largest group's assignment; with the
    cosine kernel four times more.
    Raises ValueError where one of these tensors is missing, misshapen or not finite, where `initial` or `held` is of
    another network, where kernel or order are unknown, and where `restarts` is below 1.
    """
    if restarts < 1:
        raise ValueError(f"weight matching takes at least one start, not {restarts}")
    for word, value, known in (("kernel", kernel, KERNELS), ("order", order, ORDERS)):
        if value not in known:
            raise ValueError(f"weight matching: {word} {value!r} is unknown: expected {', '.join(known)}")
    held = held or {}
    if strangers := [group for group in held if group not in spec.groups]:
        raise ValueError(f"weight matching: held group {strangers[0]!r} is none of {', '.join(spec.groups)}")
    whole, names = spec, set(names)
    used = list(dict.fromkeys(axis.tensor for axis in spec.axes if axis.tensor in names))
    check_tensors(used, tensors_a, tensors_b)
    if held:
        first = permutations.identity(spec) | held
        tensors_b = permutations.apply(spec, first, {name: tensors_b[name] for name in used})
        spec = permutations.pin(spec, held, "held")
    if initial is not None:
        permutations.apply(spec, initial, {name: tensors_b[name] for name in used})  # refuses another network's
    if spec.blocks and kernel != "linear":
        raise ValueError(f"weight matching: kernel {kernel!r} cannot match heads and grouped convolutions: take linear")
    (straight, tensors_a), (_, tensors_b) = (permutations.straightened(spec, each) for each in (tensors_a, tensors_b))
    problem = _Problem(straight, tensors_a, tensors_b, used, kernel)
    generator = randomness.generator("match_weights", seed)
    starts = islice(_starts(problem, generator, initial), restarts)
    descents = (start.descend(generator, max_sweeps, order) for start in starts)
    least = problem.least_gain
    best = reduce(lambda best, other: other if other.objective() > best.objective() + least else best, descents)
    found = permutations.identity(whole) | best.permutation | held
    return {group: found[group] for group in whole.groups}


def without(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that match none of the patterns, "*.bias" or "*norm*", say: `names` for `match_weights`.

    Sharma et al. 2024 match without "*bias*", which includes normalization's.
    Raises ValueError for a pattern that matches no name, probably misspelt, and where no name remains.
    """
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"pattern {pattern!r} leaves out none of the {len(names)} parameters: correct it")
    left = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not left:
        raise ValueError(f"patterns {', '.join(patterns)} leave no parameter to match by: take some away")
    return left


def stack(checkpoints: Sequence[Mapping[str, torch.Tensor]], names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Several checkpoints of one network as one state dict, each tensor with a last axis of checkpoints.

    `match_weights` of two such dicts gives one permutation for all their epochs (super-alignment, Sharma et al. 2024):
    a channel's entries are those of all checkpoints in a row. With the linear kernel, similarities are so summed over
    the checkpoints; the other kernels compare all entries at once.
    Raises ValueError where there is no checkpoint, or where a tensor is missing or has different shapes in them.
    """
    stacked = {}
    for name in names:
        shapes = {tuple(tensors[name].shape) if name in tensors else None for tensors in checkpoints}
        if len(shapes) != 1 or None in shapes:
            raise ValueError(
                f"tensor {name}: its shapes in {len(checkpoints)} checkpoints are {sorted(map(str, shapes))}: "
                "stack checkpoints of one network"
            )
        stacked[name] = torch.stack([tensors[name] for tensors in checkpoints], -1)
    return stacked


def match(population, a, b, spec, alignment, further=()):
    """Match member b of a population to member a, by its parameters or some of them; see `match_weights`.

    With a `symmetry` of the alignment, by `scaled.match_scaled`, which takes a single moment and the linear kernel.
    further: the population at further moments; all get one permutation, by a `stack` of them.
    """
    names = without(population.functional.shapes, alignment.get("leave_out", []))
    seed, restarts, order = alignment["seed"], alignment.get("restarts", 1), alignment.get("order", "random")
    if alignment.get("symmetry", "none") != "none":
        from modeconn.matching.scaled import match_scaled  # here, so that its source decides only such jobs

        return match_scaled(spec, population.members[a], population.members[b], names, seed, restarts, order=order)
    moments = [population, *further]
    tensors_a, tensors_b = ([moment.members[member] for moment in moments] for member in (a, b))
    return match_weights(
        spec,
        *(stack(states, names) if further else states[0] for states in (tensors_a, tensors_b)),
        names,
        seed,
        restarts,
        kernel=alignment.get("kernel", "linear"),
        order=order,
    )


def _starts(problem, generator, initial):
    """An infinite sequence of starts for descents.

    First `initial`, if given. Then the better one of two: the groups matched progressively in graph order, and the
    identity; then the other one of these; then groups matched progressively in random orders (`_grown`).
    """
    if initial is not None:
        yield problem.start(initial)
    starts = [problem.start().match_progressively(problem.groups), problem.start()]
    starts.sort(key=_Matching.objective, reverse=True)  # stable: where they are equal, the first one
    while starts:
        yield starts.pop(0)
    while True:
        yield problem.start().match_progressively(_grown(problem, generator))


def _grown(problem, generator):
    """The groups in random order, each sharing a tensor with pinned or earlier groups only, if there is such a one."""
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


@dataclass(frozen=True, eq=False)
class _Run:
    """Consecutive entries of one axis that carry a group: `size` channels of `repeat` entries each."""

    group: str
    tensor: str
    dim: int
    start: int
    size: int
    repeat: int
    others: frozenset  # the groups on the tensor's other axes
    stacked: bool = False  # the tensor is a stack of vectors, or one of them

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

    With the linear kernel all vectors of a group (biases, normalization) are joined to one tensor, since they are many
    and small. With other kernels each run is a tensor of its own, since these compare its rows.
    """

    def __init__(self, spec, tensors_a, tensors_b, names, kernel):
        self.spec, self.kernel = spec, kernel
        self.tensors, self.axes = {}, {}  # tensor -> (a, b); tensor -> dim -> axis
        self.runs = {group: [] for group in spec.groups}
        self.places = {group: defaultdict(set) for group in spec.groups}  # group -> tensor -> dims
        self.members = permutations.clusters(spec)
        first = {group: group for group in spec.groups} | spec.blocks  # what a group is matched with
        axes, vectors = defaultdict(dict), defaultdict(list)
        for axis in spec.axes:
            axes[axis.tensor][axis.dim] = axis
        for name in names:
            both = [_single(tensors[name]) for tensors in (tensors_a, tensors_b)]
            for run in _runs(name, axes[name], first):
                if kernel != "linear":
                    self._add_alone(run, both, axes[name])
                elif both[0].ndim == 1:
                    vectors[run.group].append([run.rows(tensor, {}) for tensor in both])
                else:
                    self._add(run, both, axes[name])
        for group, rows in vectors.items():
            name, size = f"vectors of {group}", spec.groups[group]
            axis = Axis(name, 0, (Segment(group, size),), output=True)
            both = [torch.cat(parts, 1) for parts in zip(*rows)]
            self._add(_Run(group, name, 0, 0, size, 1, frozenset(), stacked=True), both, {0: axis})
        self.groups = [group for group in self.runs if group not in spec.blocks and self.runs_with(group)]

    @cached_property
    def least_gain(self):
        """The smallest gain of the objective that is not rounding of float64."""
        if self.kernel == "loglinear":  # a logarithm for each channel
            return 1e-12 * sum(run.size for runs in self.runs.values() for run in runs)
        squares = [sum(_inner(both[i], both[i]) for both in self.tensors.values()) for i in range(2)]
        return 1e-12 * math.prod(map(math.sqrt, squares))

    @cached_property
    def products(self):
        """Tensor -> ⟨a, b⟩ in float64, as they are."""
        return {name: _inner(*both) for name, both in self.tensors.items()}

    def start(self, permutation=None):
        return (_LogLinear if self.kernel == "loglinear" else _Matching)(self, permutation)

    def runs_with(self, group):
        """The runs of a group and of those that permute its blocks."""
        return [run for each in (group, *self.members.get(group, ())) for run in self.runs[each]]

    def _add(self, run, both, axes):
        self.tensors[run.tensor], self.axes[run.tensor] = both, axes
        self.runs[run.group].append(run)
        for dim, axis in axes.items():
            for segment in axis.segments:
                if segment.group is not None:
                    self.places[segment.group][run.tensor].add(dim)

    def _add_alone(self, run, both, axes):
        """Add a run as a tensor of its own; for the cosine kernel with rows of length one."""
        both = [tensor.narrow(run.dim, run.start, run.size * run.repeat) for tensor in both]
        axis = replace(axes[run.dim], segments=(Segment(run.group, run.size, run.repeat),))
        name = f"{run.tensor}, axis {run.dim}, from {run.start}"
        run = replace(run, tensor=name, start=0, stacked=both[0].ndim == 1)
        if self.kernel == "cosine":
            both = [_unit(run, tensor) for tensor in both]
        self._add(run, both, axes | {run.dim: axis})


class _Matching:
    """A permutation of b during the descent, with cached products and Gram matrices."""

    def __init__(self, problem, permutation=None):
        self.problem = problem
        self.permutation = dict(permutation or permutations.identity(problem.spec))
        # tensor -> dim -> indices into b; replaced, never written to
        self.entries = {name: {dim: self._indices(name, dim) for dim in axes} for name, axes in problem.axes.items()}
        # tensor -> ⟨a, permuted b⟩ in float64, where it is known
        self.products = dict(problem.products) if permutation is None else {}
        self.grams = {}  # run -> (its Gram matrix, the other axes' entries that it holds for)

    def objective(self):
        """Σ ⟨a, permuted b⟩ in float64."""
        return sum(map(self._product, self.problem.tensors))

    def match_progressively(self, groups):
        """Match the groups once, in this order, each on matched tensors only; returns self.

        A group is matched by the tensors whose other axes are pinned or already matched. This recovers a permuted copy
        exactly, whereas a descent from the identity can end in a local optimum. A group without such tensors is matched
        by its sorted weights, which do not depend on the order of the other axes.
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

    def descend(self, generator, max_sweeps, order):
        """Coordinate descent: one group at a time, in this order (of ORDERS), until none gains; returns self."""
        groups = self.problem.groups
        stale = set(groups)  # groups whose similarity has changed since they were last matched
        for _ in range(max_sweeps):
            if not stale:
                break
            for group in _ordered(groups, order, generator):
                if group in stale:
                    stale.remove(group)
                    if self._improve(group):
                        stale.update(*(run.others for run in self.problem.runs_with(group)))
        self.grams.clear()
        return self

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
        # The assignment's gain is the objective's, unless a tensor carries the group on two axes.
        if not any(group in run.others for run in runs) and _gains(similarity, order.numpy(), before.numpy()):
            self._move(group, order)
            return True
        known = {name: (self._product(name), self.entries[name]) for name in self.problem.places[group]}
        self._move(group, order)
        gain = sum(self._product(name) - known[name][0] for name in sorted(tensors))
        if gain > self.problem.least_gain:
            return True
        self.permutation[group] = before
        for name, (product, entries) in known.items():
            self.products[name], self.entries[name] = product, entries
        return False

    def _improve_blocks(self, blocks):
        """Match blocks and the channels within them, or only these, the others fixed; whether that gained."""
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
        """The best orders by these runs, none of whose tensors has these blocks on two axes: group -> indices."""
        similarity = {}
        for group in (blocks, *self.problem.members[blocks]):
            size = self.problem.spec.groups[group]
            grams = [gram(run).double().cpu().numpy() for run in runs if run.group == group]
            similarity[group] = sum(grams, np.zeros((size, size)))
        order, within = assign_blocks(similarity.pop(blocks), similarity)
        return {blocks: order} | within

    def _refine_blocks(self, blocks, there=None):
        """Match the channels within each block, one group after the other, by all tensors or those matched so far."""
        for group in self.problem.members[blocks]:
            runs = [run for run in self.problem.runs[group] if there is None or run.others <= there]
            if runs:
                self._move(group, assign_within(self._similarity(runs), self.permutation[blocks]))

    def _move_all(self, orders):
        for group, order in orders.items():
            self._move(group, order)

    def _move(self, group, order):
        self.permutation[group] = order
        for name, dims in self.problem.places[group].items():
            self.entries[name] = self.entries[name] | {dim: self._indices(name, dim) for dim in dims}
            self.products.pop(name, None)

    def _indices(self, name, dim):
        """Indices into b along an axis of a tensor."""
        segments, device = self.problem.axes[name][dim].segments, self.problem.tensors[name][1].device
        if len(segments) == 1 and segments[0].repeat == 1:
            return self.permutation[segments[0].group].to(device)
        parts, start = [], 0
        for segment in segments:
            channels = torch.arange(segment.size) if segment.group is None else self.permutation[segment.group]
            if segment.repeat > 1:
                channels = (channels[:, None] * segment.repeat + torch.arange(segment.repeat)).flatten()
            parts.append(channels + start)
            start += len(channels)
        return torch.cat(parts).to(device)

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
        largest = np.abs(similarity).max()
        if np.isfinite(largest):
            order = _assign(similarity)
            close = _exchangeable(similarity[:, order], RESOLUTION * largest)
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
            if 3 * len(changed) <= len(indices):  # for few changes, an update is quicker than the whole product
                difference = run.rows(b, {dim: indices[changed]}) - run.rows(b, {dim: before[dim][changed]})
                matrix += run.rows(a, {dim: changed}) @ difference.T
                self.grams[run] = matrix, others
                return matrix
        matrix = run.rows(a, {}) @ run.rows(b, others).T
        # Cached matrices take at most half of the tensor's memory for each of its two axes.
        if 2 * matrix.numel() <= run.size * run.repeat * (a.numel() // a.shape[run.dim]):
            self.grams[run] = matrix, others
        return matrix

    def _sorted_gram(self, run):
        """Inner products of a run's channels, (size, size), with the entries of the other axes in sorted order."""
        a, b = (run.rows(_sorted(tensor, self._others(run)), {}) for tensor in self.problem.tensors[run.tensor])
        return self._compare(a, b)

    def _compare(self, a, b):
        """Similarity of each of the rows a (n, entries) to each of the rows b, (n, n)."""
        return a @ b.T


class _LogLinear(_Matching):
    """Matching by -log ‖x - y‖², in float64, since small distances are differences of large products.

    Here products are sums of logarithms over a run's matched channels, and Gram matrices those of all pairs.
    """

    def _product(self, name):
        if name not in self.products:
            (run,) = (run for runs in self.problem.runs.values() for run in runs if run.tensor == name)
            a, b = self.problem.tensors[name]
            a, b = run.rows(a, {}).double(), run.rows(b, self.entries[name]).double()
            squares = a.square().sum(1) + b.square().sum(1)
            self.products[name] = _nearness((a - b).square().sum(1), squares).sum().item()
        return self.products[name]

    def _assign(self, runs, similarity):
        return torch.from_numpy(_assign(similarity))

    def _gram(self, run):
        a, b = self.problem.tensors[run.tensor]
        return self._compare(run.rows(a, {}), run.rows(b, self._others(run)))

    def _compare(self, a, b):
        a, b = a.double(), b.double()
        squares = a.square().sum(1)[:, None] + b.square().sum(1)
        return _nearness(torch.addmm(squares, a, b.T, alpha=-2), squares)


def _nearness(distances, squares):
    """-log of squared distances between channels; squares: ‖x‖² + ‖y‖²."""
    return -torch.maximum(distances, SAME * squares).clamp(min=LEAST_DISTANCE**2).log()


def _unit(run, tensor):
    """The run's rows, divided by their length; zeros stay."""
    lengths = torch.linalg.vector_norm(run.rows(tensor, {}), dim=1, dtype=torch.float64)
    scale = torch.where(lengths > 0, 1 / lengths, 0).repeat_interleave(run.repeat)
    return (tensor.movedim(run.dim, -1) * scale).to(tensor.dtype).movedim(-1, run.dim)


def _ordered(groups, order, generator):
    """The groups, in graph order, in the order of a sweep."""
    if order == "random":
        return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]
    return groups if order == "forward" else groups[::-1]


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
    """Whether `order` of a group is better than `before` by more than the rounding of products in float32."""
    rows = np.flatnonzero(order != before)
    gain = (similarity[rows, order[rows]] - similarity[rows, before[rows]]).sum()
    return gain > len(rows) * RESOLUTION * np.abs(similarity).max()


def _exchangeable(similarity, least):
    """Channels that lose at most `least` by exchange with some other one; the diagonal has the matched pairs."""
    own = similarity.diagonal()
    lost = own[:, None] + own - similarity - similarity.T
    np.fill_diagonal(lost, np.inf)
    return (lost <= least).any(1).nonzero()[0]


def _assign(similarity):
    return linear_sum_assignment(similarity, maximize=True)[1]
