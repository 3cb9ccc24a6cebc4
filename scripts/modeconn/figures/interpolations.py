"""Draw loss between all pairs of many networks: quartiles over pairs, a panel for each network (Kalaivanan 2023)."""

from modeconn import drawing, tables

TABLES = [tables.INTERPOLATIONS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
COLUMNS = 3


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.INTERPOLATIONS`)."""
    rows = rows[rows["quantity"] == "loss"]
    networks = rows.drop_duplicates("network").sort_values(["width", "network"])
    known = drawing.styles(rows["alignment"])
    figure, axes = drawing.grid(len(networks), COLUMNS)
    for axis, network, width in zip(axes, networks["network"], networks["width"]):
        axis.set_title(f"{network}: {width:.0f} units")
        for alignment, style in known.items():
            line = rows[(rows["network"] == network) & (rows["alignment"] == alignment)].sort_values("t")
            axis.plot(line["t"], line["median"], **style | drawing.THICK)
            axis.fill_between(line["t"], line["lower"], line["upper"], color=style["color"], **drawing.SHADE)
        axis.set_xlim(0, 1)
    counted = {f"n = {number:.0f} pairs" for number in rows["n"]}
    handles = [style | drawing.THICK for style in known.values()]
    drawing.legend(figure, f"{title}, {', '.join(sorted(counted))}; line: median, band: quartiles", handles)
    figure.supxlabel("position $t$ on the line", fontsize=8)
    figure.supylabel("loss (nats)", fontsize=8)
    return figure
