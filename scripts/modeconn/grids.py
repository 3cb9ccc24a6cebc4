"""The grid of a pair of networks: its lines at each moment, under the permutations found at each moment.

A cell is (the moment that the permutation was found at, "1+5" where it was found at several at once, or None without
one; the moment of the networks). The rows that are combined are both networks of each moment in order, then the
permuted second network of each cell.
Source: Sharma et al. 2024, one permutation for the checkpoints of training and for the levels of pruning.
"""

from collections.abc import Iterator, Sequence

import torch

from modeconn.measuring import Combination, Look

Origin = int | str | None
Cell = tuple[Origin, int]


def origins(at: Sequence[int], stacked: Sequence[int] = ()) -> list[int | str]:
    """The origins of the permutations in a file from align_moments, in their order."""
    return [*at, *(["+".join(map(str, stacked))] if stacked else [])]


def cells(along: str, at: Sequence[int], matched: bool, stacked: Sequence[int] = ()) -> list[Cell]:
    """Epochs: each permutation at each epoch. Levels: at each level the permutation of the first level and its own.

    Without permutations (not `matched`) one cell a moment.
    """
    if not matched:
        return [(None, moment) for moment in at]
    if along == "epochs":
        return [(origin, moment) for moment in at for origin in origins(at, stacked)]
    return [(origin, moment) for moment in at for origin in sorted({at[0], moment})]


def looks(at: Sequence[int], found: Sequence[Cell], points: int) -> Iterator[Look]:
    """Both networks of each moment, then the inner ones of `points` values of t on the line of each cell.

    A permutation does not change a network's outputs, so the ends of lines are measured once for each moment, and
    `rows` inserts them into each line.
    """
    for row in range(2 * len(at)):
        yield Look({"cell": [], "end": row % 2, "moment": at[row // 2], "t": 0.0}, [Combination([row], [1.0])])
    inner = torch.linspace(0, 1, points, dtype=torch.float64)[1:-1].tolist()
    for number, (origin, moment) in enumerate(found):
        ends = 2 * at.index(moment), 2 * len(at) + number
        for t in inner:
            place = {"cell": [origin, moment], "end": -1, "moment": moment, "t": t}
            yield Look(place, [Combination(ends, [1 - t, t])])


def number_of_looks(at: Sequence[int], found: Sequence[Cell], points: int) -> int:
    """How many `looks` there are."""
    return 2 * len(at) + len(found) * (points - 2)


def rows(measured: list[dict], vectors: torch.Tensor, at: Sequence[int], found: Sequence[Cell]) -> Iterator[dict]:
    """Rows of a table, cell by cell from t = 0 to 1, from what was measured of `looks`.

    vectors: the rows that were combined; their distances are the lengths of the lines.
    """
    ends: dict[tuple[int, int], list[dict]] = {}
    between: dict[Cell, list[dict]] = {}
    for row in measured:
        if row["cell"]:
            origin, moment = row["cell"]
            between.setdefault((origin, moment), []).append(row)
        else:
            ends.setdefault((row["end"], row["moment"]), []).append(row)
    for number, (origin, moment) in enumerate(found):
        first, second = vectors[2 * at.index(moment)], vectors[2 * len(at) + number]
        distance = (first.double() - second.double()).norm().item()
        at_one = [row | {"t": 1.0} for row in ends[1, moment]]
        for row in [*ends[0, moment], *between.get((origin, moment), []), *at_one]:
            place = {"permutation": "none" if origin is None else str(origin), "length": row["t"] * distance}
            yield {name: value for name, value in row.items() if name not in ("cell", "end")} | place
