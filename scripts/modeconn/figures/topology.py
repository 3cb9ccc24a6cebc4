"""Draw which networks are connected: components and largest clique of their graph over the threshold of the barrier."""

from modeconn import drawing, tables

TABLES = [tables.TOPOLOGY]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
LINES = {"betti_0": ("components", "-"), "largest_clique": ("largest clique", (0, (1, 2)))}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.TOPOLOGY`)."""
    rows = rows[rows["correction"] == "none"]
    known = drawing.styles(rows["alignment"])
    figure, panels = drawing.of_networks(
        rows, "threshold of the loss barrier (nats)", "number of networks or components"
    )
    for axis, of_network in panels:
        for alignment, style in known.items():
            one = of_network[of_network["alignment"] == alignment].sort_values("threshold")
            for quantity, (_, line) in LINES.items():
                axis.plot(one["threshold"], one[quantity], color=style["color"], linestyle=line, linewidth=1.4)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
    handles = [{"label": style["label"], "color": style["color"], "linewidth": 1.8} for style in known.values()]
    kinds = [{"label": label, "color": "0.3", "linestyle": line} for label, line in LINES.values()]
    counted = ", ".join(sorted({f"{number:.0f} networks" for number in rows["networks"]}))
    drawing.legend(figure, f"{title}, {counted}, joined where the barrier is at most the threshold", [*handles, *kinds])
    return figure
