"""Draw barriers over the epochs of training, a line for each permutation by the epoch it was found at (Sharma et al.).

The same cells as the heat map, of whose rows the lines are, and the pairs without a permutation.
"""

from matplotlib import colormaps

from modeconn import drawing, tables

TABLES = [tables.SIMULTANEOUS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
STACKED = {"color": "black", "linestyle": (0, (3, 1.5))}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.SIMULTANEOUS`): networks, error and loss."""
    rows = rows[rows["along"] == "epochs"]
    several = drawing.origins(rows["permutation"])
    found = [name for name in several if "+" not in name]
    colours = colormaps["viridis"].resampled(max(2, len(found)))
    styles = {"none": drawing.STYLES["none"] | {"label": drawing.LABELS["none"]}}
    styles |= {epoch: {"label": f"permutation of epoch {epoch}", "color": colours(n)} for n, epoch in enumerate(found)}
    labels = {name: f"permutation of epochs {drawing.origin_label(name)} at once" for name in several[len(found) :]}
    styles |= {name: STACKED | {"label": label} for name, label in labels.items()}
    figure = drawing.over_moments(rows, styles, "epoch of the networks", singles=("none", *found[-1:]))
    drawing.legend(figure, f"{title}, n = {rows['pair'].nunique()} pairs", drawing.thick(styles))
    return figure
