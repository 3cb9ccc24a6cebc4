"""Draw the barriers between all pairs of networks as matrices, clustered: a column of panels for each network."""

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from modeconn import drawing, tables

TABLES = [tables.BARRIERS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
QUANTITY = "loss_barrier_max_endpoint"


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.BARRIERS`)."""
    rows = rows[rows["correction"] == "none"]
    networks = drawing.by_width(rows)
    known = drawing.styles(rows["alignment"])
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.2 + 1.3 * len(networks)), 0.9 + 1.4 * len(known)))
    axes = figure.subplots(len(known), len(networks), squeeze=False)
    highest = rows[QUANTITY].quantile(0.95) or 1
    for line, (alignment, style) in zip(axes, known.items()):
        line[0].set_ylabel(style["label"])
        for axis, network in zip(line, networks["network"]):
            pairs = rows[(rows["network"] == network) & (rows["alignment"] == alignment)]
            shown = axis.imshow(clustered(matrix(pairs)), vmin=0, vmax=highest, cmap="magma_r", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
    for axis, network, width in zip(axes[0], networks["network"], networks["width"]):
        axis.set_title(f"{network}: {width:.0f} units")
    figure.colorbar(shown, ax=axes, label="loss barrier (nats)", extend="max")
    drawing.legend(figure, drawing.about(title, rows, "rows and columns: networks, ordered by clustering"), [])
    return figure


def matrix(pairs):
    """The symmetric matrix (N, N) of the barriers of all pairs of N networks, zero on the diagonal."""
    ends = pairs["pair"].str.split("-", expand=True).astype(int)
    names = sorted({*ends[0], *ends[1]})
    first, second = (ends[end].map(names.index).to_numpy() for end in (0, 1))
    found = np.zeros((len(names), len(names)))
    found[first, second] = found[second, first] = pairs[QUANTITY]
    return found


def clustered(barriers):
    """The matrix with rows and columns in the order of the leaves of hierarchical clustering by single linkage."""
    if len(barriers) < 3:
        return barriers
    order = hierarchy.leaves_list(hierarchy.linkage(squareform(barriers), "single"))
    return barriers[np.ix_(order, order)]
