"""Draw pairs of networks within and across recipes as matrices: barriers, distances and disagreement, recipe by recipe.

A column of panels for each network (Kalaivanan 2023, hyper-parameter study).
"""

from itertools import groupby

import numpy as np
from matplotlib.figure import Figure

from modeconn import drawing, tables
from modeconn.figures.matrices import QUANTITY, matrix, members, recipe_of

TABLES = [tables.BARRIERS, tables.DISAGREEMENTS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
LABELS = {QUANTITY: "loss barrier (nats)", "distance": "distance of weights"}


def draw(rows, title, disagreements):
    """A figure from the rows of one data set, population and split (`tables.BARRIERS`, `tables.DISAGREEMENTS`).

    Panels of one quantity share a scale, which ends at the 95th percentile; the distances of each network have their
    own, since they grow with its width.
    """
    rows = rows[rows["correction"] == "none"]
    disagreements = disagreements.assign(percent=100 * disagreements["disagreement"])
    networks = drawing.by_width(rows)
    known = drawing.styles(rows["alignment"])
    shown = [(quantity, alignment, style) for quantity in LABELS for alignment, style in known.items()]
    lines = len(shown) + 1
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 2.4 + 2.2 * len(networks)), 0.9 + 1.7 * lines))
    axes = figure.subplots(lines, len(networks), squeeze=False)
    for line, (quantity, alignment, style) in zip(axes, shown):
        of_line = rows[rows["alignment"] == alignment]
        scale = rows[quantity].quantile(0.95) if quantity == QUANTITY else None
        fill(line, networks["network"], of_line, quantity, scale)
        drawing.name_row(line, f"{LABELS[quantity]}\n{style['label']}")
    fill(axes[-1], networks["network"], disagreements, "percent", disagreements["percent"].quantile(0.95))
    drawing.name_row(axes[-1], "answers that\ndiffer (%)")
    drawing.name_networks(axes[0], networks)
    drawing.legend(figure, drawing.about(title, rows, "networks recipe by recipe, seeds in order"), [])
    return figure


def fill(axes, networks, rows, quantity, highest):
    """A line of panels, one a network; `highest` is the end of their common scale, None for a scale of each."""
    for axis, network in zip(axes, networks):
        pairs = rows[rows["network"] == network]
        if pairs.empty:
            continue
        values = matrix(pairs, quantity)
        end = (highest if highest is not None else values.max()) or 1
        shown = axis.imshow(values, vmin=0, vmax=end, cmap="magma_r", interpolation="nearest")
        axis.grid(visible=False)
        mark(axis, members(pairs))
        axis.figure.colorbar(shown, ax=axis, extend="neither" if highest is None else "max")


def mark(axis, names):
    """Lines between the blocks of recipes, and the recipes' names beside them."""
    blocks = [(recipe, len(list(of_recipe))) for recipe, of_recipe in groupby(names, recipe_of)]
    ends = np.cumsum([size for _, size in blocks])
    for end in ends[:-1]:
        axis.axhline(end - 0.5, color="white", linewidth=0.8)
        axis.axvline(end - 0.5, color="white", linewidth=0.8)
    middles = [end - size / 2 - 0.5 for end, (_, size) in zip(ends, blocks)]
    axis.set_yticks(middles if axis.get_subplotspec().is_first_col() else [], None)
    axis.set_xticks(middles if axis.get_subplotspec().is_last_row() else [], None)
    labels = [recipe for recipe, _ in blocks]
    if axis.get_subplotspec().is_first_col():
        axis.set_yticklabels(labels, fontsize=6)
    if axis.get_subplotspec().is_last_row():
        axis.set_xticklabels(labels, fontsize=6, rotation=45, ha="right", rotation_mode="anchor")
