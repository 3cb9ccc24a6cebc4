"""Compare a run's numbers with the main results table of Tatro et al. 2020, cell by cell.

A published number belongs to a cell: the names of data set, network, alignment and curve in the paper's config, which
defines their values. A run's number is put beside it if the run has a cell of these names, trained without attack.
Every value that differs from the paper's config is listed, so that the number of a shorter recipe is not taken for a
reproduction.
"""

import html
import textwrap

import numpy as np
import pandas as pd

from modeconn import tables
from modeconn.text import aligned, number

CELL = ["dataset", "network", "alignment", "curve"]
SETTING = "another setting"
TITLE = "Main results table of Tatro et al. 2020 (test accuracy, %)"
STYLE = "body{font-family:sans-serif}td,th{padding:.3em .8em;text-align:left;border-bottom:1px solid #ccc}"


def differences(ours, theirs):
    """["recipe.epochs 50 (paper: 250)", ...]: every value by which two cells differ, "none" where one lacks it."""
    ours, theirs = _flat(ours), _flat(theirs)
    return [
        f"{key} {ours.get(key, 'none')} (paper: {theirs.get(key, 'none')})"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key) and not key.endswith("shown_as")
    ]


def _flat(values, prefix=""):
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    if not isinstance(values, dict):
        return {prefix: values}
    flat = [_flat(value, f"{prefix}.{key}" if prefix else key) for key, value in values.items()]
    return {path: value for part in flat for path, value in part.items()}


def compare(published, summary, ours, theirs):
    """One row (`tables.PAPER`) for each published number (`tables.PUBLISHED`), with this run's beside it.

    summary: `tables.SUMMARY` of this run. ours, theirs: `configuration.cells` of this run and of the paper's config.
    within_spread: "yes" or "no", whether the means differ by at most two of the paper's standard deviations and half of
    its last digit; "another setting" where a value differs, which `setting` lists; "not run". Raises ValueError for a
    published number of a cell that the paper's config does not have.
    """
    summary = summary[(summary["split"] == "test") & (summary["attack"] == "none")]
    measured = summary.set_index(tables.SUMMARY.key)[["mean", "std", "n"]]
    rows = []
    for row in published.to_dict("records"):
        cell = tuple(row[name] for name in CELL)
        if cell not in theirs:
            raise ValueError(f"the paper's config has no cell {' '.join(cell)}, of which a number is published")
        shown = {"paper_mean": row["mean"], "paper_std": row["std"], "paper_n": row["n"]}
        shown = {name: row[name] for name in tables.PAPER.key} | shown
        ended = {"recipe": "", "mean": np.nan, "std": np.nan, "n": 0, "difference": np.nan, "setting": ""}
        ended |= {"within_spread": "not run", "source": row["source"]}
        if cell in ours:
            recipe, values = ours[cell]
            dataset, network, alignment, curve = cell
            key = (dataset, network, recipe, alignment, curve, "test", "none", row["quantity"])
            ended |= measured.loc[key].to_dict() | {"recipe": recipe}
            ended["difference"] = ended["mean"] - row["mean"]
            relevant = _relevant(row["quantity"])
            ended["setting"] = "; ".join(differences(relevant(values), relevant(theirs[cell][1])))
            spread = 2 * row["std"] + 0.0005
            within = "yes" if abs(ended["difference"]) <= spread + 1e-9 else "no"
            ended["within_spread"] = SETTING if ended["setting"] else within
        rows.append(shown | ended)
    return pd.DataFrame(rows, columns=tables.PAPER.columns)


def _relevant(quantity):
    """The values of a cell that decide a quantity: endpoints do not depend on the curve between them."""
    between = ("alignment", "curve") if quantity.startswith("endpoint_") else ()
    return lambda values: {kind: value for kind, value in values.items() if kind not in between}


def blocks(rows):
    """(header and rows of each network and data set that was run, notes on settings and on cells that were not run)."""
    settings = settings_in(rows)
    found, absent = [], []
    for (network, dataset), block in rows.groupby(["paper_network", "paper_dataset"], sort=False):
        if (block["within_spread"] == "not run").all():
            absent.append(f"{network} on {dataset}")
            continue
        lines = [[f"{network}, {dataset}", "", "paper", "this run", "n", "difference", "within spread"]]
        for row in block.to_dict("records"):
            what = row["quantity"].partition("_")[0] if not row["quantity"].startswith("endpoint") else ""
            lines.append([row["paper_curve"], what, *_cells(row), _verdict(row, settings)])
        found.append(lines)
    return found, notes_on(settings) + ([f"Not run: {', '.join(absent)}."] if absent else [])


def text(rows):
    """The table for a terminal: a block for each network and data set that was run, then those that were not."""
    found, notes = blocks(rows)
    if not found:
        return f"{TITLE}: no cell of it is in this config.\n"
    wrapped = "\n".join(
        textwrap.fill(note, 100, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
        for note in notes
    )
    return "\n\n".join([TITLE, *(aligned(block, left=2) for block in found), wrapped]).rstrip() + "\n"


def page(rows):
    """The table in the paper's form as an HTML page: in each cell the paper's number, and under it this run's."""
    settings = settings_in(rows)
    rows = rows.assign(column=rows["quantity"].replace("endpoint_accuracy", "mean_accuracy"))
    columns = list(dict.fromkeys(zip(rows["paper_dataset"], rows["column"])))
    lines = ["".join(["<th><th>", *(f"<th>{dataset}, {column.partition('_')[0]}" for dataset, column in columns)])]
    for names, of_row in rows.groupby(["paper_network", "paper_curve"], sort=False):
        found = {(row["paper_dataset"], row["column"]): _cell(row, settings) for row in of_row.to_dict("records")}
        cells = [*(f"<th>{name}" for name in names), *(f"<td>{found.get(place, '')}" for place in columns)]
        lines.append("".join(cells))
    return "\n".join(
        [
            f"<!doctype html><meta charset=utf-8><title>{TITLE}</title><style>{STYLE}</style><h1>{TITLE}</h1>",
            "<p>In each cell the paper's number over three pairs, and this run's over n.</p>",
            *["<table>", *(f"<tr>{line}" for line in lines), "</table>"],
            *(f"<p>{html.escape(note)}</p>" for note in notes_on(settings)),
            "",
        ]
    )


def settings_in(rows):
    """Each setting other than the paper's -> a number to refer to it by."""
    return {setting: mark for mark, setting in enumerate(dict.fromkeys(filter(None, rows["setting"])), 1)}


def notes_on(settings):
    """Lines of text that say what the numbers of `settings_in` refer to."""
    return [f"[{mark}] {SETTING}: {setting}" for setting, mark in settings.items()]


def _cells(row):
    """Paper's number, this run's, its n and the difference as words."""
    paper = number(row["paper_mean"], row["paper_std"], 100, 1)
    if row["within_spread"] == "not run":
        return [paper, "", "", ""]
    ours = number(row["mean"], row["std"], 100, 1)
    return [paper, ours, f"{row['n']:.0f}", number(row["difference"], np.nan, 100, 1, "+")]


def _verdict(row, settings):
    return f"[{settings[row['setting']]}]" if row["setting"] else row["within_spread"]


def _cell(row, settings):
    paper, ours, n, difference = _cells(row)
    verdict = _verdict(row, settings)
    if not ours:
        return f"{paper}<br><i>{verdict}</i>"
    verdict = verdict if row["setting"] else f"within spread: {verdict}"
    return f"{paper}<br><b>{ours}</b> (n = {n}), {difference}, {verdict}"
