"""How alike the activations along a curve are to those of its endpoints, layer by layer.

At each t the network is compared with both endpoints on the images of the alignment split: mean correlation and L2
distance of its activations, as they are and if the network at t were aligned to the endpoint.
"""

from modeconn import artifacts, connectivity, pairs, programs, similarity

parser = programs.parser(__doc__)
pairs.add_arguments(parser)
parser.add_argument("--curve", metavar="FILE", help="the bends, from fit_curve (default: the straight line)")
parser.add_argument("--statistics", required=True, metavar="FILE", help="from evaluate_curve, for the same points")


def main(arguments, job):
    values = arguments.job
    pair = pairs.load(arguments, job.device)
    spec = pair.spec()
    control_points = pairs.curve_points(arguments, pair, job.device)
    statistics, _ = artifacts.load(arguments.statistics, job.device, "evaluate_curve")
    count, functional = values["evaluation"]["points"], pair.functional
    images, _ = pair.dataset.split("alignment")

    def state(vector, point):
        """State dict of the network at a point of the curve."""
        return functional.unpack(vector) | {name: buffer[point] for name, buffer in statistics.items()}

    ends = [state(control_points[point], point) for point in (0, -1)]
    path = connectivity.along(control_points, values["curve"]["kind"], count)
    _, facts = job.state.load() or ({}, {"rows": []})
    rows = facts["rows"]
    done = len({row["t"] for row in rows})
    points = job.points(path, count, f"activations along {values['names']['curve']}", done)
    for point, (t, length, vectors) in enumerate(points, done):
        place = {**values["names"], "t": t, "length": length, "split": "alignment"}
        measured = similarity.to_ends(functional.network, spec, state(vectors[0], point), ends, images)
        rows.extend(place | row for row in measured)
        job.state.offer(lambda: ({}, {"rows": rows}))
    artifacts.write_rows(arguments.output, rows)


if __name__ == "__main__":
    programs.run(parser, main)
