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
        for axis, network in zip(line, networks["network"]):
            pairs = rows[(rows["network"] == network) & (rows["alignment"] == alignment)]
            if pairs.empty:
                continue
            shown = axis.imshow(clustered(matrix(pairs)), vmin=0, vmax=highest, cmap="magma_r", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
        drawing.name_row(line, style["label"])
    drawing.name_networks(axes[0], networks)
    figure.colorbar(shown, ax=axes, label="loss barrier (nats)", extend="max")
    drawing.legend(figure, drawing.about(title, rows, "rows and columns: networks, ordered by clustering"), [])
    return figure


def matrix(pairs, quantity=QUANTITY):
    """The symmetric matrix (N, N) of a quantity of all pairs of N networks (`members`), zero on the diagonal."""
    ends, names = pairs["pair"].str.split("-", expand=True), members(pairs)
    first, second = (ends[end].map(names.index).to_numpy() for end in (0, 1))
    found = np.zeros((len(names), len(names)))
    found[first, second] = found[second, first] = pairs[quantity]
    return found


def members(pairs):
    """The names of the networks of all pairs: seeds in order, recipe by recipe where they are <recipe>:<seed>."""
    names = {*pairs["pair"].str.split("-", expand=True).to_numpy().flat}
    return sorted(names, key=lambda name: (recipe_of(name), int(name.rpartition(":")[2])))


def recipe_of(name):
    """The recipe of a network that is named <recipe>:<seed>, nothing of one that is named by its seed alone."""
    return name.rpartition(":")[0]


def clustered(barriers):
    """The matrix with rows and columns in the order of the leaves of hierarchical clustering by single linkage."""
    if len(barriers) < 3:
        return barriers
    order = hierarchy.leaves_list(hierarchy.linkage(squareform(barriers), "single"))
    return barriers[np.ix_(order, order)]
