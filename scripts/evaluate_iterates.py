"""Measure loss and accuracy between each two kept epochs of each run, and of averages of the first epochs.

Statistics of normalization layers are re-estimated for each network.
"""

from modeconn import artifacts, iterates, manifests, measuring, moments, populations, programs
from modeconn.measuring import View

# isort: split
import torch  # after ours, which answers Ctrl-C

parser = populations.parser(__doc__, permuted=False)
parser.add_argument("--averages", required=True, **manifests.OUTPUT, help="output: single networks and averages")


def main(arguments, job):
    values = arguments.job
    settings, at, seeds = values["barriers"], values["moments"]["at"], values["members"]
    found = moments.of_population(arguments, job.device)
    functional = found[0].functional
    vectors = torch.stack([population.vectors() for population in found], dim=1)  # (runs, moments, D)
    measured, _ = measuring.measure(
        job,
        found[0],
        settings,
        vectors.flatten(0, 1),
        iterates.looks(len(seeds), len(at), settings["points"]),
        lambda look: [View(split) for split in settings["splits"]],
        what=f"measure the iterates of {values['names']['network']}",
        total=iterates.number_of_looks(len(seeds), len(at), settings["points"]),
        together=functional.together(settings["batch"]),
    )
    points, averages = iterates.rows(measured, vectors, seeds, at)
    for path, rows in ((arguments.output, points), (arguments.averages, averages)):
        artifacts.write_rows(path, [{**row, "width": functional.width} for row in rows])


if __name__ == "__main__":
    programs.run(parser, main)
