"""Loss and accuracy along a curve on test images attacked at each of its points."""

from modeconn import artifacts, classification, connectivity, pairs, programs

parser = programs.parser(__doc__)
pairs.add_arguments(parser)
pairs.add_curve_argument(parser)
parser.add_argument("--statistics", required=True, **artifacts.INPUT, help="from evaluate_curve, for the same points")


def main(arguments, job):
    values = arguments.job
    pair = pairs.load(arguments, job.device)
    evaluation = values["evaluation"]
    control_points = pairs.curve_points(arguments, pair, job.device)
    count = evaluation["points"]
    statistics = pairs.statistics(arguments.statistics, count, job.device)
    path = connectivity.along(control_points, values["curve"]["kind"], count)

    _, facts = job.state.load() or ({}, {"rows": []})
    rows = facts["rows"]
    for t, length, vectors in job.points(path, count, f"attack {values['names']['curve']}", len(rows)):
        point = len(rows)
        loss, accuracy = classification.evaluate(
            pair.functional,
            vectors,
            {name: buffer[point : point + 1] for name, buffer in statistics.items()},
            *pair.dataset.split("test"),
            evaluation["batch"],
            attack=values["attack"],
        )
        place = {**values["names"], "t": t, "length": length, "split": "test", "attack": values["attack_name"]}
        rows.append({**place, "loss": loss.item(), "accuracy": accuracy.item()})
        job.state.offer(lambda: ({}, {"rows": rows}))
    artifacts.write_rows(arguments.output, rows)


if __name__ == "__main__":
    programs.run(parser, main)
