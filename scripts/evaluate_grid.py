"""Measure loss and accuracy on the straight lines of a pair at several moments, under permutations found at each.

Statistics of batch normalization are re-estimated at each point.
"""

from modeconn import artifacts, grids, measuring, moments, permutation, populations, programs
from modeconn.measuring import View

# isort: split
import torch  # after ours, which installs the handler of Ctrl-C

parser = populations.parser(__doc__)


def main(arguments, job):
    values = arguments.job
    settings, along, at = values["grid"], values["moments"]["along"], values["moments"]["at"]
    pairs = moments.of_population(arguments, job.device)
    functional = pairs[0].functional
    stacked = values["moments"].get("stacked", [])
    cells = grids.cells(along, at, arguments.permutation is not None, stacked)
    rows = torch.cat([*(pair.vectors() for pair in pairs), permuted(arguments, pairs, at, stacked, cells)])
    measured, _ = measuring.measure(
        job,
        pairs[0],
        settings,
        rows,
        grids.looks(at, cells, settings["points"]),
        lambda look: [View(split) for split in settings["splits"]],
        what=f"measure the grid of {values['names']['network']}",
        total=grids.number_of_looks(at, cells, settings["points"]),
        together=functional.together(settings["batch"]),
    )
    facts = {"along": along, "width": functional.width}
    artifacts.write_rows(arguments.output, [row | facts for row in grids.rows(measured, rows, at, cells)])


def permuted(arguments, pairs, at, stacked, cells):
    """(cells, D): the second network of each cell, its neurons permuted."""
    if arguments.permutation is None:
        return torch.stack([pairs[at.index(moment)].vectors()[1] for _, moment in cells])
    spec = pairs[0].spec()
    orders, _ = artifacts.load(arguments.permutation, rule="align_moments")
    origins, found = grids.origins(at, stacked), []
    for origin, moment in cells:
        order = {group: of_group[origins.index(origin), 1] for group, of_group in orders.items()}
        moved = permutation.apply(spec, order, pairs[at.index(moment)].members[1])
        found.append(pairs[0].functional.pack(moved)[0])
    return torch.stack(found)


if __name__ == "__main__":
    programs.run(parser, main)
