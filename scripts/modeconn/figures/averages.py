"""Draw the loss of averages of k networks over k, a panel for each network, beside that of their ensemble."""

from modeconn import drawing, tables

TABLES = [tables.AVERAGES]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
COLUMNS = 3
ENSEMBLE = {"label": "ensemble of the same networks", "color": "0.3", "linewidth": 1.2, "linestyle": (0, (1, 2))}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.AVERAGES`)."""
    networks = rows.drop_duplicates("network").sort_values(["width", "network"])
    known = drawing.styles(rows["alignment"])
    figure, axes = drawing.grid(len(networks), COLUMNS)
    for axis, network, width in zip(axes, networks["network"], networks["width"]):
        axis.set_title(f"{network}: {width:.0f} units")
        of_network = rows[rows["network"] == network]
        for alignment, style in known.items():
            averages = of_network[(of_network["alignment"] == alignment) & (of_network["mark"] == "average")]
            axis.plot(averages.groupby("size")["loss"].mean(), **style | drawing.THICK)
        single = of_network[(of_network["size"] == 1) & (of_network["mark"] == "average")]
        together = of_network[of_network["mark"] == "ensemble"]
        axis.plot(
            [1, *together.groupby("size")["loss"].mean().index],
            [single["loss"].mean(), *together.groupby("size")["loss"].mean()],
            **ENSEMBLE,
        )
        sizes = sorted(set(of_network["size"]))
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        axis.minorticks_off()
    handles = [style | drawing.THICK for style in known.values()]
    drawing.legend(figure, f"{title}; mean over choices of networks", [*handles, ENSEMBLE])
    figure.supxlabel("networks that are averaged", fontsize=8)
    figure.supylabel("loss (nats)", fontsize=8)
    return figure
