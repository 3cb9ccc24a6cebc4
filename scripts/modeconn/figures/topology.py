"""Draw the number of components and the largest clique of the graph of connected networks over the threshold.

Thick lines count components, thin ones the networks of the largest clique.
"""

from modeconn import drawing, tables

TABLES = [tables.TOPOLOGY]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
LINES = {"betti_0": ("components", 2.2), "largest_clique": ("largest clique", 0.8)}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.TOPOLOGY`)."""
    rows = rows[rows["correction"] == "none"]
    # Between two thresholds nothing is counted: a number holds until the next one.
    steps = {"drawstyle": "steps-post"}
    known = drawing.styles(rows["alignment"])
    figure, panels = drawing.of_networks(rows, "threshold of the loss barrier (nats)", "number")
    for axis, of_network in panels:
        for alignment, style in known.items():
            one = of_network[of_network["alignment"] == alignment].sort_values("threshold")
            for quantity, (_, width) in LINES.items():
                axis.plot(one["threshold"], one[quantity], **style | steps | {"linewidth": width})
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
    kinds = [{"label": label, "color": "0.3", "linewidth": width} for label, width in LINES.values()]
    said = drawing.about(title, rows, "joined where the barrier is at most the threshold")
    drawing.legend(figure, said, [*drawing.thick(known), *kinds])
    return figure
