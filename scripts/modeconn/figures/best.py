"""Draw the test accuracy of the best network on each curve beside its ends, and of ensembles, clean and under attack.

A small point is a pair of networks, a large one the mean. For each alignment a line joins the mean of both ends to each
of the others.
"""

import itertools

from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.BEST]
BY: list[str] = []

MEAN = {"markersize": 4, "linestyle": ""}
SINGLE = {"marker": ".", "markersize": 3, "alpha": 0.5, "linestyle": ""}
# What is measured, from top to bottom; both ends of a curve share a row.
ROWS = {
    "first": "both ends",
    "second": "both ends",
    "best": "best on the path",
    "ends": "ensemble of both ends",
    "ensemble": "ensemble along the path",
}


def draw(rows, title):
    """A figure from the tested networks of one study (`tables.BEST`): a row of panels a curve, a column an attack."""
    rows = rows[rows["split"] == "test"]
    curves = drawing.in_order(rows["curve"], drawing.CURVES)
    attacks = drawing.in_order(rows["attack"], ["none"])
    markers = drawing.markers(rows["alignment"])
    styles = {
        alignment: {"label": style["label"], "color": style["color"], "marker": markers[alignment], **MEAN}
        for alignment, style in drawing.styles(rows["alignment"]).items()
    }
    labels = list(dict.fromkeys(ROWS.values()))
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.8 + 2.2 * len(attacks)), 1.0 + 1.8 * len(curves)))
    axes = figure.subplots(len(curves), len(attacks), sharey=True, squeeze=False)
    for (line, curve), (column, attack) in itertools.product(enumerate(curves), enumerate(attacks)):
        panel = axes[line, column]
        here = rows[(rows["curve"] == curve) & (rows["attack"] == attack)]
        here = here.assign(row=here["mark"].map(ROWS), accuracy=100 * here["accuracy"])
        for number, (alignment, style) in enumerate(styles.items()):
            one = here[here["alignment"] == alignment]
            # Alignments side by side: their points would hide each other.
            height = {label: place + 0.7 * ((number + 0.5) / len(styles) - 0.5) for place, label in enumerate(labels)}
            panel.plot(one["accuracy"], one["row"].map(height), color=style["color"], **SINGLE)
            means = one.groupby("row")["accuracy"].mean()
            if len(means):
                panel.hlines(
                    means.index.map(height), means["both ends"], means, color=style["color"], linewidth=0.8, zorder=1
                )
            panel.plot(means, means.index.map(height), **style)
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.5, -0.5)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        if line == 0:
            panel.set_title("clean" if attack == "none" else f"under {attack}")
        if line == len(curves) - 1:
            panel.set_xlabel("test accuracy (%)")
        if column == 0:
            panel.set_ylabel(drawing.CURVES.get(curve, curve))
    said = drawing.about(title, rows, "lines start at the mean of both ends")
    drawing.legend(figure, said, [*styles.values(), {"label": "a single pair", "color": "0.4", **SINGLE}])
    return figure
