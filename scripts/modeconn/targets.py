"""Numbers that were read off the figures of Sharma et al. 2024 beside a run's own, cell by cell.

A number is named as in the paper's config, `config/simultaneous.yaml`: a pair's barrier under the permutation of an
epoch at an epoch (table simultaneous), or the barrier of two of several networks (table barriers), matched to one
another (pairs: direct) or both to the first one (reference). Numbers read off a figure are accurate to about a
hundredth, so nothing is judged. Every value by which the run's meaning of these names differs is listed.
"""

import textwrap

import numpy as np
import pandas as pd

from modeconn import tables
from modeconn.paper import differences, notes_on, settings_in
from modeconn.text import aligned, number

TITLE = "Barriers read off the figures of Sharma et al. 2024 (error: points; loss: nats)"
NOT_RUN = f"{TITLE}: no cell of them is in this run."
KINDS = ("dataset", "network", "recipe", "alignment")


def compare(published, barriers, simultaneous, ours, theirs):
    """One row (`tables.TARGETS_BESIDE`) for each published number (`tables.TARGETS`), with this run's beside it.

    barriers, simultaneous: `tables.BARRIERS` and `tables.SIMULTANEOUS` of this run. ours, theirs:
    `configuration.meanings` of this run and of the paper's config. Where nothing was measured, or the paper's split is
    not known, n is 0. Raises ValueError for a number of a name that the paper's config does not have.
    """
    epochs = simultaneous[simultaneous["along"] == "epochs"]
    epochs = epochs.assign(at=epochs["moment"].map("{:.0f}".format))
    found = {"barriers": _by_way(barriers), "simultaneous": epochs}
    rows = []
    for row in published.to_dict("records"):
        if missing := [kind for kind in KINDS if row[kind] not in theirs[kind]]:
            kind = missing[0]
            raise ValueError(f"the paper's config has no {kind} {row[kind]}, of which a number is published")
        place = ["pairs"] if row["table"] == "barriers" else ["permutation", "at"]
        cells = found[row["table"]]
        key = [*KINDS, *place, "split"]
        here = cells[(cells[key] == [row[name] for name in key]).all(axis=1)]
        values = here.loc[here["attack"] == "none", row["quantity"]]
        setting = differences(*(_setting(of, row) for of in (ours, theirs))) if len(values) else []
        measured = {"mean": values.mean(), "std": values.std(), "n": len(values), "setting": "; ".join(setting)}
        measured["difference"] = measured["mean"] - row["mean"]
        rows.append(row | {"paper_mean": row["mean"]} | measured)
    return pd.DataFrame(rows, columns=tables.TARGETS_BESIDE.columns)


def _by_way(barriers):
    """The barriers of networks without correction, and whether a pair is matched directly or by way of the first
    network."""
    first, second = (barriers["pair"].str.split("-").str[end] for end in (0, -1))
    numbers = pd.to_numeric(pd.concat([first, second]), errors="coerce")  # names of several recipes are none
    reference = f"{numbers.min():.0f}"
    pairs = np.where((first == reference) | (second == reference), "direct", "reference")
    return barriers.assign(pairs=pairs)[barriers["correction"] == "none"]


def _setting(meanings, row):
    """What the names of a number mean."""
    return {kind: meanings[kind][row[kind]][1] for kind in KINDS if row[kind] in meanings[kind]}


def blocks(rows):
    """(header and rows of cells of the numbers that were run, notes on their settings); rows: of `compare`."""
    run = rows[rows["n"] > 0]
    settings = settings_in(run)
    lines = [["network", "alignment", "what", "split", "paper", "this run", "n", "setting"]]
    for row in run.to_dict("records"):
        error = row["quantity"].startswith("error")
        scale, digits = (100, 1) if error else (1, 3)
        found_at = row["permutation"] and f"epoch {row['permutation']} at {row['at']}"
        what = f"{'error' if error else 'loss'}, {row['pairs'] or found_at}"
        numbers = number(row["paper_mean"], np.nan, scale, digits), number(row["mean"], row["std"], scale, digits)
        mark = f"[{settings[row['setting']]}]" if row["setting"] else "the paper's"
        lines.append([row["network"], row["alignment"], what, row["split"], *numbers, f"{row['n']:.0f}", mark])
    return lines, notes_on(settings)


def text(rows):
    """For a terminal: the numbers of the networks that were run, and what differs in their settings."""
    lines, notes = blocks(rows)
    if len(lines) == 1:
        return f"{NOT_RUN}\n"
    wrapped = [textwrap.fill(note, 100, initial_indent="  ", subsequent_indent="      ") for note in notes]
    return "\n\n".join([TITLE, aligned(lines, left=4), *wrapped]) + "\n"
