"""Iterates of one training run: the lines between each two of its epochs, and the averages of its first ones.

Averaging iterates is stochastic weight averaging (Izmailov et al. 2018). Iterates of one run need no permutation
(Kalaivanan 2023: the implicit case).
"""

from collections.abc import Iterator

import torch

from modeconn import lines
from modeconn.measuring import Combination, Look


def looks(runs: int, moments: int, points: int) -> Iterator[Look]:
    """Run after run: its lines (`lines.looks`), then the averages of its first 2, 3, ... networks.

    Networks are numbered run by run, those of a run by their moments.
    """
    for run in range(runs):
        of_run = range(run * moments, (run + 1) * moments)
        for look in lines.looks(moments, points):
            networks = [Combination([of_run[member] for member in n.members], n.coefficients) for n in look.networks]
            yield Look({"run": run, **look.place}, networks)
        for size in range(2, moments + 1):
            yield Look({"run": run, "size": size}, [Combination(of_run[:size], [1 / size] * size)])


def number_of_looks(runs: int, moments: int, points: int) -> int:
    return runs * (lines.number_of_looks(moments, points) + moments - 1)


def rows(measured: list[dict], vectors: torch.Tensor, seeds: list[int], at: list[int]) -> tuple[list[dict], list[dict]]:
    """Rows of two tables from the measurements of `looks`: points of lines, and single networks and averages.

    vectors: (runs, moments, D); seeds: the names of the runs; at: the names of the moments.
    """
    points, averages = [], []
    for run, seed in enumerate(seeds):
        own = [{k: v for k, v in row.items() if k not in ("run", "pair")} for row in measured if row["run"] == run]
        of_lines = [row for row in own if "ends" in row]
        points += [{**row, "seeds": seed} for row in lines.rows(of_lines, vectors[run], at)]
        for row in own:
            mark, size = ("average", row["size"]) if "size" in row else ("iterate", 1)
            moment = at[size - 1] if mark == "average" else at[row["ends"][0]]
            if mark == "average" or row["ends"][0] == row["ends"][1]:
                place = {"seeds": seed, "moment": moment, "size": size, "mark": mark}
                averages.append({k: v for k, v in row.items() if k not in ("ends", "t", "population")} | place)
    return points, averages
