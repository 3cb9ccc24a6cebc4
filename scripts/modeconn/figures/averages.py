"""Draw the loss of averages of k networks and of their ensembles over k, a panel for each network."""

from modeconn import drawing, tables

TABLES = [tables.AVERAGES]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
ENSEMBLE = {"label": "ensemble of the same networks", "color": "0.3", "linewidth": 1.2, "linestyle": (0, (1, 2))}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.AVERAGES`)."""
    rows = rows[rows["correction"] == "none"]
    known = drawing.styles(rows["alignment"])
    figure, panels = drawing.of_networks(rows, "networks that are averaged", "loss (nats)")
    for axis, of_network in panels:
        averages = of_network[of_network["mark"] == "average"]
        for alignment, style in known.items():
            one = averages[averages["alignment"] == alignment]
            axis.plot(one.groupby("size")["loss"].mean(), **style | drawing.THICK)
        # A single network is an ensemble of one.
        ensembles = of_network[(of_network["mark"] == "ensemble") | (of_network["size"] == 1)]
        axis.plot(ensembles.groupby("size")["loss"].mean(), **ENSEMBLE)
        sizes = sorted(set(of_network["size"]))
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        axis.minorticks_off()
    draws = rows.groupby(["network", "alignment", "size"])["draw"].nunique()
    said = drawing.about(title, rows, f"means over n = {drawing.number(draws, 'choice')} of networks")
    drawing.legend(figure, said, [*drawing.thick(known), ENSEMBLE])
    return figure
