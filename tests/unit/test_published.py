"""The numbers on the front page are those that a run is compared with."""

import re
from pathlib import Path

import pandas as pd

PROJECT = Path(__file__).resolve().parents[2]
COLUMNS = {
    "endpoints %": ("endpoint_accuracy", 100, 1),
    "mean %": ("mean_accuracy", 100, 1),
    "minimum %": ("minimum_accuracy", 100, 1),
    "loss barrier, nats": ("loss_barrier_linear", 1, 3),
}


def rows():
    """(recipe, attack, curve, alignment) and cells of each row of the README table; a blank repeats the cell above."""
    lines = [line for line in (PROJECT / "README.md").read_text().splitlines() if line.startswith("|")]
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


def test_the_readme_shows_the_published_numbers():
    published = pd.read_csv(PROJECT / "config/published/digits.csv", keep_default_na=False)
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
