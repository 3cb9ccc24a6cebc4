"""Draw barriers over the levels of pruning: without permutation, with the dense networks', with each level's.

Source: Sharma et al. 2024. Thin lines are single pairs, thick ones their mean.
"""

import pandas as pd

from modeconn import drawing, tables

TABLES = [tables.SIMULTANEOUS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
STYLES = {
    "none": drawing.STYLES["none"] | {"label": "unaligned"},
    "first": drawing.STYLES["activation"] | {"label": "permutation of the dense networks"},
    "own": drawing.STYLES["weight"] | {"label": "permutation of the pruned networks"},
}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.SIMULTANEOUS`): networks, error and loss."""
    rows = rows[rows["along"] == "levels"]
    first = rows["moment"].min()
    origin = rows["permutation"].map(lambda name: name if name == "none" else float(name))
    own = rows[(origin == "none") | (origin == rows["moment"])]
    own = own.assign(permutation=own["permutation"].where(own["permutation"] == "none", "own"))
    rows = pd.concat([own, rows[origin == first].assign(permutation="first")])
    figure = drawing.over_moments(rows, STYLES, "level of pruning", singles=tuple(STYLES))
    drawing.legend(figure, f"{title}, n = {own['pair'].nunique()} pairs", [*drawing.thick(STYLES), drawing.SINGLE])
    return figure
