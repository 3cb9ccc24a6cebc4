"""Edit by edit: exactly these jobs run again. A dry run after a real run says which."""

import copy
import os
import shutil

import pytest

import explain_plan
from modeconn import fingerprint
from workflow.checkout import FIGURES, TINY, Checkout

ROOM = "scripts/modeconn/"
TO_TABLES = {"make_tables": 1, "compare_paper": 1, "judge_claims": 1}
REPORT = {"write_report": 1, "all": 1}
# What is made anew wherever a measurement may have changed.
DOWNSTREAM = TO_TABLES | FIGURES | REPORT
BESIDES = {"evaluate_plane": 3, "evaluate_activations": 2}
CURVES = {"fit_curve": 8, "evaluate_curve": 14, "evaluate_robustness": 4, "select_network": 4} | BESIDES
# The config itself is written out with the tables, and what they are made from is listed.
CONFIG = {"write_config": 1, "list_measurements": 1}


def test_nothing_edited(finished):
    assert finished.planned() == {}


def touch_all(checkout):
    for path in checkout.path.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path)


def test_all_files_touched(finished, tmp_path):
    checkout = finished.copy(tmp_path / "project")
    touch_all(checkout)
    assert checkout.planned() == {}


@pytest.mark.parametrize(
    ("pattern", "jobs"),
    [
        ("results/*/summary.txt", {"judge_claims": 1}),
        ("results/*/tables/pairs.csv", TO_TABLES | FIGURES),
        ("results/*/figures/*/spectrum*.pdf", {"draw": 2}),
        ("results/best/*/*/*/1-2/none/bezier-*/*.csv", {"select_network": 1}),
        ("results/best/*/*/*/1-2/none/bezier-*/*.safetensors", {"select_network": 1}),
        ("results/alignments/*/*/robust-*/*/activation-*.csv", {"align": 1}),
        ("results/networks/*/*/*/seeds1.safetensors", {"train": 2}),
    ],
)
def test_what_is_deleted_is_made_again(finished, tmp_path, pattern, jobs):
    checkout = finished.copy(tmp_path / "project")
    paths = list(checkout.path.glob(pattern))
    assert paths
    for path in paths:
        path.unlink()
    planned = checkout.planned()
    assert planned.keys() >= jobs.keys() | REPORT.keys()
    assert {rule: planned[rule] for rule in jobs} == jobs
    # Also where only tables are asked for.
    of_tables = {rule: number for rule, number in jobs.items() if rule != "draw"}
    planned = checkout.planned("tables")
    assert {rule: planned[rule] for rule in of_tables} == of_tables and "draw" not in planned


def test_an_edit_is_seen_where_records_are_lost(finished, tmp_path):
    """Manifests say from which values and source a measurement was made; what takes seconds is made again."""
    checkout = finished.copy(tmp_path / "project")
    shutil.rmtree(checkout.path / ".snakemake")
    again = CONFIG | TO_TABLES | FIGURES | REPORT
    assert checkout.planned() == again
    shutil.rmtree(checkout.path / ".snakemake")
    with checkout.edited(f"{ROOM}matching/weight.py", "BLOCK = 2**16", "BLOCK = 2**15"):
        done = checkout.run("--dry-run", "--printshellcmds", "--quiet", "host")
    assert ["align", "1", "source of matching.weight"] in explain_plan.rows(done.stdout + done.stderr)
    shutil.rmtree(checkout.path / ".snakemake")
    with checkout.configured(lambda config: config["curves"]["bezier"].update(optimizer={"learning_rate": 0.02})):
        planned = checkout.planned()
    assert planned["fit_curve"] == CURVES["fit_curve"] and "align" not in planned and "train" not in planned


def test_a_file_above_a_megabyte_touched(tmp_path):
    """Contents count, not dates, also above the size up to which Snakemake compares them by itself."""
    config = copy.deepcopy(TINY)
    config["datasets"]["digits"]["size"] = 32
    config["recipes"]["standard"].update(epochs=1, population=2)
    config["studies"]["alignment"] = [TINY["studies"]["alignment"][0]]
    checkout = Checkout(tmp_path / "project", config)
    checkout.run("--cores", "2", "networks")
    (data,) = (checkout.path / "results/data").glob("*.safetensors")
    assert data.stat().st_size > 1_000_000
    touch_all(checkout)
    # The data newer than what was made of them, however coarse the clock of files is.
    later = data.stat().st_mtime + 2
    os.utime(data, (later, later))
    # What the profile is there for: with Snakemake's own limit the date of the data counts.
    assert checkout.planned("--max-checksum-file-size", "1000000", "networks") == {"train": 1, "networks": 1}
    assert checkout.planned("networks") == {}


