"""Draw barriers over the epochs of training, a line for the permutation of each epoch (Sharma et al. 2024).

The lines are the rows of the heat map `trajectories`, and the pairs without a permutation.
"""

import numpy as np
from matplotlib import colormaps

from modeconn import drawing, tables

TABLES = [tables.SIMULTANEOUS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
STACKED = {"color": "black", "linestyle": (0, (3, 1.5))}
LIGHTEST = 0.85  # of the map of colours: lighter lines cannot be seen on white


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.SIMULTANEOUS`): networks, error and loss."""
    rows = rows[rows["along"] == "epochs"]
    several = drawing.origins(rows["permutation"])
    found = [name for name in several if "+" not in name]
    colours = map(tuple, colormaps["viridis"](np.linspace(0, LIGHTEST, len(found))))
    styles = drawing.styles({"none"} & set(rows["permutation"]))
    styles |= {epoch: {"label": f"permutation of epoch {epoch}", "color": next(colours)} for epoch in found}
    labels = {name: f"permutation of epochs {drawing.origin_label(name)} at once" for name in several[len(found) :]}
    styles |= {name: STACKED | {"label": label} for name, label in labels.items()}
    figure = drawing.over_moments(rows, styles, "epoch of the networks", singles=("none", *found[-1:]))
    drawing.legend(figure, drawing.about(title, rows), [*drawing.thick(styles), *drawing.single(figure)])
    return figure
