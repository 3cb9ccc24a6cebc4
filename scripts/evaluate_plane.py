"""Measure loss and accuracy on a plane through three networks, at the points of a grid.

With a curve: through both endpoints and the middle of the curve. Without: through the first network, the second as it
was trained and the second as it is aligned. Statistics of batch normalization are re-estimated at each point.
"""

from modeconn import (
    artifacts,
    connectivity,
    curves,
    manifests,
    measuring,
    permutation,
    planes,
    populations,
    programs,
)
from modeconn.measuring import View

# isort: split
import torch  # after ours, which installs the handler of Ctrl-C

parser = populations.parser(__doc__)
parser.add_argument("--curve", **artifacts.INPUT, help="the bends, from fit_curve (default: no curve)")
parser.add_argument("--marks", required=True, **manifests.OUTPUT, help="coordinates of networks and curve (CSV)")

# Number of values of t at which the curve is drawn.
CURVE_POINTS = 65


def main(arguments, job):
    values = arguments.job
    pair = populations.load(arguments, job.device)
    names, settings = values["names"], values["plane"]
    marks = corners(arguments, pair, values, job.device)
    plane = planes.Plane(torch.stack([vector for _, _, vector in marks]))
    rows, _ = measuring.measure(
        job,
        pair,
        settings,
        plane.corners,
        plane.looks(settings["points"], settings["x"], settings["y_curve" if "curve" in values else "y"]),
        lambda look: [View("test")],
        what="evaluate the plane",
        total=settings["points"] ** 2,
    )

    if "curve" in values:
        points = populations.curve_points(arguments, pair, job.device)
        for look in connectivity.along(points, values["curve"]["kind"], CURVE_POINTS):
            marks.append(("curve", look.place["t"], measuring.combine(points, look.networks)[0]))
    x_length, y_length = plane.lengths
    artifacts.write_rows(
        arguments.marks,
        [
            {**names, "mark": mark, "t": t, "x": x, "y": y, "x_length": x_length, "y_length": y_length}
            for mark, t, vector in marks
            for x, y in plane.coordinates(vector[None]).tolist()
        ],
    )
    artifacts.write_rows(arguments.output, rows)


def corners(arguments, pair, values, device):
    """(mark, t, vector (D,)) of the three networks that span the plane."""
    first, second = pair.vectors()
    if "curve" in values:
        points = populations.curve_points(arguments, pair, device)
        (middle,) = curves.weights_at(points[None], values["curve"]["kind"], 0.5)
        return [("first", 0.0, first), ("second", 1.0, second), ("middle", 0.5, middle)]
    if arguments.permutation is None:
        raise ValueError("a plane without a curve goes through the aligned network: give its --permutation")
    found, _ = artifacts.load(arguments.permutation, rule=("align", "refine"))
    trained = pair.permuted(permutation.invert(found)).vectors()[1]
    return [("first", 0.0, first), ("second", 1.0, trained), ("aligned", 1.0, second)]


if __name__ == "__main__":
    programs.run(parser, main)
