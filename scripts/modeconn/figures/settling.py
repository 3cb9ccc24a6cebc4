"""Draw when the permutation of each layer settles: fixed points between moments, layer by layer (Sharma et al. 2024).

Epochs of training are compared with the last one, levels of pruning with the first, the dense networks. The colour is
the share of a layer's neurons that both permutations place alike, the mean over pairs.
"""

import pandas as pd
from matplotlib.figure import Figure

from modeconn import drawing, tables
from modeconn.figures.trajectories import label_cells

TABLES = [tables.FIXED_POINTS]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
TITLES = {"epochs": "with the last epoch", "levels": "with the dense networks"}


def draw(rows, title):
    """A figure from the rows of one data set and recipe (`tables.FIXED_POINTS`): networks and alignments by along."""
    both = {"moment": "other_moment", "other_moment": "moment"}
    rows = pd.concat([rows, rows.rename(columns=both)]).assign(share=lambda rows: 100 * rows["share"])
    along = drawing.in_order(rows["along"], TITLES)
    places = list(dict.fromkeys(rows[["network", "alignment"]].itertuples(index=False, name=None)))
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.6 + 3 * len(along)), 1.2 + 1.9 * len(places)))
    axes = figure.subplots(len(places), len(along), squeeze=False)
    for (network, alignment), panels in zip(places, axes):
        for kind, panel in zip(along, panels):
            one = rows[(rows["network"] == network) & (rows["alignment"] == alignment) & (rows["along"] == kind)]
            if one.empty:
                continue
            reference = one["other_moment"].max() if kind == "epochs" else one["other_moment"].min()
            grid = one[one["other_moment"] == reference].pivot_table(index="position", columns="moment", values="share")
            drawn = panel.pcolormesh(grid, vmin=0, vmax=100, cmap="viridis")
            drawn.set_edgecolor("face")  # or PDF viewers show seams
            label_cells(panel, grid, lambda share: share < 50)
            groups = one.sort_values("position").drop_duplicates("position")["group"]
            if len(groups) <= drawing.MOST_NAMES:
                panel.set_yticks(panel.get_yticks(), groups.str.removeprefix("network."))
            panel.invert_yaxis()
            panel.grid(False)
            panel.set_title(TITLES[kind])
            panel.set_xlabel("epoch" if kind == "epochs" else "level of pruning")
        drawing.name_row(panels, f"{network}\n{drawing.LABELS.get(alignment, alignment)}")
    drawing.colour_bar(figure, drawn, axes, "neurons placed alike (%)")
    drawing.legend(figure, drawing.about(title, rows, "means over pairs"), [])
    return figure