def test_another_checkout_with_results_and_records_copied(finished, tmp_path):
    checkout = Checkout(tmp_path / "elsewhere" / "project")
    for part in ("results", ".snakemake"):
        os.system(f"cp -r {finished.path / part} {checkout.path / part}")
    assert checkout.planned() == {}


SOURCE_EDITS = {
    "a comment in the library": (
        ROOM + "curves.py",
        "KINDS = (",
        "# A comment.\nKINDS = (",
        {},
    ),
    "a docstring in the library": (
        ROOM + "attacks.py",
        '"""Adversarial examples."""',
        '"""Adversarial examples, that is all."""',
        {},
    ),
    "a line of progress": (ROOM + "programs.py", "accuracy {accuracy:.2%}", "accuracy {accuracy:.1%}", {}),
    "what a cost file holds": (ROOM + "cost.py", "time.process_time(), 2)", "time.process_time(), 1)", {}),
    "a message": (ROOM + "mistakes.py", "free some space", "make some room", {}),
    "where the lock of a GPU lies": (ROOM + "devices.py", "modeconn-gpus", "modeconn-gpu-locks", {}),
    "what a resumed job says": (ROOM + "resume.py", "starting anew", "beginning anew", {}),
    "checks of what is read": (ROOM + "inputs.py", "give what belongs to it", "give what belongs together", {}),
    "how manifests are written": (ROOM + "manifests.py", "indent=1", "indent=2", {}),
    "how files are written": (ROOM + "files.py", 'prefix=f".{path.name}."', 'prefix=f".new-{path.name}."', {}),
    "how a fingerprint is checked": (ROOM + "fingerprint.py", "run again", "run it again", {}),
    "progress of reading data": (ROOM + "datasets/progress.py", " of {total:,} ", "/{total:,} ", {}),
    "the tolerance of the proof": (
        ROOM + "permutation/verdict.py",
        "LARGEST_CHANGE = 1e-5",
        "LARGEST_CHANGE = 1e-4",
        {},
    ),
    "how long Snakemake has to end": (ROOM + "stopping.py", "GRACE = 20", "GRACE = 30", {}),
    "what pins a group of neurons: the alignments and what follows": (
        ROOM + "permutation/proof.py",
        "LEAST_REACTION = 1e-4",
        "LEAST_REACTION = 1e-5",
        {"align": 4, "refine": 2, "fit_curve": 6, "evaluate_curve": 10, "evaluate_robustness": 2}
        | {"select_network": 2}
        | {"evaluate_plane": 2, "evaluate_activations": 1}
        | DOWNSTREAM,
    ),
    "threads and determinism, by which all compute": (
        ROOM + "bits.py",
        'job["threads"]',
        'job["threads"] + 0',
        {"prepare_data": 1, "train": 4, "align": 4, "refine": 2} | CURVES | DOWNSTREAM,
    ),
    "the attack: standard networks and their curves stay": (
        ROOM + "attacks.py",
        "step * gradient.sign()",
        "1.5 * step * gradient.sign()",
        {"train": 2, "align": 1, "fit_curve": 2, "evaluate_curve": 4, "evaluate_robustness": 4, "select_network": 4}
        | DOWNSTREAM,
    ),
    "one matching method: the other alignments stay": (
        ROOM + "matching/weight.py",
        "max_sweeps=100",
        "max_sweeps=99",
        {"align": 1, "fit_curve": 1, "evaluate_curve": 2} | DOWNSTREAM,
    ),
    "the correlations, which every alignment reports and activations are compared by": (
        ROOM + "matching/activation.py",
        "EPSILON = 1e-5",
        "EPSILON = 1e-6",
        {"align": 4, "refine": 2, "fit_curve": 6, "evaluate_curve": 10, "evaluate_robustness": 2}
        | {"select_network": 2}
        | {"evaluate_plane": 2, "evaluate_activations": 2}
        | DOWNSTREAM,
    ),
    "refinement: only PAM and what follows": (
        ROOM + "refinement.py",
        "LEAST_ENTRY = 5e-4",
        "LEAST_ENTRY = 4e-4",
        {"refine": 2, "fit_curve": 2, "evaluate_curve": 2} | DOWNSTREAM,
    ),
    "planes": (
        ROOM + "planes.py",
        "> 1e-6 *",
        "> 1e-5 *",
        {"evaluate_plane": 3} | DOWNSTREAM,
    ),
    "similarity": (
        ROOM + "similarity.py",
        '("post", "pre")',
        '("pre", "post")',
        {"evaluate_activations": 2} | DOWNSTREAM,
    ),
    "another network family": (
        ROOM + "networks/resnet.py",
        'mode="fan_out"',
        'mode="fan_in"',
        {},
    ),
    "the source of another data set": (
        ROOM + "datasets/mnist.py",
        "dataset.data[:, None]",
        "dataset.data[:, None, :]",
        {},
    ),
    "downloads, where nothing is downloaded": (
        ROOM + "datasets/downloads.py",
        "TIMEOUT = 30",
        "TIMEOUT = 60",
        {},
    ),
    "the source of the data set": (
        ROOM + "datasets/digits.py",
        'mode="bilinear"',
        'mode="bicubic"',
        {"prepare_data": 1, "train": 4, "align": 4, "refine": 2} | CURVES | DOWNSTREAM,
    ),
    "the augmentation, which nobody uses here": (
        ROOM + "datasets/augmentation.py",
        "0.587",
        "0.588",
        {},
    ),
    "the curves": (
        ROOM + "curves.py",
        "0.5 * curve",
        "0.25 * curve",
        {"refine": 2} | CURVES | DOWNSTREAM,
    ),
    "recalibration: nothing is trained anew": (
        ROOM + "batchnorm.py",
        "seen = 0",
        "seen = 0.0",
        {"evaluate_curve": 14, "evaluate_robustness": 4, "select_network": 4} | BESIDES | DOWNSTREAM,
    ),
    "one figure": (
        ROOM + "figures/signatures.py",
        '"training images"',
        '"images of training"',
        {"draw": 2} | REPORT,
    ),
    "a label of a figure in the report": (
        ROOM + "figures/registry.py",
        '"planes", ["planes", "marks"]',
        '"planes of loss", ["planes", "marks"]',
        REPORT,
    ),
    "the caption of a table": (
        "workflow/report/summary.rst",
        "one row each",
        "a row each",
        REPORT,
    ),
    "the caption of a figure": (
        "workflow/report/planes.rst",
        "Bright is good.",
        "Bright is better.",
        {"draw": 2} | REPORT,
    ),
    "the barriers": (
        ROOM + "barriers.py",
        "import numpy as np",
        "import numpy as np\n\nUNUSED = 1",
        DOWNSTREAM,
    ),
    "a number of the paper": (
        "config/published/tatro2020.csv",
        "cifar10,tinyten,none,bezier,endpoint_accuracy,0.890",
        "cifar10,tinyten,none,bezier,endpoint_accuracy,0.891",
        {"compare_paper": 1, "judge_claims": 1} | REPORT,
    ),
    "a claim": (
        "config/claims.csv",
        "aligned-mean-bezier",
        "aligned-mean-curve",
        {"judge_claims": 1} | REPORT,
    ),
}


