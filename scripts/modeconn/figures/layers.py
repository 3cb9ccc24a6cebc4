"""Draw the correlation of activations along a curve with those of its endpoints, layer by layer, against t."""

import numpy as np
from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.ACTIVATIONS]
BY = ["curve"]


def draw(rows, title):
    """A figure from the activations of one study and curve (`tables.ACTIVATIONS`): alignments by endpoints."""
    rows = rows[rows["site"] == "post"]
    alignments = drawing.in_order(rows["alignment"], drawing.STYLES)
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 2.4 + 1.8 * len(alignments)), 5))
    axes = figure.subplots(len(drawing.ENDS), len(alignments), sharex=True, sharey=True, squeeze=False)
    scale = {"vmin": min(0, rows["before"].min()), "vmax": 1, "cmap": "viridis"}
    for (end, name), panels in zip(drawing.ENDS.items(), axes):
        for panel, alignment in zip(panels, alignments):
            here = rows[(rows["end"] == end) & (rows["alignment"] == alignment)]
            layers = here.groupby(["position", "t"])["before"].mean().unstack()
            drawn = panel.pcolormesh(layers.columns, layers.index, layers, shading="nearest", **scale)
            drawn.set_edgecolor("face")  # or PDF viewers show seams
            panel.set_xticks(np.linspace(0, 1, 3), ["0", "0.5", "1"])
            panel.grid(False)
        panels[0].set_ylabel(f"to the {name}")
    axes[0, 0].invert_yaxis()
    drawing.name_groups(axes[0, 0].yaxis, rows)
    for panel, alignment in zip(axes[0], alignments):
        panel.set_title(drawing.LABELS.get(alignment, alignment))
    figure.supxlabel("position $t$ on the curve", fontsize="medium")
    drawing.colour_bar(figure, drawn, axes, "mean correlation of channels")
    drawing.legend(figure, drawing.about(title, rows, "means over pairs"), [])
    return figure
