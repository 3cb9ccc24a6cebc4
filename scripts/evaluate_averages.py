"""Measure loss and accuracy of averages of several networks of a population, of single ones and of ensembles.

Statistics of batch normalization are re-estimated for each average.
"""

from modeconn import artifacts, averages, measuring, populations, programs
from modeconn.measuring import View

parser = populations.parser(__doc__)


def main(arguments, job):
    values = arguments.job
    population = populations.load(arguments, job.device)
    settings = values["averages"]
    vectors = population.vectors()
    looks = list(averages.looks(len(values["members"]), settings["sizes"], settings["draws"]))
    rows, _ = measuring.measure(
        job,
        population,
        settings,
        vectors,
        looks,
        lambda look: [View("train"), View("test")],
        what=f"average {values['names']['network']}",
        total=len(looks),
        corrections=populations.corrections(population, vectors, settings),
        ensembles=True,
    )
    artifacts.write_rows(arguments.output, populations.of_choices(rows, population.functional.width))


if __name__ == "__main__":
    programs.run(parser, main)
