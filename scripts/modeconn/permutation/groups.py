"""Groups of channels during discovery, while they are tied, cut and divided into blocks."""

from itertools import chain, pairwise
from typing import NamedTuple

import torch

_CHANNELS = 2**32  # channels a group may have, in the ids of channels


class Run(NamedTuple):
    """A segment while groups are still being tied: `group` is a number of `Groups`."""

    group: int
    size: int
    repeat: int = 1
    read: bool = False  # as in `spec.Segment`


class Bound(NamedTuple):
    """The channels of an axis of a tensor; order and blocks as in `spec.Axis`."""

    runs: tuple[Run, ...]
    output: bool
    order: tuple[int, ...] | None = None
    blocks: int = 1


def pinned(size):
    """The runs of an axis that keeps its order."""
    return (Run(0, size),)


def ids_of(runs):
    """An int64 id for each entry of an axis that carries `runs`, 0 where it is pinned; see `Groups.runs_of`."""
    parts = []
    for run in runs:
        channels = run.group * _CHANNELS + torch.arange(run.size) if run.group else torch.zeros(run.size).long()
        parts.append(channels.repeat_interleave(run.repeat))
    return torch.cat(parts)


class Groups:
    """Union-find over groups, their cuts and blocks, and the axes that carry them.

    Group 0 is the identity: pinned channels are merged into it. A set is represented by its oldest member and has the
    name of the layer that wrote it first. A set that was cut stands for its pieces, each of which is a group. A set
    with blocks moves whole blocks, in the order of the group of its blocks, and channels within each block.
    """

    def __init__(self):
        self.names, self.sizes, self.parents = [None], [0], [0]
        self.places = [(0, 0)]  # group -> (the group that it was cut from, its first channel in that)
        self.numbers = set()  # groups that permute blocks, and have no channels of their own
        self.cuts, self.blocks = {}, {}  # oldest member -> its pieces; -> the group of its blocks
        self.axes = {}  # (id of a tensor, dim) -> Bound
        self.reached = set()  # ids of tensors
        self.reason = ""  # why channels are being pinned at present; empty for the network's output
        self.pinned, self.fixed = {}, {}  # name of an opener, or id of a tensor -> the reason

    def open(self, name, size):
        """The runs of a new group."""
        if size == 1:
            return pinned(1)
        return (Run(self._new(name, size, (len(self.parents), 0)), size),)

    def _new(self, name, size, place):
        self.names.append(name)
        self.sizes.append(size)
        self.parents.append(len(self.parents))
        self.places.append(place)
        return self.parents[-1]

    def find(self, group):
        """The oldest member of the group's set."""
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def roots(self):
        """The remaining groups, in the order of their openers."""
        roots = {self.find(group) for group in range(1, len(self.names))} - {0} - self.cuts.keys()
        return sorted(roots, key=self.places.__getitem__)

    def channels(self):
        """Name of a group, or of what is pinned -> how many hidden channels layers write for it."""
        counted = {}
        made = {*chain(*self.cuts.values()), *self.numbers}
        openers = {name: group for group, name in enumerate(self.names) if group and group not in made}
        waiting = list(openers.values())  # each layer once, however often it is called
        while waiting:
            group = waiting.pop()
            root = self.find(group)
            if root in self.cuts:
                waiting += self.cuts[root]
            elif root or self.pinned.get(self.names[group]) != "":
                name = self.names[root or group]
                counted[name] = counted.get(name, 0) + self.sizes[group]
        return counted

    def resolve(self, runs):
        """The runs with the present representatives of their groups."""
        resolved = []
        for run in runs:
            group = self.find(run.group)
            if group in self.cuts:
                resolved += self.resolve(
                    Run(piece, self.sizes[piece], run.repeat, run.read) for piece in self.cuts[group]
                )
            else:
                resolved.append(run._replace(group=group))
        return tuple(resolved)

    def union(self, first, second):
        """Merge two sets that are not cut."""
        oldest, other = sorted((self.find(first), self.find(second)))
        if oldest == other:
            return
        if oldest == 0:
            for group in range(1, len(self.names)):
                if self.find(group) == other:
                    self.pinned.setdefault(self.names[group], self.reason)
        self.parents[other] = oldest
        of_oldest, of_other = self.blocks.get(oldest), self.blocks.pop(other, None)
        if of_other is None:
            return
        if oldest and of_oldest is None:
            self.blocks[oldest] = of_other
        elif oldest and self.sizes[of_oldest] == self.sizes[of_other]:
            self.union(of_oldest, of_other)
        else:  # Blocks of pinned channels are pinned, and so are channels with blocks of two sizes.
            for group in (oldest, of_other):
                self.pin([Run(group, self.sizes[group])])

    def pin(self, runs):
        """The channels of the runs keep their order, and so do the blocks that they are divided into."""
        for run in self.resolve(runs):
            self.union(0, run.group)

    def tie(self, first, second):
        """Tie two descriptions of one axis, entry by entry.

        A group is cut where a run of the other description ends within it. Runs with different repeats are pinned.
        """
        while True:
            first, second = self.resolve(first), self.resolve(second)
            for index, (one, other) in enumerate(zip(first, second)):
                if one.repeat != other.repeat:
                    return self.pin(first + second)
                if one.size != other.size:
                    size = min(one.size, other.size)
                    first, second = self._split(first, index, size), self._split(second, index, size)
                    break
            else:
                for one, other in zip(self.resolve(first), self.resolve(second)):
                    self.union(one.group, other.group)
                return None

    def _split(self, runs, index, size):
        """The runs with a boundary after the first `size` channels of one of them."""
        run = runs[index]
        if size == run.size:
            return runs
        if run.group:
            self.cut(run.group, [size])
            return runs
        return (*runs[:index], Run(0, size, run.repeat), Run(0, run.size - size, run.repeat), *runs[index + 1 :])

    def cut(self, group, ends):
        """Split a set after each of these numbers of channels. Its blocks then keep their order."""
        size = self.sizes[group]
        if any(self.find(blocks) == group for blocks in self.blocks.values()):
            self.pin([Run(group, size)])
            return
        blocks = self.blocks.pop(group, None)
        if blocks is not None:
            self.pin([Run(blocks, self.sizes[blocks])])
            ends = {*ends, *range(0, size, size // self.sizes[blocks])}
        bounds = sorted({0, *ends, size})
        opener, first = self.places[group]
        self.cuts[group] = []
        for start, end in pairwise(bounds):
            start, end = start + first, end + first
            piece = self._new(f"{self.names[opener]}[{start}:{end}]", end - start, (opener, start))
            self.cuts[group].append(piece)
            if end - start == 1:
                self.parents[piece] = 0

    def divide(self, group, number):
        """The runs of the group that permutes the `number` blocks of a set; the first call creates that group.

        They are pinned if the set is pinned, has blocks of another size, or is a single block.
        """
        size = self.sizes[group]
        if group == 0 or number == 1:
            return pinned(number)
        if number == size:
            return (Run(group, size),)
        if group not in self.blocks:
            opener, first = self.places[group]
            self.blocks[group] = self._new(f"{self.names[group]}.blocks", number, (opener, first - 0.5))
            self.numbers.add(self.blocks[group])
        if self.sizes[self.blocks[group]] != number:
            self.pin([Run(group, size)])
            return pinned(number)
        return self.resolve([Run(self.blocks[group], number)])

    def settle(self):
        """Cut the sets whose blocks are pinned, so that each block becomes a group. To be called last."""
        while True:
            found = {group: self.find(blocks) for group, blocks in self.blocks.items()}
            self.reason = "it permutes blocks, and is divided into blocks itself"
            nested = next((blocks for blocks in found.values() if blocks in self.blocks), None)
            still = next((group for group, blocks in found.items() if blocks == 0), None)
            if nested is not None:
                self.pin([Run(nested, self.sizes[nested])])
            elif still is not None:
                self.cut(still, [])
            else:
                self.blocks = found
                break
        axes = [(bound, run) for bound in self.axes.values() for run in self.resolve(bound.runs)]
        seen = {run.group for bound, run in axes if run.read or not bound.output}
        self.reason = "nothing reads this part of its channels"
        pieces = (self.find(piece) for piece in chain(*self.cuts.values()))
        self.pin([Run(piece, self.sizes[piece]) for piece in pieces if piece not in seen | self.cuts.keys()])

    def bind(self, tensor, dim, runs, output, order=None, blocks=1):
        """Axis `dim` of a tensor carries `runs`, which are tied to those of earlier uses of the axis."""
        self.reached.add(id(tensor))
        bound = self.axes.setdefault((id(tensor), dim), Bound(runs, output, order, blocks))
        if (bound.order, bound.blocks) == (order, blocks):
            self.tie(bound.runs, runs)
        else:
            self.pin(bound.runs + runs)

    def read(self, runs):
        """Mark the channels of these runs as read by a product (`Segment.read`) with those they are tied to next."""
        those = {run.group for run in self.resolve(runs)} - {0}
        for place, bound in self.axes.items():
            found = self.resolve(bound.runs)
            if those & {run.group for run in found}:
                found = tuple(run._replace(read=run.read or run.group in those) for run in found)
                self.axes[place] = bound._replace(runs=found)

    def fix(self, tensors):
        """Pin all axes of the tensors."""
        for tensor in tensors:
            self.reached.add(id(tensor))
            self.fixed.setdefault(id(tensor), self.reason)
            for dim, size in enumerate(tensor.shape):
                bound = self.axes.setdefault((id(tensor), dim), Bound(pinned(size), output=False))
                self.pin(bound.runs)

    def runs_of(self, ids):
        """(runs, order) of an axis with these ids of channels; order as in `spec.Axis`, None where it is straight."""
        ids = self.even(ids)
        straight = self._straight(ids)
        if straight is not None:
            return straight, None
        owners = ids // _CHANNELS
        first = {group: place for place, group in reversed(list(enumerate(owners.tolist())))}
        rank = torch.tensor([first[group] for group in owners.tolist()])
        order = sorted(range(len(ids)), key=lambda entry: (rank[entry].item(), ids[entry].item(), entry))
        runs = []
        for group in sorted(first, key=first.get):
            entries = int((owners == group).sum())
            size = self.sizes[group] if group else entries
            runs.append(Run(group, size, entries // size))
        return tuple(runs), tuple(order)

    def even(self, ids):
        """The ids in terms of the present groups, cut until all channels of a group occur equally often.

        A group is cut where only some of its channels occur, or some more often than others.
        """
        channels, inverse, counts = ids.unique(return_inverse=True, return_counts=True)
        channels = self._current(channels)
        while uneven := list(self._uneven(channels, counts)):
            for group, ends in uneven:
                self.cut(group, ends)
            channels = self._current(channels)
        return channels[inverse]

    def _current(self, ids):
        current = torch.zeros_like(ids)
        owners = ids // _CHANNELS
        for group in set(owners.tolist()) - {0}:
            mapped = ids_of(self.resolve([Run(group, self.sizes[group])]))
            current[owners == group] = mapped[ids[owners == group] % _CHANNELS]
        return current

    def _uneven(self, ids, counts):
        """(group, where to cut it) for each group whose channels do not all occur equally often."""
        owners = ids // _CHANNELS
        for group in set(owners.tolist()) - {0}:
            found = torch.zeros(self.sizes[group], dtype=torch.int64)
            found.index_add_(0, ids[owners == group] % _CHANNELS, counts[owners == group])
            if len(found.unique()) > 1:
                yield group, (found.diff().nonzero()[:, 0] + 1).tolist()

    def _straight(self, ids):
        """The runs of whole groups that follow each other on an axis; None where they do not."""
        runs, start, owners = [], 0, (ids // _CHANNELS).tolist()
        while start < len(ids):
            group = owners[start]
            same = (ids[start:] != ids[start]).nonzero()
            repeat = int(same[0]) if len(same) else len(ids) - start
            run = Run(group, self.sizes[group], repeat) if group else Run(0, repeat)
            stop = start + run.size * run.repeat
            if not torch.equal(ids[start:stop], ids_of([run])):
                return None
            runs.append(run)
            start = stop
        return tuple(runs)
