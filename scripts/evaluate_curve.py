"""Measure loss and accuracy along a curve or the straight line, also on test images attacked at each point.

Statistics of batch normalization are re-estimated at each point.
"""

from modeconn import artifacts, connectivity, manifests, measuring, populations, programs
from modeconn.measuring import View

parser = populations.parser(__doc__, curve=True)
parser.add_argument("--statistics", required=True, **manifests.OUTPUT, help="the re-estimated statistics (safetensors)")


def main(arguments, job):
    values = arguments.job
    pair = populations.load(arguments, job.device)
    evaluation = values["evaluation"]
    control_points = populations.curve_points(arguments, pair, job.device)
    count = evaluation["points"]
    attacked = [View("test", name, attack) for name, attack in sorted(values.get("attacks", {}).items())]
    views = [View("train"), View("test"), *attacked]
    rows, statistics = measuring.measure(
        job,
        pair,
        evaluation,
        control_points,
        connectivity.along(control_points, values["curve"]["kind"], count),
        lambda look: views,
        what=f"evaluate {values['names']['curve']}",
        total=count,
        keep=True,
    )
    artifacts.save(arguments.statistics, statistics, job.provenance("evaluate_curve"))
    artifacts.write_rows(arguments.output, rows)


if __name__ == "__main__":
    programs.run(parser, main)
