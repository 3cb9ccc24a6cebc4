"""The configs of config/: how many jobs each plans, and that its commands can be run."""

import copy

import pytest
import yaml

from workflow.checkout import PROJECT, Checkout

ONCE = ("make_tables", "compare_paper", "judge_claims", "write_config", "write_report", "all")
JOBS = {
    "config": {
        "prepare_data": 1,
        "train": 6,
        "align": 9,
        "fit_curve": 9,
        "evaluate_curve": 21,
        "evaluate_robustness": 7,
        "draw_curves": 8,
        "draw_robustness": 3,
        "draw_signatures": 2,
        "draw_training": 2,
    },
    "cifar10_slice": {
        "prepare_data": 1,
        "train": 4,
        "align": 4,
        "refine": 4,
        "fit_curve": 10,
        "evaluate_curve": 20,
        "draw_curves": 4,
        "draw_signatures": 1,
        "draw_training": 1,
    },
    # Six seeds are one job.
    "cifar10": {
        "prepare_data": 1,
        "train": 2,
        "align": 6,
        "refine": 12,
        "fit_curve": 24,
        "evaluate_curve": 48,
        "draw_curves": 8,
        "draw_signatures": 2,
        "draw_training": 2,
    },
    # Networks: 9 cells and 9 robust ones, 6 seeds. PAM: 6 cells, 2 starts, 3 pairs.
    "paper": {
        "prepare_data": 4,
        "train": 18 * 6,
        "align": 18 * 3,
        "refine": 6 * 2 * 3,
        # Three more of TinyTen by the lower rate, aligned and not; those of PAM; robust ones.
        "fit_curve": (9 + 3 + 6 + 9) * 2 * 3,
        "evaluate_curve": (9 * 2 + 3 + 6 * 2 + 9 * 2) * 2 * 3,
        "evaluate_robustness": 9 * 2 * 2 * 3,
        "draw_curves": 18 * 4,
        "draw_robustness": 9 * 3,
        "draw_signatures": 18,
        "draw_training": 18,
    },
}
# What Linux allows one argument of a command to be, and bash gets a job's command as one.
LONGEST = 128 * 1024


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("configs") / "project")


def test_every_config_is_in_the_table():
    assert {path.stem for path in (PROJECT / "config").glob("*.yaml")} == set(JOBS)


@pytest.mark.parametrize("name", JOBS)
def test_a_config_plans_its_jobs(checkout, name):
    checkout.write_config(yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text()))
    assert checkout.planned() == JOBS[name] | dict.fromkeys(ONCE, 1)
    done = checkout.run("--dry-run", "--printshellcmds")
    assert max(map(len, (done.stdout + done.stderr).splitlines())) < LONGEST


def test_two_alignments_shown_as_one_are_refused(checkout):
    config = copy.deepcopy(yaml.safe_load((PROJECT / "config/paper.yaml").read_text()))
    config["studies"]["alignment"][0]["alignments"].append("activation_stem")
    checkout.write_config(config)
    done = checkout.snakemake("--dry-run")
    said = [line for line in (done.stdout + done.stderr).splitlines() if "config, " in line]
    assert done.returncode != 0 and len(said) == 1
    assert "activation_stem with linear and activation with linear are both shown as activation with linear" in said[0]
