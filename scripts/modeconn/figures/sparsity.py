"""Draw barriers over the levels of pruning, by permutation: none, that of the dense networks, that of each level.

Source: Sharma et al. 2024. Thin lines are single pairs, thick ones their mean.
"""

import pandas as pd

from modeconn import drawing, tables

TABLES = [tables.SIMULTANEOUS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
# Line -> the alignment whose colour it has, and its label.
LINES = {
    "none": ("none", "unaligned"),
    "first": ("activation", "permutation of the dense networks"),
    "own": ("weight", "permutation of the pruned networks"),
}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.SIMULTANEOUS`): networks, error and loss."""
    rows = rows[rows["along"] == "levels"]
    first = rows["moment"].min()
    origin = rows["permutation"].map(lambda name: name if name == "none" else float(name))
    own = rows[(origin == "none") | (origin == rows["moment"])]
    own = own.assign(permutation=own["permutation"].where(own["permutation"] == "none", "own"))
    rows = pd.concat([own, rows[origin == first].assign(permutation="first")])
    drawn = {line: look for line, look in LINES.items() if line in set(rows["permutation"])}
    styles = {line: drawing.STYLES[colour] | {"label": label} for line, (colour, label) in drawn.items()}
    figure = drawing.over_moments(rows, styles, "level of pruning", singles=tuple(styles))
    drawing.legend(figure, drawing.about(title, rows), [*drawing.thick(styles), *drawing.single(figure)])
    return figure
