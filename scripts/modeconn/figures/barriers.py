"""Draw barriers between all pairs of many networks over width, a violin for each alignment (Kalaivanan 2023)."""

import numpy as np

from modeconn import drawing, tables

TABLES = [tables.BARRIERS]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
PANELS = {
    "loss_barrier_max_endpoint": "loss barrier (nats)",
    "error_barrier_linear": "error barrier (points)",
}


def draw(rows, title):
    """A figure from the rows of one data set, recipe and split (`tables.BARRIERS`)."""
    rows = rows[rows["correction"] == "none"]
    rows = rows.assign(error_barrier_linear=100 * rows["error_barrier_linear"])
    networks = drawing.by_width(rows)
    places = {name: place for place, name in enumerate(networks["network"])}
    known = drawing.styles(rows["alignment"])
    figure, axes = drawing.stack(len(PANELS), 1.4 + 0.7 * len(places))
    for axis, (quantity, label) in zip(axes, PANELS.items()):
        for turn, (alignment, style) in enumerate(known.items()):
            shift = (turn - (len(known) - 1) / 2) * 0.8 / len(known)
            for network, of_network in rows[rows["alignment"] == alignment].groupby("network"):
                violin(axis, of_network[quantity].to_numpy(), places[network] + shift, 0.7 / len(known), style)
        axis.set_ylabel(label)
        axis.set_xticks(range(len(places)), [f"{width:.0f}" for width in networks["width"]])
        axis.grid(axis="x", visible=False)
    axes[-1].set_xlabel("units of the first layer")
    pairs = rows.groupby(["network", "alignment"])["pair"].count()
    counted = {f"n = {number} pairs" for number in pairs}
    handles = [style | drawing.THICK for style in known.values()]
    drawing.legend(figure, f"{title}, {', '.join(sorted(counted))} a violin; line: median", handles)
    return figure


def violin(axis, values, place, width, style):
    """One violin of `values` (P,) at `place`, its density cut at the extremes, and a line at the median."""
    colour = style["color"]
    if np.ptp(values) > 0:
        for body in axis.violinplot(values, [place], widths=width, showextrema=False)["bodies"]:
            body.set(facecolor=colour, alpha=0.35, edgecolor=colour, linewidth=0.6, linestyle=style["linestyle"])
    half = width / 2
    axis.plot([place - half, place + half], [np.median(values)] * 2, color=colour, linewidth=1.8)
