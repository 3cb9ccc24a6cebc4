"""Matching by weights: coordinate descent over groups (Git Re-Basin; Sharma et al. 2024)."""

from collections import defaultdict
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment

from modeconn import permutation as permutations
from modeconn import randomness
from modeconn.matching import check_tensors


@dataclass(frozen=True)
class _Run:
    """Consecutive entries of one axis that carry a group: `size` channels of `repeat` entries each."""

    tensor: str
    dim: int
    start: int
    size: int
    repeat: int
    others: frozenset  # the groups on the tensor's other axes

    def rows(self, tensors):
        """(size, everything else of the tensor at a channel)"""
        run = tensors[self.tensor].narrow(self.dim, self.start, self.size * self.repeat)
        return run.movedim(self.dim, 0).reshape(self.size, -1)


@torch.no_grad()
def match_weights(spec, tensors_a, tensors_b, names, seed=0, max_sweeps=100):
    """Permutation of b that maximizes Σ ⟨a, permuted b⟩ over the tensors `names`, by coordinate descent.

    Algorithm 1 of Git Re-Basin (Ainsworth et al. 2023), as used by Sharma et al. 2024 (linear kernel):
    one group at a time, in random order by `seed`, the others fixed, until no group gains. A group's
    similarity counts every axis that carries it: incoming and outgoing weights, biases, normalization.
    names: the parameters, all or some (without biases, say); running statistics describe data and
    have other units, so they do not belong here. The result is never worse than the identity.
    Raises ValueError where one of these tensors is missing, misshapen or not finite.
    """
    runs = _runs(spec, set(names))
    used = dict.fromkeys(run.tensor for group in runs for run in runs[group])
    check_tensors(used, tensors_a, tensors_b)
    # In float64 a gain is a gain: float32's rounding would pass for one, and for another, in turns.
    a = {name: tensors_a[name].double() for name in used}
    b = {name: tensors_b[name].double() for name in used}
    permutation, b = _match_progressively(spec, runs, a, b)
    least_gain = 1e-12 * (_inner(a, a) * _inner(b, b)) ** 0.5
    generator = randomness.generator("match_weights", seed)
    groups = [group for group in spec.groups if runs[group]]
    stale = set(groups)  # groups whose similarity has changed since they were last matched
    for _ in range(max_sweeps):
        for group in (groups[i] for i in torch.randperm(len(groups), generator=generator)):
            if group not in stale:
                continue
            stale.remove(group)
            order = _assign_rows(runs[group], a, b)
            moved = _reorder(runs[group], b, order)
            # Measured, not read off the assignment: where a tensor carries the group on two axes, the two differ.
            if _inner(a, moved) - _inner(a, {name: b[name] for name in moved}) > least_gain:
                b.update(moved)
                permutation[group] = permutation[group][order]
                stale |= {other for run in runs[group] for other in run.others}
    return permutation


def _match_progressively(spec, runs, a, b):
    """Start of the descent, (permutation, permuted b): the groups once, in graph order, on matched tensors only.

    A group counts the tensors whose other axes are pinned or already matched. So a permuted copy is
    recovered exactly, where a descent from the identity can end in a local optimum. Where this start
    is worse than the identity (the networks were aligned), the identity it is.
    """
    start, permutation, matched = b, {}, set()
    b = dict(b)
    for group, size in spec.groups.items():
        ready = [run for run in runs[group] if run.others <= matched]
        permutation[group] = _assign_rows(ready, a, b) if ready else torch.arange(size)
        b.update(_reorder(runs[group], b, permutation[group]))
        matched.add(group)
    if _inner(a, b) < _inner(a, start):
        return permutations.identity(spec), start
    return permutation, b


def _runs(spec, names):
    """group -> its runs in the tensors `names`."""
    groups = defaultdict(lambda: defaultdict(set))  # tensor -> dim -> groups
    for axis in spec.axes:
        groups[axis.tensor][axis.dim] |= {segment.group for segment in axis.segments} - {None}
    runs = {group: [] for group in spec.groups}
    for axis in spec.axes:
        if axis.tensor not in names:
            continue
        others = frozenset().union(*(g for dim, g in groups[axis.tensor].items() if dim != axis.dim))
        start = 0
        for segment in axis.segments:
            if segment.group is not None:
                run = _Run(axis.tensor, axis.dim, start, segment.size, segment.repeat, others)
                runs[segment.group].append(run)
            start += segment.size * segment.repeat
    return runs


def _assign_rows(runs, a, b):
    similarity = sum(run.rows(a) @ run.rows(b).T for run in runs)
    return torch.from_numpy(linear_sum_assignment(similarity.cpu().numpy(), maximize=True)[1])


def _reorder(runs, tensors, order):
    """The tensors of `runs`, with the group's channels in the given order."""
    moved = {}
    for run in runs:
        tensor = moved.get(run.tensor, tensors[run.tensor])
        index = torch.arange(tensor.shape[run.dim])
        entries = index.narrow(0, run.start, run.size * run.repeat)
        entries.copy_(entries.view(run.size, run.repeat)[order].flatten())
        moved[run.tensor] = tensor.index_select(run.dim, index.to(tensor.device))
    return moved


def _inner(a, b):
    """Σ ⟨a, b⟩ over the tensors of b."""
    return sum(torch.vdot(a[name].flatten(), b[name].flatten()).item() for name in b)
