"""Draw the correlation of two networks' activations, layer by layer, before and after each alignment.

Each point is the mean correlation of matched channels over pairs of networks, its bar the standard deviation.
Activations are those after the nonlinearity, on clean images, which are measured for every alignment.
"""

from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.SIGNATURE]
BY: list[str] = []


def draw(rows, title):
    """A figure from the signatures of one study (`tables.SIGNATURE`), with a panel for each split."""
    rows = rows[(rows["site"] == "post") & (rows["images"] == "clean")]
    splits = drawing.in_order(rows["split"], drawing.SPLITS)
    styles = drawing.styles(["none", *rows["alignment"]])
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.2 + 3.2 * len(splits)), 3.2))
    panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for panel, split in zip(panels, splits):
        here = rows[rows["split"] == split]
        # Before it, every alignment of a pair is the same.
        _draw_layers(panel, here.drop_duplicates(["pair", "position"]), "before", styles["none"])
        for alignment, style in styles.items():
            _draw_layers(panel, here[here["alignment"] == alignment], "after", style)
        drawing.name_groups(panel.xaxis, here)
        panel.set_title(drawing.SPLITS.get(split, split))
    panels[0].set_ylabel("mean correlation")
    drawing.legend(figure, drawing.about(title, rows, drawing.BARS), drawing.thick(styles))
    return figure


def _draw_layers(panel, rows, quantity, style):
    # The logits are no channels that a permutation could match: their point stands alone.
    for layers in (rows[rows["group"] != "logits"], rows[rows["group"] == "logits"]):
        drawing.draw_bars(panel, layers, quantity, style)
