"""For each edit exactly the expected jobs run again, as a dry run after a real run says."""

import copy
import os
import shutil

import pytest

import explain_plan
from modeconn.plan import RULES
from workflow.checkout import FIGURES, TINY, Checkout
from workflow.edits import ALL, CONFIG_EDITS, CURVES, ROOM, SOURCE_EDITS

ALIGNMENT = {"tabulate_alignment": 1, "compare_paper": 1, "judge_claims": 1, "draw": 23}
TABLES = {"tabulate_runs": 1, "tabulate_alignment": 1, "tabulate_averaging": 1, "tabulate_simultaneous": 1}
TABLES |= {"compare_paper": 1, "judge_claims": 1}
REPORT = {"write_report": 1, "all": 1}
# What is made anew wherever all that is measured may have changed.
DOWNSTREAM = TABLES | FIGURES | REPORT
# The config itself is written out with the tables, and what they are made from is listed.
CONFIG = {"write_config": 1, "list_measurements": 4}


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
        ("results/*/tables/pairs.csv", ALIGNMENT),
        ("results/*/figures/*/spectrum*.pdf", {"draw": 2}),
        ("results/best/*/*/*/1-2/none/bezier-*/*.csv", {"select_network": 1}),
        ("results/best/*/*/*/1-2/none/bezier-*/*.safetensors", {"select_network": 1}),
        ("results/signatures/*/*/robust-*/*/activation-*.csv", {"evaluate_signature": 1}),
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
    again = CONFIG | TABLES | FIGURES | REPORT
    assert checkout.planned() == again
    shutil.rmtree(checkout.path / ".snakemake")
    with checkout.edited(f"{ROOM}matching/weight.py", "BLOCK = 2**16", "BLOCK = 2**15"):
        done = checkout.run("--dry-run", "--printshellcmds", "--quiet", "host")
    assert ["align", "3", "source of matching.weight"] in explain_plan.rows(done.stdout + done.stderr)
    shutil.rmtree(checkout.path / ".snakemake")
    with checkout.configured(lambda config: config["curves"]["bezier"].update(optimizer={"learning_rate": 0.02})):
        planned = checkout.planned()
    assert planned["fit_curve"] == CURVES["fit_curve"] and "align" not in planned and "train" not in planned


def test_a_file_above_a_megabyte_touched(tmp_path):
    """Contents count, not dates, also above the size up to which Snakemake compares them by itself."""
    config = copy.deepcopy(TINY)
    config["datasets"]["digits"] = {"source": "digits", "size": 32}
    config["recipes"]["standard"].update(epochs=1, population=2)
    config["studies"] = {"alignment": [TINY["studies"]["alignment"][0]]}
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


# Of the edits of which `test_plan` says what they compute anew, those of which Snakemake is asked too.
ASKED_SOURCE = (
    "a comment in the library",
    "the attack: standard networks and their curves stay",
    "one matching method: the other alignments stay",
    "recalibration: nothing is trained anew",
    "the source of the data set",
    "the lines between all pairs",
)
ASKED_CONFIG = (
    "the learning rate of one curve",
    "two parameters swapped",
    "one more seed: only the new pair",
    "one more network of a population: its block, and what it is compared in",
    "a default written out",
    "the order of keys",
    "the folder of downloads",
)
SHOWN_EDITS = {
    "one figure": (
        ROOM + "figures/signatures.py",
        '"mean correlation"',
        '"correlation"',
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
        "config/papers/tatro2020.csv",
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


def computed(planned):
    """Of the jobs that are planned those that compute."""
    return {rule: number for rule, number in planned.items() if rule in RULES}


@pytest.mark.parametrize("name", ASKED_SOURCE)
def test_source(finished, name):
    path, old, new, expected = SOURCE_EDITS[name]
    with finished.edited(path, old, new):
        planned = finished.planned()
    assert computed(planned) == expected
    assert planned.keys() - RULES.keys() == (shown_anew(expected) if expected else set())


def shown_anew(expected):
    """The rules that show what these jobs measure."""
    makes = {output for rule in expected for output in RULES[rule].outputs}
    tabulated = {"runs"} if makes & {"history", "networks", "permutation", "bends", "statistics"} else set()
    tabulated |= {"averaging"} if "evaluate_barriers" in expected else set()
    tabulated |= {"simultaneous"} if "evaluate_grid" in expected else set()
    tabulated |= {"alignment"} if "evaluate_curve" in expected else set()
    shown = {f"tabulate_{study}" for study in tabulated} | {"judge_claims", "draw", *REPORT}
    return shown | ({"compare_paper"} if "alignment" in tabulated else set())


@pytest.mark.parametrize("name", SHOWN_EDITS)
def test_what_is_shown(finished, name):
    path, old, new, expected = SHOWN_EDITS[name]
    with finished.edited(path, old, new):
        assert finished.planned() == expected


@pytest.mark.parametrize("name", ASKED_CONFIG)
def test_config(finished, name):
    change, expected = CONFIG_EDITS[name]
    with finished.configured(change):
        planned = finished.planned()
    assert computed(planned) == expected
    assert ("judge_claims" in planned) == bool(expected)
    assert ("write_config" in planned) == (name not in ("a default written out", "the order of keys"))


def test_what_was_edited_and_put_back_runs_nothing(finished):
    """All those edits have been, and none is left."""
    assert finished.planned() == {}


def test_a_default_changed_in_the_schema(finished):
    old = (
        "description: Draws the splits.\n          type: integer\n          minimum: 0\n"
        "          maximum: 4294967295\n          default: 0"
    )
    with finished.edited(SCHEMA, old, old.replace("default: 0", "default: 1")):
        expected = ALL | CONFIG | DOWNSTREAM
        assert finished.planned() == expected


def test_a_key_added_to_the_schema(finished):
    """A new key whose default is what was done before changes no identity: only the config is written out anew."""
    old = "        hold_out:\n"
    new = "        unheard_of: {description: New., type: integer, default: 0, neutral: 0}\n"
    with finished.edited(SCHEMA, old, new + old):
        assert finished.planned() == {"write_config": 1} | REPORT
        with finished.configured(lambda c: c["datasets"]["digits"].update(unheard_of=1)):
            assert finished.planned("networks") == {"prepare_data": 1, "train": 5, "prune": 1, "networks": 1}


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
    entry = {**TINY["studies"]["alignment"][0], "alignments": ["activation"], "curves": ["chain"]}
    other["studies"] = {"alignment": [entry]}
    finished.write_config(other)
    try:
        planned = finished.planned("curves")
    finally:
        finished.write_config(TINY)
    assert planned == {"fit_curve": 1, "evaluate_curve": 1, "curves": 1}
