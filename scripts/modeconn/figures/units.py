"""Draw the units of the first layer of two networks as points, and which are matched (Kalaivanan 2023, polar plots)."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.UNITS]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
NETWORKS = {
    "first": {"marker": "o", "s": 14, "linewidths": 0.4, "edgecolors": "0.2"},
    "second": {"marker": "s", "s": 12, "linewidths": 0.4, "edgecolors": "0.2"},
}


def draw(rows, title):
    """A figure from the rows of one data set and recipe (`tables.UNITS`).

    Colour is the outgoing weight, in units of the largest of a network of that size.
    """
    rows = rows.assign(offset=np.tanh(rows["offset"]))  # some lines lie far outside the data
    networks = drawing.by_width(rows)
    known = drawing.styles(rows["alignment"])
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 0.8 + 3 * len(known)), 0.9 + 2 * len(networks)))
    axes = figure.subplots(len(networks), len(known), sharex=True, sharey="row", squeeze=False)
    for line, network, width in zip(axes, networks["network"], networks["width"]):
        for axis, alignment in zip(line, known):
            units = rows[(rows["network"] == network) & (rows["alignment"] == alignment)]
            if units.empty:
                continue
            points = {mark: of_mark.sort_values("unit") for mark, of_mark in units.groupby("mark")}
            ends = [points[mark][["angle", "offset"]].to_numpy() for mark in NETWORKS]
            axis.add_collection(LineCollection(list(zip(*ends)), colors="0.6", linewidths=0.5, zorder=1))
            largest = units["outgoing"].abs().max() or 1
            for mark, look in NETWORKS.items():
                of_mark = points[mark]
                shade = {"c": of_mark["outgoing"] / largest, "cmap": "cividis", "vmin": -1, "vmax": 1}
                drawn = axis.scatter(of_mark["angle"], of_mark["offset"], zorder=2, **look, **shade)
        drawing.name_row(line, f"{width:.0f} units:\ntanh(bias / norm of weights)")
    for axis, style in zip(axes[0], known.values()):
        axis.set_title(style["label"])
    figure.supxlabel("angle of the incoming weights (radians)", fontsize=8)
    handles = [
        {"label": f"{mark} network", "marker": look["marker"], "color": "0.3", "linestyle": "none", "markersize": 4}
        for mark, look in NETWORKS.items()
    ]
    matched = {"label": "averaged with each other", "color": "0.6", "linewidth": 0.8}
    drawing.colour_bar(figure, drawn, axes, "outgoing weight / largest of the panel")
    drawing.legend(figure, drawing.about(title, rows, "networks 1 and 2 of each width"), [*handles, matched])
    return figure