SCHEMA = "workflow/schemas/config.schema.yaml"


def test_each_module_that_says_how_a_job_runs_has_its_row():
    rows = {path for path, _, _, jobs in SOURCE_EDITS.values() if jobs == {}}
    assert {f"{ROOM}{module.replace('.', '/')}.py" for module in fingerprint.RUNNING} <= rows


@pytest.mark.parametrize("name", SOURCE_EDITS)
def test_source(finished, name):
    path, old, new, expected = SOURCE_EDITS[name]
    with finished.edited(path, old, new):
        assert finished.planned() == expected
    assert finished.planned() == {}


def one_more_seed(config):
    config["studies"]["alignment"][0]["pairs"].append([1, 3])


def swapped(config):
    config["attacks"]["pgd"].update(epsilon=0.01, step=0.03)


def reordered(config):
    for section in ("recipes", "alignments", "curves"):
        config[section] = dict(reversed(config[section].items()))
    config["recipes"]["robust"] = dict(reversed(config["recipes"]["robust"].items()))


CONFIG_EDITS = {
    "the learning rate of one curve": (
        lambda c: c["curves"]["bezier"].update(optimizer={"learning_rate": 0.02}),
        {"fit_curve": 8, "evaluate_curve": 8, "evaluate_robustness": 2, "select_network": 2}
        | {"evaluate_plane": 2, "evaluate_activations": 2}
        | CONFIG
        | DOWNSTREAM,
    ),
    "steps of the attack": (
        lambda c: c["attacks"]["pgd"].update(steps=3),
        {"train": 2, "align": 1, "fit_curve": 2, "evaluate_curve": 4, "evaluate_robustness": 4, "select_network": 4}
        | CONFIG
        | DOWNSTREAM,
    ),
    "two parameters swapped": (
        swapped,
        {"train": 2, "align": 1, "fit_curve": 2, "evaluate_curve": 4, "evaluate_robustness": 4, "select_network": 4}
        | CONFIG
        | DOWNSTREAM,
    ),
    "one more seed: only the new pair": (
        one_more_seed,
        {"train": 1, "align": 3, "fit_curve": 4, "evaluate_curve": 8} | CONFIG | DOWNSTREAM,
    ),
    "one more alignment": (
        lambda c: (
            c["alignments"].update(again={"method": "random", "seed": 1}),
            c["studies"]["alignment"][1]["alignments"].append("again"),
        ),
        {"align": 1, "fit_curve": 1, "evaluate_curve": 2, "evaluate_robustness": 2, "select_network": 2}
        | CONFIG
        | DOWNSTREAM,
    ),
    "evaluation points": (
        lambda c: c["evaluation"].update(points=4),
        {"evaluate_curve": 14, "evaluate_robustness": 4, "select_network": 4} | CONFIG | DOWNSTREAM,
    ),
    "points of the planes": (
        lambda c: c["plane"].update(points=4),
        {"evaluate_plane": 3} | CONFIG | DOWNSTREAM,
    ),
    "points of the activations": (
        lambda c: c["activations"].update(points=4),
        {"evaluate_activations": 2} | CONFIG | DOWNSTREAM,
    ),
    "recalibration: nothing is trained anew, but all measured": (
        lambda c: c["evaluation"].update(recalibration={"batch": 256}),
        {"evaluate_curve": 14, "evaluate_robustness": 4, "select_network": 4} | BESIDES | CONFIG | DOWNSTREAM,
    ),
    "samples of a refinement": (
        lambda c: c["alignments"]["pam"].update(samples=3),
        {"refine": 1, "fit_curve": 1, "evaluate_curve": 1} | CONFIG | DOWNSTREAM,
    ),
    "the folder of downloads": (
        lambda c: c.update(downloads="else where"),
        {"write_config": 1} | REPORT,
    ),
    "a default written out": (
        lambda c: c["recipes"]["standard"].update(batch=128, schedule="cosine"),
        {},
    ),
    "the order of keys": (reordered, {}),
}


