"""Measure loss and accuracy on triangles between three networks of a population, at the points of a grid.

Statistics of normalization layers are re-estimated at each point.
"""

from modeconn import artifacts, measuring, populations, programs, triangles
from modeconn.measuring import View

parser = populations.parser(__doc__)


def main(arguments, job):
    values = arguments.job
    population = populations.load(arguments, job.device)
    settings, functional, seeds = values["triangles"], population.functional, values["members"]
    rows, _ = measuring.measure(
        job,
        population,
        settings,
        population.vectors(),
        triangles.looks(seeds, settings["points"]),
        lambda look: [View("test")],
        what=f"measure triangles of {values['names']['network']}",
        total=triangles.number_of_looks(len(seeds), settings["points"]),
        together=functional.together(settings["batch"]),
    )
    artifacts.write_rows(arguments.output, populations.of_choices(rows, functional.width))


if __name__ == "__main__":
    programs.run(parser, main)
