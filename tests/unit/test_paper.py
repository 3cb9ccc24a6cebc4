"""The paper's table beside a run's: which numbers are compared, and which are within its spread."""

from copy import deepcopy
from pathlib import Path

import pandas as pd
import pytest
import yaml
from synthetic_tables import run

from modeconn import barriers, configuration, paper, tables, targets
from modeconn.identity import canonical

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
PUBLISHED = ROOT / "config/papers/tatro2020.csv"
NUMBERS = tables.read([PUBLISHED], tables.PUBLISHED)


def completed(config):
    config = deepcopy(config)
    configuration.complete(config, SCHEMA)
    return config


THEIRS = completed(yaml.safe_load((ROOT / "config/paper.yaml").read_text()))
# One cell of the paper's config by itself, with its names and values.
ONE = completed(
    {
        **{key: THEIRS[key] for key in ("datasets", "networks", "recipes", "alignments", "curves", "evaluation")},
        "name": "one",
        "attacks": THEIRS["attacks"],
        "studies": {"alignment": [{**THEIRS["studies"]["alignment"][0], "curves": ["bezier"]}]},
    }
)


def summary(**means):
    """The summary table of ONE: accuracies of the unaligned and the aligned curve by quantity."""
    rows = []
    for alignment in ("none", "activation"):
        names = {"dataset": "cifar10", "network": "tinyten", "recipe": "cifar_batch64", "alignment": alignment}
        names |= {"curve": "bezier", "std": 0.002, "n": 3.0}
        for quantity in ("endpoint_accuracy", "mean_accuracy", "minimum_accuracy"):
            measured = {"quantity": quantity, "mean": means.get(f"{alignment}_{quantity}", 0.5)}
            # Only the clean accuracy on test images is the table's.
            for split, attack, offset in (("test", "none", 0), ("train", "none", 0.1), ("test", "pgd", 0.2)):
                place = {"split": split, "attack": attack, "mean": measured["mean"] - offset}
                rows.append(names | measured | place)
    return pd.DataFrame(rows)[tables.SUMMARY.columns]


def compared(config=ONE, **means):
    cells = configuration.cells(config, SCHEMA), configuration.cells(THEIRS, SCHEMA)
    return paper.compare(NUMBERS, summary(**means), *cells)


def found(rows, curve, quantity="minimum_accuracy", network="TinyTen", dataset="CIFAR-10"):
    named = {"paper_network": network, "paper_dataset": dataset, "paper_curve": curve, "quantity": quantity}
    (row,) = rows[(rows[list(named)] == list(named.values())).all(axis=1)].to_dict("records")
    return row


def test_every_published_number_has_its_cell_in_the_papers_config():
    cells = configuration.cells(THEIRS, SCHEMA)
    assert len(NUMBERS) == 9 + 2 * (9 * 2 + 6 * 2)
    assert {tuple(row) for row in NUMBERS[paper.CELL].values} <= set(cells)
    # Also where one pair of the cell is measured besides, in an entry of its own.
    assert {values["pairs"] for _, values in cells.values()} == {3}


@pytest.mark.parametrize(
    ("mean", "verdict"), [(0.8795, "yes"), (0.8805, "yes"), (0.8755, "yes"), (0.8806, "no"), (0.8754, "no")]
)
def test_within_spread_is_two_deviations_and_the_rounding(mean, verdict):
    """The paper's aligned minimum is 87.8 ± 0.1."""
    row = found(compared(activation_minimum_accuracy=mean), "Aligned")
    assert (row["within_spread"], row["setting"], row["recipe"]) == (verdict, "", "cifar_batch64")
    assert row["difference"] == pytest.approx(mean - 0.878)


def test_what_was_not_run_says_so():
    rows = compared()
    assert len(rows) == len(NUMBERS)
    assert found(rows, "PAM Aligned")["within_spread"] == "not run"
    assert (rows["within_spread"] != "not run").sum() == 5


@pytest.mark.parametrize(
    ("path", "value", "setting"),
    [
        ("recipes.cifar_batch64.epochs", 20, "recipe.epochs 20 (paper: 250)"),
        ("curves.bezier.epochs", 20, "curve.epochs 20 (paper: 250)"),
        ("datasets.cifar10.train_images", 3000, "dataset.train_images 3000 (paper: none)"),
        ("networks.tinyten.width", 2, "network.width 2 (paper: 1)"),
        ("alignments.activation.subsample", 16, "alignment.subsample 16 (paper: 32)"),
        ("evaluation.recalibration.images", 10, "evaluation.recalibration.images 10 (paper: 0)"),
        ("evaluation.recalibration.augmented", False, "evaluation.recalibration.augmented none (paper: True)"),
        ("studies.alignment.0.pairs", [[1, 2]], "pairs 1 (paper: 3)"),
    ],
)
def test_a_number_of_another_setting_is_never_a_reproduction(path, value, setting):
    config = deepcopy(ONE)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place = config
    for part in parents:
        place = place[part]
    place[last] = value
    rows = compared(config, activation_minimum_accuracy=0.878)
    row = found(rows, "Aligned")
    assert (row["within_spread"], row["setting"]) == ("another setting", setting)
    assert f"[1] another setting: {setting}" in paper.text(rows)
    assert f"[1] another setting: {setting}" in paper.page(rows)
    # Endpoints do not depend on what lies between them.
    between = path.startswith(("curves", "alignments"))
    assert (found(rows, "endpoints", "endpoint_accuracy")["setting"] == "") == between


