"""The configs of config/: how many jobs each plans, and that its commands can be run."""

import copy
import functools
import re
from collections import Counter

import pytest
import yaml

from modeconn import configuration
from modeconn.plan import RULES, Plan
from workflow.checkout import PROJECT, TINY, Checkout, jobs_in

ONCE = ["tabulate_runs", "tabulate_alignment", "compare_paper", "judge_claims", "write_config", "write_report", "all"]
JOBS = {
    "config": {
        "prepare_data": 1,
        "train": 6 + 3 + 1,
        "align": 7 + 3 + 2,
        "evaluate_barriers": 3 * 2,
        "refine": 2,
        "evaluate_signature": 9,
        "fit_curve": 10,
        "evaluate_curve": 20,
        "evaluate_plane": 3,
        "evaluate_activations": 2,
        # Two pairs, along training and pruning; two of four levels, by masks that are moved and that are not.
        "prune": 4,
        "align_moments": 2 * 2,
        "evaluate_grid": 2 * 2 * 2,
        "train_masked": 2 * 2 * 2,
    },
    "cifar10_slice": {
        "prepare_data": 2,
        "train": 4 + 2,
        "align": 4 + 1,
        "refine": 4,
        "evaluate_signature": 4 + 1 + 4,
        "fit_curve": 10 + 2,
        "evaluate_curve": 20 + 4,
        "evaluate_plane": 3,
        "evaluate_activations": 2,
        "select_network": 4,
    },
    "cifar10_jpeg": {
        "prepare_data": 1,
        "train": 4,
        "align": 2,
        "evaluate_signature": 2,
        "fit_curve": 4,
        "evaluate_curve": 8,
    },
    "precision": {
        "prepare_data": 1,
        "train": 12,
        "align": 6,
        "evaluate_signature": 6,
        "fit_curve": 12,
        "evaluate_curve": 24,
    },
    # Six seeds are one job; robust TinyTens with images held out are networks of their own.
    "cifar10": {
        "prepare_data": 2,
        "train": 3,
        "align": 6 + 3,
        "refine": 12,
        "evaluate_signature": 6 + 3 + 12,
        "fit_curve": 24 + 6,
        "evaluate_curve": 48 + 6,
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
        "evaluate_signature": (18 + 6) * 3 + 6 * 2 * 3,
        # Those of the table, TinyTen by the lower rate, PAM, robust and selected ones: aligned and not, three pairs.
        "fit_curve": (9 + 3 + 6 + 9 + 6) * 2 * 3,
        "evaluate_curve": (9 * 2 + 3 + 6 * 2 + 9 * 2 + 6) * 2 * 3,
        # Of one pair: planes of both curves and through the aligned network; activations along both curves and lines.
        "evaluate_plane": 9 * 3,
        "evaluate_activations": 6 * 2 * 2,
        "select_network": 6 * 2 * 3,
    },
    # Moons by two recipes in one block each, MNIST in blocks of ten; three frames, and none. Boundaries and triangles
    # of two widths; reduced networks of six, initializations and optimizers of two, and iterates of two and four.
    "averaging": {
        "prepare_data": 2,
        "train": 9 * (2 + 5) + 6 * 2 + 2 * 6 + 2 + 4,
        "align": 9 * 3 * 3 + 6 + 2 * 2,
        "evaluate_barriers": 9 * 3 * 4 + 6 * 2 + 2 * 2 * 2 + 2 + 4,
        "evaluate_averages": 9 * 3 * 4,
        "evaluate_boundary": 2 * 2,
        "evaluate_triangles": 2 * 2 * 2,
        "evaluate_disagreement": 6 + 2 * 2,
        "evaluate_iterates": 2 + 4,
    },
    # A job a width: fifty networks trained, matched, and measured as they are and matched.
    "moons": {"prepare_data": 1, "train": 9, "align": 9, "evaluate_barriers": 2 * 9, "evaluate_boundary": 2 * 2},
    # Twenty networks of four widths.
    "corrections": {"prepare_data": 1, "train": 4, "align": 4, "evaluate_barriers": 2 * 4},
    # Ten networks of nine widths.
    "corrections_mnist": {"prepare_data": 1, "train": 9, "align": 9, "evaluate_barriers": 2 * 9},
    # Two widths by six recipes, of which four are a population each time, and by two that keep epochs; one on images.
    "dynamics": {
        "prepare_data": 2,
        "train": 2 * (6 + 2) + 1,
        "align": 2 * 2,
        "evaluate_barriers": 2 * (2 * 2 + 2) + 1,
        "evaluate_disagreement": 2 * 2,
        "evaluate_iterates": 2 * 2 + 1,
    },
    # Four optimizers, one population.
    "dynamics_cifar10": {
        "prepare_data": 1,
        "train": 4,
        "align": 1,
        "evaluate_barriers": 2,
        "evaluate_disagreement": 1,
    },
    # REPAIR's networks by depth, and Git Re-Basin's by learning rate.
    "mlp": {"prepare_data": 1, "train": 7 + 10, "align": 7 + 10, "evaluate_barriers": 2 * (7 + 10)},
    # Eight networks of three widths in a block each; four pairs along training and along twelve levels of pruning, by
    # two alignments and none, and by masks of three of these levels; barriers over width, matched and not.
    "simultaneous_digits": {
        "prepare_data": 1,
        "train": 3,
        "prune": 12,
        "align_moments": 4 * 2 * 2,
        "evaluate_grid": 4 * 2 * 3,
        "train_masked": 4 * 3 * 3,
        "align": 3 + 4 * 2,
        "evaluate_barriers": 2 * 3,
    },
    # Nine networks of three widths in a block each, in three frames and as they are.
    "strong": {
        "prepare_data": 1,
        "train": 3,
        "align": 3 * 3,
        "evaluate_barriers": 3 * 4,
        "evaluate_averages": 3 * 4,
        "evaluate_triangles": 3 * 4,
    },
    # One of these widths by nine alignments and none, and four pairs along training by two and none.
    "kernels": {
        "prepare_data": 1,
        "train": 1,
        "align": 9,
        "evaluate_barriers": 10,
        "align_moments": 4 * 2,
        "evaluate_grid": 4 * 3,
    },
    # Two networks in two blocks, one of them pruned by eight levels, and five widths, of which one is among the two.
    "simultaneous_mnist": {
        "prepare_data": 1,
        "train": 2 * (1 + 5),
        "prune": 2 * 8,
        "align_moments": 4 * 2 * (2 + 1),
        "evaluate_grid": 4 * 3 * (2 + 1),
        "train_masked": 4 * 2 * 3,
        "align": 2 * 5 + 4 * 2,
        "evaluate_barriers": 3 * 5,
    },
    # One network of four seeds along training and two levels of pruning, and one more width.
    "simultaneous_slice": {
        "prepare_data": 1,
        "train": 2 * 4,
        "prune": 4 * 2,
        "align_moments": 2 * 2 * 2,
        "evaluate_grid": 2 * 2 * 3,
        "align": 2 * 2,
        "evaluate_barriers": 2 * 3,
    },
    # Two networks of ten seeds, of which four are pruned by twenty levels; five more widths of each, of four seeds.
    "simultaneous": {
        "prepare_data": 1,
        "train": 2 * (10 + 5 * 4),
        "prune": 2 * 4 * 20,
        "align_moments": 2 * (5 + 2) * 2,
        "evaluate_grid": 2 * (5 + 2) * 3,
        "align": 2 * 6 * 2,
        "evaluate_barriers": 2 * 6 * 3,
    },
}
# What Linux allows one argument of a command to be, and bash gets a job's command as one.
LONGEST = 128 * 1024
SCHEMA = configuration.schema()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("configs") / "project")
    for split in ("train", "test"):  # what the configs with a path find there
        (checkout.path / f"cifar10-jpeg/{split}/frog").mkdir(parents=True)
        (checkout.path / f"cifar10-jpeg/{split}/frog/1.jpg").touch()
    return checkout


