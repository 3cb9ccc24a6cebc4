"""Measure loss and accuracy along the straight lines between all pairs of a population.

Statistics of batch normalization are re-estimated at each point.
"""

from modeconn import artifacts, lines, measuring, populations, programs
from modeconn.measuring import View

parser = populations.parser(__doc__)


def main(arguments, job):
    values = arguments.job
    population = populations.load(arguments, job.device)
    settings, functional, seeds = values["barriers"], population.functional, values["members"]
    vectors = population.vectors()
    measured, _ = measuring.measure(
        job,
        population,
        settings,
        vectors,
        lines.looks(len(seeds), settings["points"]),
        lambda look: [View(split) for split in settings["splits"]],
        what=f"measure the barriers of {values['names']['network']}",
        total=lines.number_of_looks(len(seeds), settings["points"]),
        together=functional.together(settings["batch"]),
        corrections=populations.corrections(population, vectors, settings),
    )
    width = functional.width
    rows = ({**row, "width": width} for row in lines.rows(measured, vectors, seeds))
    artifacts.write_rows(arguments.output, list(rows))


if __name__ == "__main__":
    programs.run(parser, main)