def test_statistics_under_attack_are_no_other_setting_of_networks_that_are_not_attacked():
    config = deepcopy(ONE)
    assert config["evaluation"]["recalibration"].pop("attacked")
    assert set(compared(completed(config))["setting"]) == {""}


def test_the_text_names_cells_and_what_was_not_run():
    text = paper.text(compared(none_minimum_accuracy=0.826, activation_minimum_accuracy=0.9))
    lines = {tuple(line.split()[:2]): line.split() for line in text.splitlines()}
    assert lines["Unaligned", "minimum"][2:] == ["82.8", "±", "0.5", "82.6", "±", "0.2", "3", "-0.2", "yes"]
    assert lines["Aligned", "minimum"][-2:] == ["+2.2", "no"]
    assert "ResNet-32 on CIFAR-10" in text.partition("Not run: ")[2]
    assert max(map(len, text.splitlines())) <= 100


def test_the_program_writes_table_page_and_text(tmp_path):
    summary().to_csv(tmp_path / "summary.csv", index=False)
    (tmp_path / "config.json").write_text(canonical(ONE))
    inputs = {"summary-table": tmp_path / "summary.csv", "config": tmp_path / "config.json", "published": PUBLISHED}
    inputs |= {"paper-config": ROOT / "config/paper.yaml", "schema": ROOT / "workflow/schemas/config.schema.yaml"}
    outputs = {"paper-table": tmp_path / "paper.csv", "page": tmp_path / "paper.html", "text": tmp_path / "paper.txt"}
    arguments = [part for name, path in (inputs | outputs).items() for part in (f"--{name}", path)]
    done = run("compare_paper", *arguments)
    assert done.returncode == 0, done.stderr
    assert list(pd.read_csv(outputs["paper-table"])) == tables.PAPER.columns
    assert outputs["page"].read_text().count("<tr>") == 1 + 5 + 5 + 3
    for path in outputs.values():
        path.unlink()
    (tmp_path / "summary.csv").write_text("t,loss\n")
    done = run("compare_paper", *arguments)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "lacks the column" in done.stderr
    assert not any(path.exists() for path in outputs.values())


SHARMA = ROOT / "config/simultaneous.yaml"
TARGETS = tables.read([ROOT / "config/papers/sharma2024.csv"], tables.TARGETS)


def test_numbers_read_off_figures_are_of_cells_that_their_config_measures():
    config = completed(yaml.safe_load(SHARMA.read_text()))
    measured = set()
    for entry in config["studies"]["simultaneous"]:
        origins = [*entry["epochs"], "+".join(map(str, entry["stacked"]))]
        cells = [(str(origin), str(at)) for origin in origins for at in entry["epochs"]]
        measured |= {("simultaneous", *names, "", *cell) for names in scopes(entry) for cell in cells}
    for entry in config["studies"]["averaging"]:
        measured |= {
            ("barriers", *names, pairs, "", "") for names in scopes(entry) for pairs in ("direct", "reference")
        }
    names = ["table", "dataset", "network", "recipe", "alignment", "pairs", "permutation", "at"]
    assert {tuple(row) for row in TARGETS[names].to_numpy()} <= measured
    assert TARGETS["certainty"].str.startswith("read off a figure").all() and len(TARGETS) == 100


def scopes(entry):
    for network in entry["networks"]:
        for alignment in entry["alignments"]:
            yield entry["dataset"], network, entry["recipes"][0], alignment


def test_barriers_stand_beside_those_of_figures_and_say_what_differs():
    theirs = completed(yaml.safe_load(SHARMA.read_text()))
    ours = deepcopy(theirs)
    ours["recipes"]["pruned"]["epochs"] = 2
    names = {"dataset": "cifar10", "network": "vgg8", "recipe": "pruned", "alignment": "weight", "width": 8}
    names |= {"split": "test", "attack": "none", "distance": 1.0}
    # Of pairs with the first network the barrier is 0.5 and 0.7, of the other one 0.9; corrected ones do not count.
    values = {("1-2", "none"): 0.5, ("1-3", "none"): 0.7, ("2-3", "none"): 0.9, ("2-3", "repair"): 0.1}
    quantities = [name for name in barriers.QUANTITIES if "barrier" in name]
    rows = [
        names | {"pair": pair, "correction": correction} | dict.fromkeys(quantities, value)
        for (pair, correction), value in values.items()
    ]
    at = {"along": "epochs", "permutation": "150", "moment": 10.0, "split": "train", "pair": "1-2"}
    moments = [names | at | {"network": "vgg64", "endpoint_accuracy": 0.9} | dict.fromkeys(quantities, 0.1)]
    found = targets.compare(
        TARGETS,
        pd.DataFrame(rows)[tables.BARRIERS.columns],
        pd.DataFrame(moments)[tables.SIMULTANEOUS.columns],
        *(configuration.meanings(config, SCHEMA) for config in (ours, theirs)),
    )
    assert len(found) == len(TARGETS)
    run = found[found["n"] > 0].set_index(["network", "pairs", "at"])
    assert run["n"].to_dict() == {("vgg64", "", "10"): 1, ("vgg8", "direct", ""): 2, ("vgg8", "reference", ""): 1}
    assert run["mean"].tolist() == pytest.approx([0.1, 0.6, 0.9])
    assert run["difference"].tolist() == pytest.approx([0.1 - 0.096, 0.6 - 0.69, 0.9 - 0.72])
    assert set(run["setting"]) == {"recipe.epochs 2 (paper: 160)"}
    said = targets.text(found)
    assert "error, direct" in said and "60.0 ± 14.1" in said and "[1] another setting: recipe.epochs 2" in said
    assert "no cell of them is in this run" in targets.text(found.assign(n=0))