def test_every_config_is_in_the_table():
    assert {path.stem for path in (PROJECT / "config").glob("*.yaml")} == set(JOBS)


def planned(config):
    """The plan of a config, a dict or the name of one of config/."""
    values = configuration.read(PROJECT / f"config/{config}.yaml") if isinstance(config, str) else copy.deepcopy(config)
    configuration.complete(values, SCHEMA)
    return Plan(values, SCHEMA)


@pytest.mark.parametrize("name", JOBS)
def test_a_config_plans_its_jobs(checkout, monkeypatch, name):
    monkeypatch.chdir(checkout.path)  # where the images lie that some configs name
    assert Counter(job.rule for job in planned(name).jobs) == JOBS[name]


@pytest.fixture(scope="module")
def dry_run(checkout):
    """Name of a config -> what a dry run of it says."""

    @functools.cache
    def dry_run(name):
        checkout.write_config(yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text()))
        done = checkout.run("--dry-run", "--printshellcmds")
        return done.stdout + done.stderr

    return dry_run


@pytest.mark.parametrize("name", ["config", "moons", "paper"])
def test_snakemake_plans_the_same_jobs(dry_run, name):
    plan = dry_run(name)
    found = {rule: count for rule, count in jobs_in(plan).items() if rule != "draw"}
    once = dict.fromkeys(ONCE, 1) | {"list_measurements": 2}
    if name == "config":
        once |= {"tabulate_averaging": 1, "tabulate_simultaneous": 1, "list_measurements": 4}
    if name == "moons":
        once = {rule: 1 for rule in once if rule not in ("tabulate_alignment", "compare_paper")}
        once |= {"tabulate_averaging": 1, "list_measurements": 2}
    assert found == JOBS[name] | once
    assert max(map(len, plan.splitlines())) < LONGEST


