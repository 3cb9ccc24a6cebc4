"""Draw loss between all pairs of many networks: quartiles over pairs, a panel for each network (Kalaivanan 2023)."""

from modeconn import drawing, tables

TABLES = [tables.INTERPOLATIONS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.INTERPOLATIONS`)."""
    rows = rows[(rows["quantity"] == "loss") & (rows["correction"] == "none")]
    known = drawing.styles(rows["alignment"])
    figure, panels = drawing.of_networks(rows, "position $t$ on the line", "loss (nats)")
    for axis, of_network in panels:
        for alignment, style in known.items():
            line = of_network[of_network["alignment"] == alignment].sort_values("t")
            axis.plot(line["t"], line["median"], **style | drawing.THICK)
            axis.fill_between(line["t"], line["lower"], line["upper"], color=style["color"], **drawing.SHADE)
        axis.set_xlim(0, 1)
    said = drawing.about(title, rows, "line: median over pairs; band: quartiles")
    drawing.legend(figure, said, drawing.thick(known))
    return figure
