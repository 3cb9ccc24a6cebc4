"""A whole run as a user sees it: its results, a second run, and messages for mistakes."""

import copy
import html
import itertools
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml

import preloaded
from modeconn import configuration, plan
from workflow.checkout import FIGURES, PROJECT, TINY, Checkout
from workflow.edits import ALL

JOBS = {
    **ALL,
    "list_measurements": 4,
    "tabulate_runs": 1,
    "tabulate_alignment": 1,
    "tabulate_averaging": 1,
    "tabulate_simultaneous": 1,
    "compare_paper": 1,
    "judge_claims": 1,
    "write_config": 1,
    "write_report": 1,
    "all": 1,
    **FIGURES,
}
# Those that run no program of ours.
WITHOUT_PROGRAM = {"list_measurements", "write_config", "write_report", "all"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A checkout in which nothing has run."""
    return Checkout(tmp_path_factory.mktemp("fresh") / "project")


def test_a_fresh_checkout_plans_every_phase_once(fresh):
    assert fresh.planned() == JOBS


def test_a_second_run_has_nothing_to_do(finished):
    done = finished.run("--cores", "2")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_run_leaves_report_tables_figures_and_a_summary(finished):
    run = finished.path / "results/tiny"
    report = (run / "report.html").read_text()
    # Everything is inside: whatever it shows it shows offline.
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', report)
    # Every figure with its words, the main one twice; every verdict and the numbers before them.
    figures = list((run / "figures").rglob("*.svg"))
    assert report.count('role="img"') == len(re.findall(r'role="img" aria-label="[^"]+', report)) == len(figures) + 1
    answer = html.unescape(report.partition('<h2 id="figures">')[0])
    verdicts = pd.read_csv(run / "tables/claims.csv", keep_default_na=False)
    assert all(statement in answer for statement in verdicts["statement"])
    summary = pd.read_csv(run / "tables/summary.csv", keep_default_na=False)
    minima = summary[(summary["quantity"] == "minimum_accuracy") & (summary["split"] == "test")]["mean"]
    assert len(minima) == 18 and all(f">{100 * mean:.1f}</td>" in answer for mean in minima)
    points = pd.read_csv(run / "tables/curves.csv", keep_default_na=False)
    # 14 curves at 3 points on 2 splits, and 4 of them attacked on one.
    assert len(points) == 14 * 3 * 2 + 4 * 3
    assert set(points["alignment"]) == {"none", "activation", "weight", "random", "pam", "pam_aligned"}
    figures = run / "figures/digits-tinyten-robust"
    assert {path.stem for path in figures.glob("*.svg")} == {path.stem for path in figures.glob("*.pdf")}
    summary = (run / "summary.txt").read_text()
    for word in ("endpoints", "minimum", "barrier", "too few to say", "verdict"):
        assert word in summary
    costs = list((finished.path / "results").rglob("*.cost.json"))
    assert len(costs) == sum(count for rule, count in JOBS.items() if rule not in WITHOUT_PROGRAM)


def test_permuting_an_endpoint_changes_only_what_lies_between(finished):
    points = pd.read_csv(finished.path / "results/tiny/tables/curves.csv", keep_default_na=False)
    ends = points[points["t"].isin([0, 1]) & (points["attack"] == "none")]
    spread = ends.groupby(["recipe", "pair", "split", "t"])["loss"].agg(lambda loss: loss.max() - loss.min())
    assert spread.max() < 1e-4


def test_one_core_and_two_give_the_same_bytes(finished, tmp_path):
    """The last job of each rule, and all tables, made again with one core, in processes of their own."""
    alone = finished.copy(tmp_path / "project")
    complete = copy.deepcopy(TINY)
    configuration.complete(complete, configuration.schema())
    last = {job.rule: job for job in plan.Plan(complete, configuration.schema()).jobs}
    assert last.keys() == ALL.keys()
    jobs = [plan.Made(job, next(iter(plan.RULES[job.rule].outputs))).path for job in last.values()]
    tables = [f"results/tiny/tables/{path.name}" for path in (alone.path / "results/tiny/tables").glob("*.csv")]
    for targets in (jobs, [*tables, "results/tiny/summary.txt"]):
        before = {path: (alone.path / path).stat().st_mtime_ns for path in targets}
        alone.run("--cores", "1", "--force", *targets, python=sys.executable)
        assert all((alone.path / path).stat().st_mtime_ns > time for path, time in before.items())
    ours, theirs = alone.artifacts(), finished.artifacts()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_two_meanings_of_one_name_stand_side_by_side(finished, tmp_path):
    checkout = finished.copy(tmp_path / "project")
    before = checkout.artifacts()
    changed = copy.deepcopy(TINY)
    changed["name"] = "other"
    changed["recipes"]["standard"]["epochs"] = 1
    changed["studies"] = {}
    changed["studies"]["alignment"] = [
        {**TINY["studies"]["alignment"][0], "alignments": ["none"], "curves": ["linear"]},
    ]
    checkout.write_config(changed)
    assert checkout.planned("curves") == {"train": 2, "evaluate_curve": 1, "curves": 1}
    checkout.run("--cores", "2", "curves")
    after = checkout.artifacts()
    assert {name: after[name] for name in before} == before
    assert sum("/standard-" in name and name.endswith("seeds1.safetensors") for name in after) == 2
    checkout.write_config(TINY)
    assert checkout.planned() == {}


def test_what_is_measured_besides_has_its_tables(finished):
    def table(name):
        return pd.read_csv(finished.path / f"results/tiny/tables/{name}.csv", keep_default_na=False)

    planes, marks, activations = table("planes"), table("marks"), table("activations")
    expected = {("none", "bezier"), ("activation", "bezier"), ("activation", "none")}
    assert set(zip(planes["alignment"], planes["curve"])) == expected == set(zip(marks["alignment"], marks["curve"]))
    assert len(planes) == 3 * 9
    # At each t each network is compared with both ends at two sites of 8 layers and the logits.
    assert len(activations) == 2 * 3 * 2 * 2 * 9
    candidates = table("candidates")
    assert list(candidates.groupby("alignment")["candidate"].count()) == [4, 4]
    permutations = table("permutations").set_index(["recipe", "alignment", "other", "position"])["differ"]
    names = ["activation", "none", "pam", "pam_aligned", "random", "weight"]
    assert set(permutations["standard"].index.droplevel("position")) == set(itertools.combinations(names, 2))
    assert set(permutations["robust"].index.droplevel("position")) == {("activation", "none")}
    assert len(permutations) == (15 + 1) * 8


def test_permutations_are_refined_from_none_and_from_another_alignment(fresh):
    def with_pam(config):
        config["studies"] = {}
        config["studies"]["alignment"] = [
            {
                **TINY["studies"]["alignment"][0],
                "alignments": ["pam", "pam_aligned"],
                "curves": ["bezier"],
                "measures": ["planes"],
            },
        ]

    with fresh.configured(with_pam):
        networks = {"prepare_data": 1, "train": 2}
        assert fresh.planned("alignments") == networks | {"align": 1, "refine": 2, "alignments": 1}
        curves = networks | {"align": 1, "refine": 2, "fit_curve": 2, "evaluate_curve": 2, "curves": 1}
        assert fresh.planned("curves") == curves
        # A refinement may stay where it started: only its curves have planes.
        planes = networks | {"align": 1, "refine": 2, "fit_curve": 2, "evaluate_plane": 2, "measures": 1}
        planes["evaluate_signature"] = 2
        assert fresh.planned("measures") == planes


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c["recipes"]["standard"].update(epoch=3), "recipes.standard: unknown key 'epoch'"),
        (lambda c: c["recipes"]["standard"].update(epochs="2"), "recipes.standard.epochs: '2' is not of type"),
        (lambda c: c["studies"]["alignment"][0].update(recipe="stanard"), "'stanard' is not defined"),
    ],
)
def test_a_mistake_in_the_config_is_one_line_before_any_work(fresh, change, words):
    with fresh.configured(change):
        done = fresh.snakemake("--cores", "1")
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if "config, " in line]
    assert len(said) == 1 and words in said[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not (fresh.path / "results").exists()


def test_a_network_that_does_not_fit_the_images_is_one_line(tmp_path):
    checkout = Checkout(tmp_path / "project")
    with checkout.configured(lambda c: c["datasets"]["digits"].update(size=8)):
        done = checkout.snakemake("--cores", "2", "networks")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "check_network.py: network family tinyten: images of 8x8 pixels are too small" in output
    assert "Traceback" not in output
    assert not list((checkout.path / "results/networks").glob("*/tinyten-*/*/*.safetensors"))


def test_every_key_is_explained():
    manual = (PROJECT / "config/README.md").read_text()
    schema = yaml.safe_load((PROJECT / "workflow/schemas/config.schema.yaml").read_text())
    assert {key for key in keys(schema) if f"`{key}`" not in manual} == set()


def keys(schema):
    """Every key that a schema knows."""
    if isinstance(schema, list):
        return set().union(*map(keys, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*(keys(value) for value in schema.values()))


def test_conda_environments_are_those_of_the_lock():
    namespace = {"__file__": str(PROJECT / "envs/make_conda.py"), "__name__": "make_conda"}
    exec((PROJECT / "envs/make_conda.py").read_text(), namespace)
    written = namespace["environments"]()
    assert {path.name for path in written} == {path.name for path in (PROJECT / "envs").glob("*.yaml")}
    for path, text in written.items():
        assert path.read_text() == text, f"{path.name}: run `make lock`"


def test_a_block_of_seeds_is_one_job(tmp_path):
    config = copy.deepcopy(TINY)
    config["recipes"]["standard"]["population"] = 2
    config["studies"] = {}
    config["studies"]["alignment"] = [
        {
            **TINY["studies"]["alignment"][0],
            "pairs": [[1, 2], [2, 3]],
            "alignments": ["activation"],
            "curves": ["linear"],
        },
    ]
    checkout = Checkout(tmp_path / "project", config)
    # Seeds 1 and 2 are one block, 3 and 4 another: one more seed never changes a block that is there.
    expected = {"prepare_data": 1, "train": 2, "align": 2, "evaluate_curve": 2, "curves": 1}
    assert checkout.planned("curves") == expected
    checkout.run("--cores", "2", "curves")
    blocks = sorted(path.name for path in (checkout.path / "results/networks").rglob("*.safetensors"))
    assert blocks == ["seeds1-2.safetensors", "seeds3-4.safetensors"]


def test_where_the_time_of_a_run_went(finished):
    command = [preloaded.python(), str(PROJECT / "tests/benchmarks/account.py"), str(finished.path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shares = [int(share) for share in re.findall(r"(\d+)%", done.stdout)]
    assert len(shares) == 3 and 99 <= sum(shares) <= 101
    rows = re.findall(r"^(\w+) +(\d+) +[\d.]+ +([\d.]+)$", done.stdout, re.MULTILINE)
    assert {rule: int(count) for rule, count, _ in rows} == {k: v for k, v in JOBS.items() if k != "all"}
    # The cost of every program was found.
    assert {rule for rule, _, start in rows if float(start) == 0} == WITHOUT_PROGRAM - {"all"}
