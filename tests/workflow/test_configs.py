"""The configs of config/: how many jobs each plans, and that its commands can be run."""

import copy
import json
import re

import pytest
import yaml

import estimate_cost
from workflow.checkout import PROJECT, TINY, Checkout, jobs_in

ONCE = ["list_measurements", "make_tables", "compare_paper", "judge_claims", "write_config", "write_report", "all"]
JOBS = {
    "config": {
        "prepare_data": 1,
        "train": 6,
        "align": 7,
        "refine": 2,
        "fit_curve": 10,
        "evaluate_curve": 20,
        "evaluate_robustness": 4,
        "evaluate_plane": 3,
        "evaluate_activations": 2,
    },
    "cifar10_slice": {
        "prepare_data": 2,
        "train": 4 + 2,
        "align": 4 + 1,
        "refine": 4,
        "fit_curve": 10 + 2,
        "evaluate_curve": 20 + 4,
        "evaluate_robustness": 4,
        "evaluate_plane": 3,
        "evaluate_activations": 2,
        "select_network": 4,
    },
    "cifar10_jpeg": {"prepare_data": 1, "train": 4, "align": 2, "fit_curve": 4, "evaluate_curve": 8},
    "precision": {"prepare_data": 1, "train": 12, "align": 6, "fit_curve": 12, "evaluate_curve": 24},
    # Six seeds are one job; robust TinyTens with images held out are networks of their own.
    "cifar10": {
        "prepare_data": 2,
        "train": 3,
        "align": 6 + 3,
        "refine": 12,
        "fit_curve": 24 + 6,
        "evaluate_curve": 48 + 6,
        "evaluate_robustness": 6,
        "evaluate_plane": 2 * 3,  # of both curves, and through the aligned network
        "evaluate_activations": 2 * 2 * 2,
        "select_network": 6,
    },
    # 9 cells, 9 robust ones, and 6 robust ones on the data sets that hold images out.
    "paper": {
        "prepare_data": 4 + 2,
        "train": (18 + 6) * 6,
        "align": (18 + 6) * 3,
        "refine": 6 * 2 * 3,  # GoogLeNet has none
        # Those of the table, TinyTen by the lower rate, PAM, robust and selected ones: aligned and not, three pairs.
        "fit_curve": (9 + 3 + 6 + 9 + 6) * 2 * 3,
        "evaluate_curve": (9 * 2 + 3 + 6 * 2 + 9 * 2 + 6) * 2 * 3,
        "evaluate_robustness": (9 * 2 + 6) * 2 * 3,
        # Of one pair: planes of both curves and through the aligned network; activations along both curves and lines.
        "evaluate_plane": 9 * 3,
        "evaluate_activations": 6 * 2 * 2,
        "select_network": 6 * 2 * 3,
    },
}
# What Linux allows one argument of a command to be, and bash gets a job's command as one.
LONGEST = 128 * 1024


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("configs") / "project")
    for split in ("train", "test"):  # what the configs with a path find there
        (checkout.path / f"cifar10-jpeg/{split}/frog").mkdir(parents=True)
        (checkout.path / f"cifar10-jpeg/{split}/frog/1.jpg").touch()
    return checkout


def test_every_config_is_in_the_table():
    assert {path.stem for path in (PROJECT / "config").glob("*.yaml")} == set(JOBS)


@pytest.mark.parametrize("name", JOBS)
def test_a_config_plans_its_jobs(checkout, name):
    checkout.write_config(yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text()))
    done = checkout.run("--dry-run", "--printshellcmds")
    plan = done.stdout + done.stderr
    planned = {rule: count for rule, count in jobs_in(plan).items() if rule != "draw"}
    assert planned == JOBS[name] | dict.fromkeys(ONCE, 1)
    assert max(map(len, plan.splitlines())) < LONGEST


def test_the_largest_study_is_as_many_submissions_as_the_readme_says(checkout):
    profile = yaml.safe_load((PROJECT / "workflow/profiles/slurm/profile.v9+.yaml").read_text())
    checkout.write_config(yaml.safe_load((PROJECT / "config/paper.yaml").read_text()))
    # The lists, the config and the report are made where Snakemake runs; each group is one submission.
    here = {"list_measurements", "write_config", "write_report", "all"}
    planned = {rule: count for rule, count in checkout.planned().items() if rule not in here}
    alone = sum(count for rule, count in planned.items() if rule not in profile["groups"])
    groups = {profile["groups"][rule] for rule in planned if rule in profile["groups"]}
    assert f"{alone + len(groups):,} submissions" in (PROJECT / "README.md").read_text()


