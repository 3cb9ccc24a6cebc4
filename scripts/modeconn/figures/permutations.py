"""Draw how much the permutations of other alignments differ from that of a reference, layer by layer.

Each point is the share of a layer's neurons that are placed differently, the mean over pairs of networks; its bar is
the standard deviation.
"""

import pandas as pd
from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.PERMUTATIONS]
BY: list[str] = []


def draw(rows, title):
    """A figure from the permutations of one study (`tables.PERMUTATIONS`).

    They are compared with that of the alignment named activation or, where there is none, of the first in order.
    """
    both = {"alignment": "other", "other": "alignment"}
    rows = pd.concat([rows, rows.rename(columns=both)])
    aligned = set(rows["alignment"]) - {"none"}
    reference = drawing.in_order(aligned, ["activation"])[0]
    rows = rows[rows["other"] == reference].assign(differ=lambda rows: 100 * rows["differ"])
    styles = drawing.styles(rows["alignment"])
    figure = Figure(figsize=(drawing.LEAST_WIDTH, 3.6))
    panel = figure.subplots()
    for alignment, style in styles.items():
        drawing.draw_bars(panel, rows[rows["alignment"] == alignment], "differ", style)
    drawing.name_groups(panel.xaxis, rows)
    panel.set_ylim(-3, 103)
    panel.set_ylabel(f"neurons placed unlike\n“{drawing.LABELS.get(reference, reference)}” (%)")
    drawing.legend(figure, drawing.about(title, rows, drawing.BARS), drawing.thick(styles))
    return figure
