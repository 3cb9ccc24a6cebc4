"""Draw the spectrum of the loss along the curves between pairs of networks, a panel for each kind of curve."""

from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.SPECTRUM]
BY = ["split"]


def draw(rows, title):
    """A figure of clean loss from the spectra of one study and split (`tables.SPECTRUM`)."""
    rows = rows[rows["attack"] == "none"]
    curves = drawing.in_order(rows["curve"], drawing.CURVES)
    styles = drawing.styles(rows["alignment"])
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.2 + 2.4 * len(curves)), 3))
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for panel, curve in zip(panels, curves):
        here = rows[rows["curve"] == curve]
        for alignment, style in styles.items():
            one = here[here["alignment"] == alignment].pivot(index="wave", columns="pair", values="amplitude")
            drawing.draw_lines(panel, one, style | {"marker": "o", "markersize": 3})
        panel.set(title=drawing.CURVES.get(curve, curve), xlabel="wave number", xticks=sorted(set(here["wave"])))
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("share of the loss's norm")
    drawing.legend(figure, drawing.about(title, rows), [*drawing.thick(styles), *drawing.single(figure)])
    return figure
