"""Select the best network on a curve by images held out of training, and measure it and ensembles on test images.

The best network has the highest accuracy on the held-out images under the attack of the study, or on clean ones if it
has none; of equals, the lowest loss. It is measured on test images once, after that choice, beside both ends of the
curve, the ensemble of both ends and an ensemble along the curve. It is written as a checkpoint of its own.
"""

from modeconn import artifacts, connectivity, manifests, measuring, networks, populations, programs
from modeconn.measuring import Look, View

parser = populations.parser(__doc__, curve=True)
parser.add_argument("--statistics", required=True, **artifacts.INPUT, help="from evaluate_curve, for the same points")
parser.add_argument("--checkpoint", required=True, **manifests.OUTPUT, help="the best network (safetensors)")

# What is measured on test images: single networks, and ensembles of both ends and along the curve.
MARKS = ("first", "second", "best", "ends", "ensemble")


def main(arguments, job):
    values = arguments.job
    pair = populations.load(arguments, job.device)
    control_points = populations.curve_points(arguments, pair, job.device)
    attacks, selection, count = values["tested"], values["selection"], values["evaluation"]["points"]
    statistics = populations.statistics(arguments.statistics, count, job.device)
    path = list(connectivity.along(control_points, values["curve"]["kind"], count))

    def views(look):
        if look.place["mark"] == "curve":
            return [View("hold_out", attack, attacks[attack]) for attack in sorted({"none", selection})]
        return [View("test", attack, attacks[attack]) for attack in sorted(attacks)]

    rows = []
    measuring.measure(
        job,
        pair,
        values["evaluation"],
        control_points,
        looks(rows, path, values["ensemble"], selection),
        views,
        statistics=lambda looks, _: {name: buffer[list(looks[0].points)] for name, buffer in statistics.items()},
        what=f"select on {values['names']['curve']}",
        total=count + len(MARKS),
        ensembles=True,
        measured=rows,
    )

    best = best_of(rows, selection)
    (vector,) = measuring.combine(control_points, path[best].networks)
    network = pair.functional.unpack(vector) | {name: buffer[best] for name, buffer in statistics.items()}
    artifacts.save(
        arguments.checkpoint,
        network,
        {
            **job.provenance("select_network"),
            "t": path[best].place["t"],
            # The arguments of `networks.build`, so that the file is enough to use the network.
            "build": networks.description(values["network"], pair.dataset),
        },
    )
    artifacts.write_rows(arguments.output, rows)


def looks(rows, path, ensemble, selection):
    """What is measured: each point of the curve `path` on its own, then `MARKS`.

    rows: those measured so far; the plan is followed while they grow, since the best point depends on them.
    ensemble: number of networks of the ensemble along the curve, at the points that are nearest to equal steps.
    """

    def look(mark, points):
        members = " ".join(f"{path[point].place['t']:.9g}" for point in points)
        return Look({"mark": mark, "members": members}, [path[point].networks[0] for point in points], points)

    last = len(path) - 1
    for point in range(len(path)):
        yield look("curve", [point])
    along = [round(member * last / (ensemble - 1)) for member in range(ensemble)]
    for mark, points in zip(MARKS, ([0], [last], [best_of(rows, selection)], [0, last], along), strict=True):
        yield look(mark, points)


def best_of(rows, attack):
    """The point of the highest accuracy on held-out images under `attack`; of equals, of the lowest loss."""
    points = [row for row in rows if row["split"] == "hold_out" and row["attack"] == attack]
    return max(range(len(points)), key=lambda point: (points[point]["accuracy"], -points[point]["loss"]))


if __name__ == "__main__":
    programs.run(parser, main)
