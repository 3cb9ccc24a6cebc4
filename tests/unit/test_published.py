"""The numbers of the results page are those that a run is compared with."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
COLUMNS = {
    "endpoints %": ("endpoint_accuracy", 100, 1),
    "mean %": ("mean_accuracy", 100, 1),
    "minimum %": ("minimum_accuracy", 100, 1),
    "loss barrier, nats": ("loss_barrier_linear", 1, 3),
}


def rows():
    """(recipe, attack, curve, alignment) and cells of each row of the results page; a blank repeats the cell above."""
    section = (PROJECT / "results/README.md").read_text().partition("\n### MNIST, eight pairs\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (start,) = [i for i, cells in enumerate(table) if cells[0].startswith("recipe")]
    header, study, path = table[start], None, None
    for cells in table[start + 2 :]:
        if len(cells) != len(header):
            return
        study, path = cells[0] or study, cells[1] or path
        recipe = re.match(r"\w+", study).group()
        curve = {"straight line": "linear", "Bézier": "bezier"}[path]
        yield (recipe, "pgd" if "attack" in study else "none", curve, cells[2]), dict(zip(header, cells))


def test_the_results_page_shows_the_published_numbers():
    published = pd.read_csv(PROJECT / "config/published/mnist.csv", keep_default_na=False)
    published = published.set_index(["recipe", "attack", "curve", "alignment", "quantity"])
    checked = 0
    for key, cells in rows():
        for column, (quantity, scale, digits) in COLUMNS.items():
            row = published.loc[(*key, quantity)]
            expected = f"{scale * float(row['mean']):.{digits}f}"
            if row["std"] != "":
                expected += f" ± {scale * float(row['std']):.{digits}f}"
            assert cells[column] == expected, (key, column)
            checked += 1
    assert checked == 11 * len(COLUMNS)


def test_the_published_numbers_are_those_of_eight_pairs_of_the_default_config():
    """What a new run is held against has an interval: one or two pairs give none that says anything."""
    default, published = (
        yaml.safe_load((PROJECT / "config" / name).read_text(encoding="utf-8"))
        for name in ("config.yaml", "published/mnist.yaml")
    )
    assert (default["name"], published.pop("name")) == ("mnist", "mnist_8")
    for entry, of_eight in zip(default["studies"]["alignment"], published["studies"]["alignment"], strict=True):
        pairs = entry.pop("pairs"), of_eight.pop("pairs")
        assert pairs[1][: len(pairs[0])] == pairs[0]
        seeds = [seed for pair in pairs[1] for seed in pair]
        assert "planes" in entry.get("measures", []) or seeds == list(range(1, 17))
    # Of the default config's studies that on one permutation for many moments has no published numbers.
    for section, named in published.items():
        there = {name: default[section].get(name) for name in named} if isinstance(named, dict) else default[section]
        assert there == named, section
    numbers = pd.read_csv(PROJECT / "config/published/mnist.csv", keep_default_na=False)
    assert set(numbers["n"]) == {8}


MEASURED = ["deep4", "deep8", "deep16", "deep32", "deep64", "deep128"]


# Config -> the networks that have been measured, all where there are none.
@pytest.mark.parametrize(("name", "measured"), [("config", []), ("moons", []), ("averaging", MEASURED)])
def test_published_barriers_are_of_the_populations_of_their_config(name, measured):
    config = yaml.safe_load((PROJECT / f"config/{name}.yaml").read_text(encoding="utf-8"))
    rows = pd.read_csv(PROJECT / f"config/published/{config['name']}.barriers.csv", keep_default_na=False)
    entries = config["studies"]["averaging"]
    entry = next(entry for entry in entries if entry["dataset"] == rows["dataset"].iloc[0])
    corrections = ["none", *config.get("barriers", {}).get("corrections", [])]
    cells = {
        (entry["dataset"], network, recipe, alignment, correction)
        for network in measured or entry["networks"]
        for recipe in entry["recipes"]
        for alignment in entry["alignments"]
        for correction in corrections
    }
    names = ["dataset", "network", "recipe", "alignment", "correction"]
    assert set(rows[names].itertuples(index=False, name=None)) == cells
    assert set(rows["networks"]) == {entry["seeds"]} and set(rows["n"]) == {entry["seeds"] * (entry["seeds"] - 1) // 2}
    assert ((rows["standard_error"] > 0) | (rows["mean"] == 0)).all()


def test_published_numbers_of_networks_on_mnist_are_of_cells_that_their_config_measures():
    config = yaml.safe_load((PROJECT / "config/mlp.yaml").read_text(encoding="utf-8"))
    measured = {
        (entry["dataset"], network, recipe, alignment, correction)
        for entry in config["studies"]["averaging"]
        for network in entry["networks"]
        for recipe in entry["recipes"]
        for alignment in entry["alignments"]
        for correction in ("none", *config["barriers"]["corrections"])
    }
    cells = pd.read_csv(PROJECT / "config/papers/mnist_mlp.csv", keep_default_na=False)
    names = ["dataset", "network", "recipe", "alignment", "correction"]
    assert set(cells[names].itertuples(index=False, name=None)) <= measured
    assert not cells.duplicated([*names, "t", "quantity"]).any() and set(cells["t"]) == {0, 0.5}
