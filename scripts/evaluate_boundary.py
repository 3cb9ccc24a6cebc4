"""Measure predictions in the plane of a population's first two networks and their average, and the first layer's units.

For data sets of points in the plane in two classes, and fully connected networks without batch normalization.
"""

from modeconn import artifacts, boundaries, manifests, measuring, populations, programs
from modeconn.measuring import Combination

MARKS = {
    "first": Combination([0], [1.0]),
    "second": Combination([1], [1.0]),
    "average": Combination([0, 1], [0.5, 0.5]),
}
DATA = 100  # training points that are shown

parser = populations.parser(__doc__)
parser.add_argument("--units", required=True, **manifests.OUTPUT, help="output: the units of the first layer")


def main(arguments, job):
    values = arguments.job
    population = populations.load(arguments, job.device)
    functional, dataset = population.functional, population.dataset
    names = {name: value for name, value in values["names"].items() if name not in ("population", "pair")}
    names["width"] = functional.width
    vectors = measuring.combine(population.vectors(), list(MARKS.values()))
    x, y = boundaries.grid(dataset, values["boundary"]["points"])
    rows = [
        {**names, "mark": mark, **row}
        for mark, found in zip(MARKS, boundaries.answers(functional, vectors, x, y))
        for row in found
    ]
    shown = zip(dataset.train_images.flatten(1)[:DATA].tolist(), dataset.train_labels[:DATA].tolist())
    rows += [{**names, "mark": "data", "x": a, "y": b, "probability": label} for (a, b), label in shown]
    artifacts.write_rows(arguments.output, rows)
    units = [
        {**names, "mark": mark, **row}
        for mark, vector in zip(("first", "second"), vectors)
        for row in boundaries.units(functional.unpack(vector), "network.dense")
    ]
    artifacts.write_rows(arguments.units, units)


if __name__ == "__main__":
    programs.run(parser, main)
