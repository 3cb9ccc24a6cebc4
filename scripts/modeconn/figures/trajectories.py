"""Draw a heat map of error barriers: the epoch of the permutation against that of the networks (Sharma et al. 2024).

The colour is the error barrier of the straight line, the mean over pairs.
"""

import numpy as np

from modeconn import drawing, tables

TABLES = [tables.SIMULTANEOUS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
MOST_NUMBERS = 12  # epochs along a side, in whose cells numbers can be read


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.SIMULTANEOUS`): networks by alignments."""
    rows = rows[(rows["along"] == "epochs") & (rows["permutation"] != "none")]
    rows = rows.assign(error=100 * rows["error_barrier_linear"])
    found = drawing.origins(rows["permutation"])
    alignments = list(drawing.styles(rows["alignment"]))
    networks = drawing.by_width(rows)["network"].tolist()
    size = min(4.2, 1.3 + 0.28 * rows["moment"].nunique())
    figure, axes = drawing.matrix(len(networks), len(alignments), size)
    scale = {"vmin": 0, "vmax": max(1.0, rows["error"].max()), "cmap": "viridis_r"}
    for network, panels in zip(networks, axes):
        for alignment, panel in zip(alignments, panels):
            one = rows[(rows["network"] == network) & (rows["alignment"] == alignment)]
            if one.empty:
                continue
            grid = one.pivot_table(index="permutation", columns="moment", values="error")
            grid = grid.reindex([name for name in found if name in grid.index])
            drawn = panel.pcolormesh(grid, **scale)
            drawn.set_edgecolor("face")  # or PDF viewers show seams
            label_cells(panel, grid, lambda value: value > scale["vmax"] / 2)
            panel.grid(False)
        drawing.name_row(panels, f"{network}\nepoch of the permutation")
    for alignment, panel in zip(alignments, axes[0]):
        panel.set_title(drawing.LABELS.get(alignment, alignment))
    for panel in axes[-1]:
        panel.set_xlabel("epoch of the networks")
    drawing.colour_bar(figure, drawn, axes, "error barrier (points)")
    drawing.legend(figure, drawing.about(title, rows, "means over pairs"), [])
    return figure


def label_cells(panel, grid, is_dark):
    """Name rows and columns of a heat map by their epochs, and write its numbers where they can be read.

    is_dark: whether the colour of a value is.
    """
    for axis, epochs in ((panel.xaxis, grid.columns), (panel.yaxis, grid.index)):
        names = [drawing.origin_label(epoch) if isinstance(epoch, str) else f"{epoch:.0f}" for epoch in epochs]
        axis.set_ticks(np.arange(len(epochs)) + 0.5, names)
    if max(grid.shape) > MOST_NUMBERS:
        return
    for (row, column), value in np.ndenumerate(grid.to_numpy()):
        colour = "white" if is_dark(value) else "black"
        text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
        panel.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=6)
