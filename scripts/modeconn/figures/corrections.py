"""Draw barriers over width, a column of panels for each correction of the averaged networks, a line an alignment."""

from matplotlib.figure import Figure

from modeconn import drawing, tables
from modeconn.figures.barriers import PANELS

TABLES = [tables.BARRIERS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
TITLES = {
    "none": "no correction",
    "repair": "REPAIR",
    "closed_form": "REPAIR, closed form",
    "temperature": "temperature",
}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.BARRIERS`)."""
    rows = rows.assign(error_barrier_linear=100 * rows["error_barrier_linear"])
    rows = drawing.placed(rows)
    corrections = drawing.in_order(rows["correction"], TITLES)
    known = drawing.styles(rows["alignment"])
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1 + 1.6 * len(corrections)), 4.4))
    axes = figure.subplots(len(PANELS), len(corrections), sharex=True, sharey="row", squeeze=False)
    for column, correction in zip(axes.T, corrections):
        column[0].set_title(TITLES.get(correction, correction))
        for axis, quantity in zip(column, PANELS):
            for alignment, style in known.items():
                chosen = rows[(rows["correction"] == correction) & (rows["alignment"] == alignment)]
                of_place = chosen.groupby("place")[quantity]
                mark = {"marker": "o", "markersize": 2.5}
                axis.plot(of_place.median(), **style | drawing.THICK | mark)
                band = of_place.quantile([0.25, 0.75]).unstack()
                axis.fill_between(band.index, band[0.25], band[0.75], color=style["color"], **drawing.SHADE)
        drawing.name_places(axis, drawing.by_width(rows))
    for axis, label in zip(axes[:, 0], PANELS.values()):
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    said = drawing.about(title, rows, "line: median over pairs; band: quartiles")
    drawing.legend(figure, said, drawing.thick(known))
    return figure
