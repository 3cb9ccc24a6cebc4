"""Draw barriers between all pairs of many networks over width, a violin for each alignment (Kalaivanan 2023).

The median of each violin has the marker of its alignment.
"""

import numpy as np

from modeconn import drawing, tables

TABLES = [tables.BARRIERS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
MEDIAN = {"linestyle": "", "markersize": 4, "markeredgecolor": "black", "markeredgewidth": 0.5}
PANELS = {
    "loss_barrier_max_endpoint": "loss barrier (nats)",
    "error_barrier_linear": "error barrier (points)",
}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.BARRIERS`)."""
    rows = rows[rows["correction"] == "none"]
    rows = rows.assign(error_barrier_linear=100 * rows["error_barrier_linear"])
    rows, networks = drawing.placed(rows), drawing.by_width(rows)
    known, markers = drawing.styles(rows["alignment"]), drawing.markers(rows["alignment"])
    known = {name: style | {"marker": markers[name]} for name, style in known.items()}
    figure, axes = drawing.stack(len(PANELS), 1.4 + 0.7 * len(networks))
    for axis, (quantity, label) in zip(axes, PANELS.items()):
        for turn, (alignment, style) in enumerate(known.items()):
            shift = (turn - (len(known) - 1) / 2) * 0.8 / len(known)
            for place, of_network in rows[rows["alignment"] == alignment].groupby("place"):
                violin(axis, of_network[quantity].to_numpy(), place + shift, 0.7 / len(known), style)
        axis.set_ylabel(label)
        axis.grid(axis="x", visible=False)
    drawing.name_places(axes[-1], networks)
    handles = [style | MEDIAN for style in known.values()]
    drawing.legend(figure, drawing.about(title, rows, "a violin holds all pairs; marker: median"), handles)
    return figure


def violin(axis, values, place, width, style):
    """One violin of `values` (P,) at `place`, its density cut at the extremes, and a marker at the median."""
    colour = style["color"]
    if np.ptp(values) > 0:
        for body in axis.violinplot(values, [place], widths=width, showextrema=False)["bodies"]:
            body.set(facecolor=colour, alpha=0.35, edgecolor=colour, linewidth=0.6, linestyle=style["linestyle"])
    axis.plot([place], [np.median(values)], **style | MEDIAN)
