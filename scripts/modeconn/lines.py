"""Straight lines between all pairs of a population: the points to measure, and the rows of their table."""

from collections.abc import Iterator
from itertools import combinations

import torch

from modeconn.measuring import Combination, Look


def looks(count: int, points: int) -> Iterator[Look]:
    """Each of `count` members, then the inner ones of `points` values of t on the line between each two of them.

    Ends of lines are members, which are measured once; `rows` inserts them into each line.
    """
    for member in range(count):
        yield Look({"ends": [member, member], "t": 0.0}, [Combination([member], [1.0])])
    inner = torch.linspace(0, 1, points, dtype=torch.float64)[1:-1].tolist()
    for first, second in combinations(range(count), 2):
        for t in inner:
            yield Look({"ends": [first, second], "t": t}, [Combination([first, second], [1 - t, t])])


def number_of_looks(count: int, points: int) -> int:
    return count + count * (count - 1) // 2 * (points - 2)


def rows(measured: list[dict], vectors: torch.Tensor, seeds: list[int]) -> Iterator[dict]:
    """Rows of a table, pair by pair from t = 0 to 1, from the measurements of `looks`.

    vectors: (N, D), whose distances are the lines' lengths; seeds: the members' names.
    """
    ends: dict[int, list[dict]] = {}
    between: dict[tuple[int, int], list[dict]] = {}
    for row in measured:
        first, second = row["ends"]
        if first == second:
            ends.setdefault(first, []).append(row | {"t": 0.0})
        else:
            between.setdefault((first, second), []).append(row)
    # With two networks there may be no point between the ends.
    for first, second in combinations(range(len(seeds)), 2):
        distance = (vectors[first].double() - vectors[second].double()).norm().item()
        at_one = [row | {"t": 1.0} for row in ends[second]]
        for row in [*ends[first], *between.get((first, second), []), *at_one]:
            place = {"pair": f"{seeds[first]}-{seeds[second]}", "length": row["t"] * distance}
            yield {name: value for name, value in row.items() if name not in ("ends", "population")} | place