def told(plan, rules, value):
    """(rule, names of the job, whether its code names the module) -> the value in the job, of jobs of some rules."""
    for job in plan.jobs:
        if job.rule in rules:
            wildcards = dict(job.wildcards)
            values = plan.job(job.rule, wildcards)
            yield job.rule, values["names"], plan.code(job.rule, wildcards), values.get(value)


def test_the_largest_study_is_as_many_submissions_as_the_readme_says(dry_run):
    profile = yaml.safe_load((PROJECT / "workflow/profiles/slurm/profile.v9+.yaml").read_text())
    # The lists, the config and the report are made where Snakemake runs; tables and figures of the runs are one
    # submission, those of the alignments another, since neither reads the other.
    here = {"list_measurements", "write_config", "write_report", "all"}
    planned = {rule: count for rule, count in jobs_in(dry_run("paper")).items() if rule not in here}
    alone = sum(count for rule, count in planned.items() if rule not in profile["groups"])
    assert f"{alone + 2:,} submissions" in (PROJECT / "workflow/README.md").read_text()


def test_who_estimates_statistics_on_augmented_images_is_told_how():
    plan = planned("cifar10")
    measuring = {"evaluate_curve", "evaluate_plane", "evaluate_activations"}
    for rule, _, code, augmentation in told(plan, RULES, "augmentation"):
        expected = plan.values[plan.identity("recipe", "standard")]["augmentation"] if rule in measuring else None
        assert augmentation == expected
        if rule.startswith("evaluate"):
            assert ("datasets.augmentation:" in code) == (rule in measuring)


@pytest.mark.parametrize("instructions", ["native", "portable"])
def test_jobs_are_told_which_kernels_to_compute_with(instructions):
    plan = planned(TINY | {"instructions": instructions})
    # What is native means what it meant before there was another.
    found = {value for *_, value in told(plan, RULES, "instructions")}
    assert found == {None if instructions == "native" else "portable"}


def test_who_estimates_statistics_under_attack_is_told_how():
    plan, seen = planned("paper"), set()
    rules = ("evaluate_curve", "evaluate_plane", "evaluate_activations")
    for rule, names, _, found in told(plan, rules, "attack"):
        attack = plan.config["recipes"][names["recipe"]]["attack"]
        expected = plan.values[plan.identity("attack", attack)] if attack else None
        assert found == expected
        seen.add((rule, attack is not None))
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
    entry = TINY["studies"]["alignment"][0] | {"alignments": ["none"], "curves": ["linear"]}
    config["studies"] = {"alignment": [entry]}
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