@pytest.mark.parametrize("name", CONFIG_EDITS)
def test_config(finished, name):
    change, expected = CONFIG_EDITS[name]
    with finished.configured(change):
        assert finished.planned() == expected
    assert finished.planned() == {}


def test_a_default_changed_in_the_schema(finished):
    old = (
        "description: Draws the splits.\n          type: integer\n          minimum: 0\n"
        "          maximum: 4294967295\n          default: 0"
    )
    with finished.edited(SCHEMA, old, old.replace("default: 0", "default: 1")):
        expected = {"prepare_data": 1, "train": 4, "align": 4, "refine": 2} | CURVES | CONFIG | DOWNSTREAM
        assert finished.planned() == expected


def test_a_key_added_to_the_schema(finished):
    """A new key whose default is what was done before changes no identity: only the config is written out anew."""
    old = "        hold_out:\n"
    new = "        unheard_of: {description: New., type: integer, default: 0, neutral: 0}\n"
    with finished.edited(SCHEMA, old, new + old):
        assert finished.planned() == {"write_config": 1} | REPORT
        with finished.configured(lambda c: c["datasets"]["digits"].update(unheard_of=1)):
            assert finished.planned("networks") == {"prepare_data": 1, "train": 4, "networks": 1}


def test_why_names_the_modules_that_changed(finished):
    def why():
        done = finished.run("--dry-run", "--printshellcmds", "--quiet", "host", "--", "curves")
        return explain_plan.rows(done.stdout + done.stderr)

    path, old, new, _ = SOURCE_EDITS["the attack: standard networks and their curves stay"]
    with finished.edited(path, old, new):
        assert sorted(why()) == [
            ["align", "1", "follows"],
            ["evaluate_curve", "4", "follows"],
            ["fit_curve", "2", "follows"],
            ["train", "2", "source of attacks"],
        ]
    with finished.configured(lambda c: c["evaluation"].update(points=4)):
        assert why() == [["evaluate_curve", "14", "not there yet"]]
    assert why() == []


def test_another_config_shares_the_networks(finished):
    other = copy.deepcopy(TINY)
    other["name"] = "other"
    other["curves"]["chain"] = {"kind": "chain", "epochs": 1}
    other["studies"]["alignment"] = [
        {**TINY["studies"]["alignment"][0], "alignments": ["activation"], "curves": ["chain"]},
    ]
    finished.write_config(other)
    try:
        planned = finished.planned("curves")
    finally:
        finished.write_config(TINY)
    assert planned == {"fit_curve": 1, "evaluate_curve": 1, "curves": 1}
