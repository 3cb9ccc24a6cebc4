"""Draw accuracy and loss on planes through three networks, a column of panels for each alignment.

With a curve: the planes through both endpoints and the curve's middle, the curve on them. With curve none: those
through the first network, the second as it was trained and the second as it is aligned. Everything is the mean over
pairs, and all panels of a row share one scale of colours.
"""

import math

import matplotlib
import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modeconn import drawing, tables

TABLES = [tables.PLANE, tables.MARKS]
BY = ["curve"]

# The largest number of levels of accuracy; levels of loss in each decade, if it ranges over several.
LEVELS = 10
DECADE = (1, 1.5, 2, 3, 5, 7)
LEAST = 1e-6  # nats
MARKS = {
    "first": {"label": "first network", "marker": "o"},
    "second": {"label": "second network", "marker": "s"},
    "aligned": {"label": "second network, aligned", "marker": "^"},
}
MARK = {"color": "white", "markeredgecolor": "black", "markersize": 6, "linestyle": ""}
CURVE = {"label": "the curve", "color": "black", "linewidth": 1.2}
WHITE = {"color": "white", "linewidth": 2.6}


def draw(rows, title, marks):
    """A figure from the planes of one study and curve (`tables.PLANE`) and the networks in them (`tables.MARKS`)."""
    alignments = drawing.in_order(rows["alignment"], drawing.STYLES)
    rows = rows.assign(accuracy=100 * rows["accuracy"])
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.6 + 2.2 * len(alignments)), 5))
    axes = figure.subplots(2, len(alignments), sharex=True, sharey=True, squeeze=False)
    # Bright is good in both rows.
    scales = (
        ("accuracy", "accuracy (%)", _even(rows["accuracy"]), "viridis"),
        ("loss", "loss (nats)", _geometric(rows["loss"]), "viridis_r"),
    )
    for panels, (quantity, label, levels, colours) in zip(axes, scales):
        for panel, alignment in zip(panels, alignments):
            plane = rows[rows["alignment"] == alignment].groupby(["y", "x"])[quantity].mean().unstack()
            norm = BoundaryNorm(levels, matplotlib.colormaps[colours].N, extend="neither")
            filled = panel.contourf(plane.columns, plane.index, plane, levels=levels, cmap=colours, norm=norm)
            filled.set_edgecolor("face")  # or PDF viewers show seams
            _mark(panel, marks[marks["alignment"] == alignment])
            panel.grid(False)
        drawing.colour_bar(figure, filled, list(panels), label, format="{x:.3g}")
    for panel, alignment in zip(axes[0], alignments):
        panel.set_title(drawing.LABELS.get(alignment, alignment))
    figure.supxlabel("along the line between the networks, in units of their distance", fontsize="medium")
    figure.supylabel("away from it, in units of the third network's distance", fontsize="medium")
    present = set(marks["mark"])
    handles = [MARK | mark for name, mark in MARKS.items() if name in present]
    said = drawing.about(title, rows, "means over pairs")
    drawing.legend(figure, said, handles + ([CURVE] if "curve" in present else []))
    return figure


def _even(values):
    """Levels that enclose `values`, at even steps."""
    return MaxNLocator(LEVELS, steps=[1, 2, 5, 10], min_n_ticks=2).tick_values(values.min(), values.max())


def _geometric(values):
    """Levels that enclose `values`, at steps that grow with them; even ones within a decade."""
    low, high = max(values.min(), LEAST), max(values.max(), LEAST)
    if high < 10 * low:
        return _even(values)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    levels = np.array([step * 10.0**decade for decade in decades for step in DECADE])
    return levels[max(np.searchsorted(levels, low, "right") - 1, 0) : np.searchsorted(levels, high, "right") + 1]


def _mark(panel, marks):
    places = marks.groupby(["mark", "t"])[["x", "y"]].mean()
    if "curve" in places.index:
        curve = places.loc["curve"]
        panel.plot(curve["x"], curve["y"], **WHITE)
        panel.plot(curve["x"], curve["y"], **CURVE)
    for name, mark in MARKS.items():
        if name in places.index:
            panel.plot(places.loc[name, "x"], places.loc[name, "y"], **MARK | mark)