def test_who_estimates_statistics_on_augmented_images_is_told_how(checkout):
    config = yaml.safe_load((PROJECT / "config/cifar10.yaml").read_text())
    checkout.write_config(config)
    done = checkout.run("--dry-run", "--printshellcmds", "robustness", "measures")
    told = {"evaluate_curve", "evaluate_plane", "evaluate_activations"}
    others = {"prepare_data", "train", "align", "fit_curve", "evaluate_robustness", "select_network"}
    seen = set()
    for program, options in estimate_cost.plan(done.stdout + done.stderr):
        seen.add(program)
        job, (code,) = json.loads(options["--job"][0]), options["--code"]
        augmentation = config["recipes"]["standard"]["augmentation"] if program in told else None
        assert job.get("augmentation") == augmentation
        if program.startswith("evaluate"):
            assert ("datasets.augmentation:" in code) == (program in told)
    assert seen == told | others


@pytest.mark.parametrize("instructions", ["native", "portable"])
def test_jobs_are_told_which_kernels_to_compute_with(checkout, instructions):
    with checkout.configured(lambda c: c.update(instructions=instructions)):
        done = checkout.run("--dry-run", "--printshellcmds", "curves")
    told = {json.loads(options["--job"][0]).get("instructions") for _, options in estimate_cost.plan(done.stdout)}
    # What is native means what it meant before there was another.
    assert told == {None if instructions == "native" else "portable"}


def test_who_estimates_statistics_under_attack_is_told_how(checkout):
    config = yaml.safe_load((PROJECT / "config/paper.yaml").read_text())
    config["studies"]["alignment"] = [
        entry for entry in config["studies"]["alignment"] if entry["network"] == "tinyten"
    ]
    checkout.write_config(config)
    done = checkout.run("--dry-run", "--printshellcmds", "curves", "measures")
    seen = set()
    for program, options in estimate_cost.plan(done.stdout + done.stderr):
        if program in ("evaluate_curve", "evaluate_plane", "evaluate_activations"):
            job, (code,) = json.loads(options["--job"][0]), options["--code"]
            robust = job["names"]["recipe"].endswith("_robust")
            attack = config["attacks"]["pgd_tiny" if "tiny" in job["names"]["recipe"] else "pgd"]
            assert job.get("attack") == (attack | {"random_start": True} if robust else None)
            assert ("attacks:" in code) == robust
            seen.add((program, robust))
    assert {("evaluate_curve", True), ("evaluate_curve", False), ("evaluate_plane", False)} <= seen


@pytest.mark.parametrize("name", ["cifar10", "paper"])
def test_only_selected_networks_are_trained_on_fewer_images(name):
    """The numbers of the paper's table are those of networks that saw all training images."""
    config = yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text())
    holding = {entry["dataset"]: config["datasets"][entry["dataset"]].get("hold_out", 0) for entry in entries(config)}
    assert {holding[entry["dataset"]] for entry in entries(config) if entry.get("best")} == {5000}
    assert {holding[entry["dataset"]] for entry in entries(config) if not entry.get("best")} == {0}


def entries(config):
    return config["studies"]["alignment"]


def test_a_study_without_alignments_draws_none(checkout):
    config = copy.deepcopy(TINY)
    config["studies"]["alignment"] = [TINY["studies"]["alignment"][0] | {"alignments": ["none"], "curves": ["linear"]}]
    checkout.write_config(config)
    done = checkout.run("--dry-run", "figures")
    drawn = re.findall(r"draw results/\S+/(\S+)\.svg", done.stdout + done.stderr)
    assert sorted(drawn) == ["curves-test-all", "curves-test-none", "curves-train-all", "spectrum", "training"]
    assert "align" not in checkout.planned()


def test_a_key_that_stands_twice_is_refused(checkout):
    text = yaml.safe_dump(TINY) + "name: other\n"
    (checkout.path / "tiny.yaml").write_text(text)
    done = checkout.snakemake("--dry-run")
    said = [line for line in (done.stdout + done.stderr).splitlines() if "twice" in line]
    assert done.returncode != 0
    assert said == [f"tiny.yaml, line {text.count(chr(10))}, column 1: name is there twice"]


def test_two_alignments_shown_as_one_are_refused(checkout):
    config = copy.deepcopy(yaml.safe_load((PROJECT / "config/paper.yaml").read_text()))
    config["studies"]["alignment"][0]["alignments"].append("activation_stem")
    checkout.write_config(config)
    done = checkout.snakemake("--dry-run")
    said = [line for line in (done.stdout + done.stderr).splitlines() if "config, " in line]
    assert done.returncode != 0 and len(said) == 1
    assert "activation_stem with linear and activation with linear are both shown as activation with linear" in said[0]
