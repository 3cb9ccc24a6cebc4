"""What a plan costs: each program's passes against a count by hand, and hours from what finished trainings measured."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file
from synthetic_tables import SCRIPTS, run

import estimate_cost
from modeconn import configuration, dispatch
from modeconn.plan import Plan

DATASET = {"source": "cifar10", "train_images": 1000, "hold_out": 100, "test_images": 300, "alignment_fraction": 0.2}
NAMES = {"dataset": "cifar10", "network": "tinyten"}
PGD = {"attack": {"steps": 5}}
PLAIN = {"attack": None}
EVALUATION = {"points": 7, "recalibration": {"images": 0}}
STRONG = {"steps": 50, "restarts": 4}
AUTO = {"attack": {"method": "autoattack", "epsilon": 0.1}}
MOMENTS, LEVELS = ({"moments": {"along": along, "at": [0, 1, 5]}} for along in ("epochs", "levels"))
STACKED = {"moments": {"along": "epochs", "at": [0, 1, 5], "stacked": [1, 5]}}
GRID = {"network": {"norm": "layer"}, "grid": EVALUATION | {"points": 11, "splits": ["test"]}}
SELECT = {"evaluation": EVALUATION, "selection": "none", "ensemble": 5}


@pytest.mark.parametrize(
    ("program", "job", "expected"),
    [
        ("train", {"seeds": [1, 2], "recipe": {"epochs": 10} | PLAIN}, 2 * 10 * 900),
        ("train", {"seeds": [1], "recipe": {"epochs": 10} | PGD}, 10 * 900 * 6),
        ("fit_curve", {"recipe": PLAIN, "curve": {"epochs": 4}}, 4 * 900),
        ("align", {"members": [1, 2], "alignment": {"method": "activation"}}, 2 * 180 / 3),
        ("align", {"members": [1, 2, 3], "alignment": {"method": "activation"}}, 4 * 180 / 3),
        ("align", {"members": [1, 2], "alignment": {"method": "activation"} | PGD}, 2 * 180 * (5 + 1 / 3)),
        # Weights are matched without an image.
        ("align", {"members": [1, 2], "alignment": {"method": "weight"}}, 0),
        ("evaluate_signature", {"alignment": {"method": "weight"}}, 2 * (180 + 300) / 3),
        ("evaluate_signature", {"alignment": {"method": "activation"} | PGD}, 2 * (180 + 300) / 3 + 2 * 180 * 5),
        ("refine", {"recipe": PLAIN, "alignment": {"epochs": 3, "samples": 4}}, 3 * 900 + 6 * 300),
        ("evaluate_curve", {"evaluation": EVALUATION}, 7 * (900 + 900 + 300) / 3),
        ("evaluate_curve", {"evaluation": EVALUATION | {"recalibration": {"images": 90}}}, 7 * (90 + 900 + 300) / 3),
        ("evaluate_curve", {"evaluation": EVALUATION} | PGD, 7 * (900 * (5 + 1 / 3) + (900 + 300) / 3)),
        ("evaluate_plane", {"plane": EVALUATION}, 49 * (900 + 300) / 3),
        ("evaluate_activations", {"activations": EVALUATION}, 7 * (900 + 8 * 180) / 3),
        (
            "evaluate_curve",
            {"evaluation": EVALUATION, "attacks": {"pgd": PGD["attack"]}},
            7 * (900 + 900 + 300) / 3 + 7 * 300 * (5 + 1 / 3),
        ),
        # Ten single networks, three choices of two, and all: of the last two each member again, as an ensemble.
        (
            "evaluate_averages",
            {"members": list(range(10)), "averages": EVALUATION | {"sizes": [1, 2, 10, 50], "draws": 3}},
            (10 + 3 * 3 + 11) * (900 + 1200) / 3,
        ),
        # Three networks, and nine points between each two.
        (
            "evaluate_barriers",
            {"members": [1, 2, 3], "barriers": EVALUATION | {"points": 11, "splits": ["test"]}},
            30 * (900 + 300) / 3,
        ),
        # The same, and twice corrected.
        (
            "evaluate_barriers",
            {
                "members": [1, 2, 3],
                "barriers": EVALUATION | {"points": 11, "splits": ["test"], "corrections": ["repair", "temperature"]},
            },
            3 * 30 * (900 + 300) / 3,
        ),
        ("evaluate_boundary", {"boundary": {"points": 7}}, 3 * 49 / 3),
        # Two triangles of 1 + 2 + ... + 7 points.
        ("evaluate_triangles", {"members": list(range(8)), "triangles": EVALUATION}, 2 * 28 * (900 + 300) / 3),
        # Each network once.
        (
            "evaluate_disagreement",
            {"members": ["a:1", "a:2", "b:1"], "barriers": EVALUATION | {"splits": ["test"]}},
            3 * (900 + 300) / 3,
        ),
        # Of each of two runs three epochs, nine points between each two, and the averages of two and of three.
        (
            "evaluate_iterates",
            MOMENTS | {"members": [1, 2], "barriers": EVALUATION | {"points": 11, "splits": ["train", "test"]}},
            2 * (3 + 27 + 2) * (900 + 900 + 300) / 3,
        ),
        # A level of pruning trains on from the rewound epoch.
        ("prune", {"seeds": [1, 2], "recipe": {"epochs": 10, "attack": None, "pruning": {"rewind": 1}}}, 2 * 9 * 900),
        # Two masks of one network.
        (
            "train_masked",
            {"masks": ["own", "random"], "recipe": {"epochs": 10, "attack": None, "pruning": {"rewind": 1}}},
            2 * 9 * 900,
        ),
        ("align_moments", MOMENTS | {"members": [1, 2], "alignment": {"method": "activation"}}, 3 * 2 * 180 / 3),
        # Six ends; nine permuted pairs, of levels the dense permutation and two more, and three unaligned ones; layer
        # normalization has no statistics.
        ("evaluate_grid", MOMENTS | GRID | {"names": {"alignment": "weight"}}, (6 + 9 * 9) * 300 / 3),
        ("evaluate_grid", LEVELS | GRID | {"names": {"alignment": "weight"}}, (6 + 5 * 9) * 300 / 3),
        ("evaluate_grid", STACKED | GRID | {"names": {"alignment": "weight"}}, (6 + 12 * 9) * 300 / 3),
        ("align_moments", STACKED | {"members": [1, 2], "alignment": {"method": "activation"}}, 5 * 2 * 180 / 3),
        ("evaluate_grid", LEVELS | GRID | {"names": {"alignment": "none"}}, (6 + 3 * 9) * 300 / 3),
        # An attempt ends with a forward pass: in training to take the best of several, in measuring because all count.
        ("train", {"seeds": [1], "recipe": {"epochs": 10, "attack": STRONG}}, 10 * 900 * (1 + 4 * 50 + 4 / 3)),
        (
            "evaluate_curve",
            {"evaluation": EVALUATION, "attacks": {"strong": STRONG}},
            7 * 2100 / 3 + 7 * 300 * 4 * (50 + 1 / 3),
        ),
        ("evaluate_curve", {"evaluation": EVALUATION, "attacks": {"auto": AUTO["attack"]}}, None),
        # 100 held-out images at each point, then the test images through 3 single networks and ensembles of 2 and 5.
        ("select_network", SELECT | {"tested": {"none": None}}, 7 * 100 / 3 + 10 * 300 / 3),
        ("select_network", SELECT | {"tested": {"none": None, "auto": AUTO["attack"]}}, None),
        ("draw_in_the_air", {}, None),
    ],
)
def test_passes_of_a_job(program, job, expected):
    found = estimate_cost.passes(program, job, DATASET, estimate_cost.sizes(DATASET))
    assert found == (None if expected is None else pytest.approx(expected))


def test_sizes_of_splits():
    assert estimate_cost.sizes({"source": "tiny_imagenet", "hold_out": 1000}) == (99_000, 10_000)
    assert estimate_cost.sizes({"source": "digits", "test_fraction": 0.2}) == (1438, 359)
    assert estimate_cost.sizes({"source": "mnist_5k", "test_fraction": 0.5}) == (2500, 2500)
    assert estimate_cost.sizes({"source": "moons", "count": 500, "test_fraction": 0.3, "hold_out": 50}) == (300, 150)


def own_arrays(folder):
    """An .npz of 30 and 10 images of 400 features, as a source."""
    arrays = {"x_train": np.zeros((30, 400)), "y_train": np.arange(30), "x_test": np.zeros((10, 400))}
    np.savez(folder / "own.npz", **arrays, y_test=np.arange(10))
    return {"source": "npz", "path": str(folder / "own.npz"), "alignment_fraction": 0.2}


def test_sizes_of_ones_own_data_are_read_where_they_stand(tmp_path, one_line):
    """Named in the config they would be another data set, on which everything is trained anew."""
    arrays = own_arrays(tmp_path)
    assert estimate_cost.sizes(arrays) == (30, 10)
    assert estimate_cost.sizes({**arrays, "train_images": 20, "hold_out": 5}) == (15, 10)
    for name in (
        "train/a/1.png",
        "train/a/2.png",
        "train/b/1.png",
        "train/b/Thumbs.db",
        "test/a/1.png",
        "test/b/1.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert estimate_cost.sizes({"source": "image_folder", "path": str(tmp_path)}) == (3, 2)

    data = tmp_path / "own-12345678.safetensors"
    labels = {"train_labels": np.zeros(7, int), "test_labels": np.zeros(3, int), "hold_out_labels": np.zeros(2, int)}
    save_file(labels, data, {"modeconn": '{"rule": "prepare_data", "classes": 2}'})
    (tmp_path / "own.npz").unlink()
    assert estimate_cost.sizes(arrays, data) == (7, 3)
    data.write_bytes(data.read_bytes()[:20])
    with one_line(ValueError, data, "cannot be read", "prepare_data"):
        estimate_cost.sizes(arrays, data)
    with one_line(ValueError, "own.npz is no file"):
        estimate_cost.sizes(arrays, tmp_path / "not made")
    (tmp_path / "own.npz").write_bytes(b"no archive")
    with one_line(ValueError, "own.npz is no .npz with an array y_train"):
        estimate_cost.sizes(arrays)
    with one_line(ValueError, "absent/train does not exist"):
        estimate_cost.sizes({"source": "image_folder", "path": str(tmp_path / "absent")})


def test_costs_are_estimated_without_torch():
    check = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import estimate_cost; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


CONFIG = """
name: costs
datasets: {cifar10: {source: cifar10, train_images: 1000, hold_out: 100, test_images: 300}}
networks: {tinyten: {family: tinyten}}
attacks: {pgd: {epsilon: 0.1, step: 0.05, steps: 5}, auto: {method: autoattack, epsilon: 0.1}}
recipes: {robust: {epochs: 100, attack: pgd}}
curves: {linear: {kind: linear}}
evaluation: {points: 3}
studies: {alignment: [{dataset: cifar10, network: tinyten, recipe: robust, pairs: [[1, 2]], attack: auto}]}
"""


def test_hours_are_passes_by_the_measured_speed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "costs.yaml").write_text(CONFIG)

    before = run("estimate_cost", "--config", "costs.yaml")
    assert before.returncode == 0, before.stderr
    assert "not measured" in before.stdout and "Not counted: 1 jobs of evaluate_curve." in before.stdout

    # 10 images a second under an attack of 5 steps are 60 passes a second: 1,080,000 passes take 5 hours.
    config = configuration.read("costs.yaml")
    configuration.complete(config, configuration.schema())
    first = tmp_path / Plan(config, configuration.schema()).outputs("train", "networks")[0]
    first.parent.mkdir(parents=True)
    first.touch()
    row = {"images_per_second": 10, "device": "cpu", "resumed": False}
    first.with_name(first.name.replace(".safetensors", ".cost.json")).write_text(json.dumps(row))
    lines = run("estimate_cost", "--config", "costs.yaml").stdout.splitlines()
    row = next(line.split() for line in lines if "tinyten" in line)
    assert row == ["tinyten", "cifar10", "2", "1.1", "60", "5.0", "cpu"]


def test_the_number_of_images_of_each_source_is_known():
    counted = {"image_folder", "npz", *configuration.POINTS}  # where they stand, or by the config
    assert dispatch.SOURCES.keys() == estimate_cost.TOTALS.keys() | estimate_cost.SIZES.keys() | counted
