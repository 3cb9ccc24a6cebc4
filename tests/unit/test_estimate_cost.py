"""What a plan costs: each program's passes against a count by hand, and hours from what finished trainings measured."""

import json

import pytest
from synthetic_tables import run

import estimate_cost

DATASET = {"source": "cifar10", "train_images": 1000, "hold_out": 100, "test_images": 300, "alignment_fraction": 0.2}
NAMES = {"dataset": "cifar10", "network": "tinyten"}
PGD = {"attack": {"steps": 5}}
PLAIN = {"attack": None}
EVALUATION = {"points": 7, "recalibration": {"images": 0}}
STRONG = {"steps": 50, "restarts": 4}
AUTO = {"attack": {"method": "autoattack", "epsilon": 0.1}}
SELECT = {"evaluation": EVALUATION, "selection": "none", "ensemble": 5}


@pytest.mark.parametrize(
    ("program", "job", "expected"),
    [
        ("train", {"seeds": [1, 2], "recipe": {"epochs": 10} | PLAIN}, 2 * 10 * 900),
        ("train", {"seeds": [1], "recipe": {"epochs": 10} | PGD}, 10 * 900 * 6),
        ("fit_curve", {"recipe": PLAIN, "curve": {"epochs": 4}}, 4 * 900),
        ("align", {"alignment": {"method": "activation"}}, 2 * (180 + 300) / 3),
        ("align", {"alignment": {"method": "activation"} | PGD}, 2 * (180 + 300) / 3 + 2 * 180 * 5),
        ("refine", {"recipe": PLAIN, "alignment": {"epochs": 3, "samples": 4}}, 3 * 900 + 6 * 300),
        ("evaluate_curve", {"evaluation": EVALUATION}, 7 * (900 + 900 + 300) / 3),
        ("evaluate_curve", {"evaluation": EVALUATION | {"recalibration": {"images": 90}}}, 7 * (90 + 900 + 300) / 3),
        ("evaluate_plane", {"plane": EVALUATION}, 49 * (900 + 300) / 3),
        ("evaluate_activations", {"activations": EVALUATION}, 7 * (900 + 8 * 180) / 3),
        ("evaluate_robustness", {"evaluation": EVALUATION} | PGD, 7 * 300 / 3 + 7 * 300 * 5),
        # An attempt ends with a forward pass: in training to take the best of several, in measuring because all count.
        ("train", {"seeds": [1], "recipe": {"epochs": 10, "attack": STRONG}}, 10 * 900 * (1 + 4 * 50 + 4 / 3)),
        ("evaluate_robustness", {"evaluation": EVALUATION, "attack": STRONG}, 7 * 300 * 4 * (50 + 1 / 3)),
        ("evaluate_robustness", {"evaluation": EVALUATION} | AUTO, None),
        # 100 held-out images at each point, then the test images through 3 single networks and ensembles of 2 and 5.
        ("select_network", SELECT | {"attacks": {"none": None}}, 7 * 100 / 3 + 10 * 300 / 3),
        ("select_network", SELECT | {"attacks": {"none": None, "auto": AUTO["attack"]}}, None),
        ("draw_in_the_air", {}, None),
    ],
)
def test_passes_of_a_job(program, job, expected):
    found = estimate_cost.passes(program, job, DATASET)
    assert found == (None if expected is None else pytest.approx(expected))


def test_sizes_of_splits():
    assert estimate_cost.sizes({"source": "tiny_imagenet", "hold_out": 1000}) == (99_000, 10_000)
    assert estimate_cost.sizes({"source": "digits", "test_fraction": 0.2}) == (1438, 359)
    assert estimate_cost.sizes({"source": "moons", "count": 500, "test_fraction": 0.3, "hold_out": 50}) == (300, 150)
    with pytest.raises(ValueError, match="source image_folder has is not known"):
        estimate_cost.sizes({"source": "image_folder", "train_images": 5})


def test_hours_are_passes_by_the_measured_speed(tmp_path):
    jobs = [("prepare_data", {"names": {"dataset": "cifar10"}, "dataset": DATASET}, ["--output", "d.safetensors"])]
    for seed in (1, 2):
        job = {"names": NAMES, "seeds": [seed], "recipe": {"epochs": 100} | PGD}
        jobs.append(("train", job, ["--data", "d.safetensors", "--output", f"{tmp_path}/seeds{seed}.safetensors"]))
    jobs.append(("fly", {"names": NAMES}, ["--data", "d.safetensors", "--output", "f.csv"]))
    commands = (
        f"    Shell command: python scripts/{program}.py --job '{json.dumps(job)}' {' '.join(rest)} > log 2>&1"
        for program, job, rest in jobs
    )
    plan = tmp_path / "plan.txt"
    plan.write_text("Building DAG of jobs...\n" + "\n".join(commands) + "\n")

    before = run("estimate_cost", "--plan", plan)
    assert before.returncode == 0, before.stderr
    assert "not measured" in before.stdout and "Not counted: 1 jobs of fly." in before.stdout

    # 10 images a second under an attack of 5 steps are 60 passes a second: 1,080,000 passes take 5 hours.
    (tmp_path / "seeds1.safetensors").touch()
    (tmp_path / "seeds1.cost.json").write_text(json.dumps({"images_per_second": 10, "device": "cpu", "resumed": False}))
    row = next(line.split() for line in run("estimate_cost", "--plan", plan).stdout.splitlines() if "tinyten" in line)
    assert row == ["tinyten", "cifar10", "2", "1.1", "60", "5.0", "cpu"]
