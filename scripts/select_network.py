"""Select the best network on a curve by images held out of training, and measure it and ensembles on test images.

The best network is that of the highest accuracy on the held-out images under the attack of the study, or on clean ones
where there is none; of equals that of the lowest loss. Test images see it once, after that choice, beside both ends of
the curve, the ensemble of both ends and an ensemble along the curve. It is written as a checkpoint of its own.
"""

from modeconn import artifacts, classification, curves, manifests, networks, pairs, programs
from modeconn.ensembles import Ensemble

# isort: split
import torch  # after ours, which answers Ctrl-C

parser = programs.parser(__doc__)
pairs.add_arguments(parser)
pairs.add_curve_argument(parser)
parser.add_argument("--statistics", required=True, **artifacts.INPUT, help="from evaluate_curve, for the same points")
parser.add_argument("--checkpoint", required=True, **manifests.OUTPUT, help="the best network (safetensors)")

# What is tested: single networks, and ensembles of both ends and along the curve.
MARKS = ("first", "second", "best", "ends", "ensemble")


def main(arguments, job):
    values = arguments.job
    pair = pairs.load(arguments, job.device)
    control_points = pairs.curve_points(arguments, pair, job.device)
    attacks, selection, count = values["attacks"], values["selection"], values["evaluation"]["points"]
    statistics = pairs.statistics(arguments.statistics, count, job.device)
    splits = {name: pair.dataset.split(name) for name in ("hold_out", "test")}
    t = torch.linspace(0, 1, count, dtype=torch.float64)

    def members(points):
        """Vectors (M, D) and buffers, name -> (M, ...), of the networks at these points."""
        vectors = curves.weights_at(control_points[None], values["curve"]["kind"], t[points])
        return vectors, {name: buffer[points] for name, buffer in statistics.items()}

    _, facts = job.state.load() or ({}, {"rows": []})
    rows = facts["rows"]
    done = len({(row["mark"], row["members"]) for row in rows})
    planned = plan(rows, count, values["ensemble"], selection)
    total = count + len(MARKS)
    for mark, points in job.points(planned, total, f"select on {values['names']['curve']}", done):
        vectors, buffers = members(points)
        split = "hold_out" if mark == "curve" else "test"
        for attack in sorted({"none", selection} if mark == "curve" else attacks):
            loss, accuracy = classification.evaluate(
                Ensemble(pair.functional),
                vectors[None],
                {name: buffer[None] for name, buffer in buffers.items()},
                *splits[split],
                values["evaluation"]["batch"],
                attack=attacks[attack],
            )
            place = {"mark": mark, "members": " ".join(f"{t[point]:.9g}" for point in points)}
            numbers = {"split": split, "attack": attack, "loss": loss.item(), "accuracy": accuracy.item()}
            rows.append({**values["names"], **place, **numbers})
        job.state.offer(lambda: ({}, {"rows": rows}))

    best = best_of(rows, selection)
    vectors, buffers = members([best])
    network = pair.functional.unpack(vectors[0]) | {name: buffer[0] for name, buffer in buffers.items()}
    artifacts.save(
        arguments.checkpoint,
        network,
        {
            **job.provenance("select_network"),
            "t": t[best].item(),
            # What `networks.build` needs: the file is enough to use the network.
            "build": networks.description(values["network"], pair.dataset),
        },
    )
    artifacts.write_rows(arguments.output, rows)


def plan(rows, count, ensemble, selection):
    """(mark, points) of what is to be measured: each point of the curve on its own, then `MARKS`.

    rows: as they grow while the plan is followed, since which point is best comes out on the way.
    ensemble: number of networks of the ensemble along the curve, at the points that are nearest to equal steps.
    """
    for point in range(count):
        yield "curve", [point]
    last = count - 1
    along = [round(member * last / (ensemble - 1)) for member in range(ensemble)]
    yield from zip(MARKS, ([0], [last], [best_of(rows, selection)], [0, last], along), strict=True)


def best_of(rows, attack):
    """The point of the highest accuracy on held-out images under `attack`, of equals that of the lowest loss."""
    points = [row for row in rows if row["split"] == "hold_out" and row["attack"] == attack]
    return max(range(len(points)), key=lambda point: (points[point]["accuracy"], -points[point]["loss"]))


if __name__ == "__main__":
    programs.run(parser, main)
