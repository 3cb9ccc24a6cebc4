"""The grid of a pair of networks: permutations found at some moments, applied at others, and the lines between.

A cell is (the moment that the permutation was found at, "1+5" where it was found at several at once, or None without
one; the moment of the networks). Rows that are combined are the two networks of each moment in order, then the permuted
second network of each cell.
Source: Sharma et al. 2024, one permutation for the checkpoints of training and for the levels of pruning.
"""

from collections.abc import Iterator, Sequence

import torch

from modeconn.measuring import Combination, Look

Origin = int | str | None
Cell = tuple[Origin, int]


def origins(at: Sequence[int], stacked: Sequence[int] = ()) -> list[int | str]:
    """Where the permutations in a file from align_moments were found, in their order."""
    return [*at, *(["+".join(map(str, stacked))] if stacked else [])]


def cells(along: str, at: Sequence[int], matched: bool, stacked: Sequence[int] = ()) -> list[Cell]:
    """Each permutation at each moment; of levels of pruning the first one's, the dense networks', and each one's own.

    Without permutations (not `matched`) one cell a moment.
    """
    if not matched:
        return [(None, moment) for moment in at]
    if along == "epochs":
        return [(origin, moment) for moment in at for origin in origins(at, stacked)]
    return [(origin, moment) for moment in at for origin in sorted({at[0], moment})]


def looks(at: Sequence[int], found: Sequence[Cell], points: int) -> Iterator[Look]:
    """Both networks of each moment, then the inner ones of `points` values of t on the line of each cell.

    A permutation leaves what a network computes: ends of lines are measured once a moment, and `rows` puts them where
    they belong.
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

    vectors: the rows that were combined, whose distances are the lines' lengths.
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
