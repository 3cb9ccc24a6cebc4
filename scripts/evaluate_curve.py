"""Loss and accuracy along a curve, or the straight line.

Statistics of normalization layers are re-estimated at each point.
"""

from modeconn import artifacts, classification, connectivity, manifests, pairs, programs

# isort: split
import torch  # after ours, which answers Ctrl-C

parser = programs.parser(__doc__)
pairs.add_arguments(parser)
pairs.add_curve_argument(parser)
parser.add_argument("--statistics", required=True, **manifests.OUTPUT, help="the re-estimated statistics (safetensors)")

SPLITS = ("train", "test")


def main(arguments, job):
    values = arguments.job
    pair = pairs.load(arguments, job.device)
    evaluation, functional = values["evaluation"], pair.functional
    control_points = pairs.curve_points(arguments, pair, job.device)
    count = evaluation["points"]
    path = connectivity.along(control_points, values["curve"]["kind"], count)

    statistics, facts = job.state.load(job.device) or ({}, {"rows": []})
    rows = facts["rows"]
    done = len(rows) // len(SPLITS)
    for t, length, vectors in job.points(path, count, f"evaluate {values['names']['curve']}", done):
        buffers = connectivity.recalibrated(functional, vectors, pair.dataset, evaluation["recalibration"], values)
        statistics.update({name: torch.cat([statistics[name], b]) if t else b for name, b in buffers.items()})
        for split in SPLITS:
            loss, accuracy = classification.evaluate(
                functional, vectors, buffers, *pair.dataset.split(split), evaluation["batch"]
            )
            place = {**values["names"], "t": t, "length": length, "split": split, "attack": "none"}
            rows.append({**place, "loss": loss.item(), "accuracy": accuracy.item()})
        job.state.offer(lambda: (statistics, {"rows": rows}))

    artifacts.save(
        arguments.statistics,
        statistics,
        job.provenance("evaluate_curve"),
    )
    artifacts.write_rows(arguments.output, rows)


if __name__ == "__main__":
    programs.run(parser, main)
