"""Draw which networks are connected: components and largest clique of their graph over the threshold of the barrier."""

from modeconn import drawing, tables

TABLES = [tables.TOPOLOGY]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
COLUMNS = 3
LINES = {"betti_0": ("components", "-"), "largest_clique": ("largest clique", (0, (1, 2)))}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.TOPOLOGY`)."""
    networks = rows.drop_duplicates("network").sort_values(["width", "network"])
    known = drawing.styles(rows["alignment"])
    figure, axes = drawing.grid(len(networks), COLUMNS)
    for axis, network, width in zip(axes, networks["network"], networks["width"]):
        axis.set_title(f"{network}: {width:.0f} units")
        for alignment, style in known.items():
            one = rows[(rows["network"] == network) & (rows["alignment"] == alignment)].sort_values("threshold")
            for quantity, (_, line) in LINES.items():
                axis.plot(one["threshold"], one[quantity], color=style["color"], linestyle=line, linewidth=1.4)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
    handles = [{"label": style["label"], "color": style["color"], "linewidth": 1.8} for style in known.values()]
    kinds = [{"label": label, "color": "0.3", "linestyle": line} for label, line in LINES.values()]
    counted = ", ".join(sorted({f"{number:.0f} networks" for number in rows["networks"]}))
    drawing.legend(figure, f"{title}, {counted}, joined where the barrier is at most the threshold", [*handles, *kinds])
    figure.supxlabel("threshold of the loss barrier (nats)", fontsize=8)
    figure.supylabel("number of networks or components", fontsize=8)
    return figure
