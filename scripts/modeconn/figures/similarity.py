"""Draw the similarity of activations along a curve to those of its endpoints, mean over layers.

Above: the correlation of channels after the nonlinearity. Below: the L2 distance before it, which the theory bounds the
loss by. Markers: the values if the network at that point is aligned to the endpoint.
"""

from modeconn import drawing, tables

TABLES = [tables.ACTIVATIONS]
BY = ["curve"]

QUANTITIES = (
    ("post", "before", "after", "mean correlation"),
    ("pre", "distance_before", "distance_after", "L2 distance"),
)
ALIGNED = {"markersize": 4, "markerfacecolor": "none", "linestyle": "", "linewidth": 0}


def draw(rows, title):
    """A figure from the activations of one study and curve (`tables.ACTIVATIONS`), a column for each endpoint."""
    # The logits are no channels that could be aligned.
    rows = rows[rows["group"] != "logits"]
    styles, markers = drawing.styles(rows["alignment"]), drawing.markers(rows["alignment"])
    aligned = {
        name: style | ALIGNED | {"marker": markers[name], "label": f"{style['label']}, if aligned at t"}
        for name, style in styles.items()
    }
    figure, axes = drawing.panels(len(drawing.ENDS))
    for (end, name), column in zip(drawing.ENDS.items(), axes.T):
        column[0].set_title(f"to the {name}")
        column[1].set_xlabel("position $t$ on the curve")
        for panel, (site, before, after, _) in zip(column, QUANTITIES):
            here = rows[(rows["end"] == end) & (rows["site"] == site)]
            for alignment, style in styles.items():
                layers = here[here["alignment"] == alignment].groupby(["t", "pair"])[[before, after]].mean()
                drawing.draw_lines(panel, layers[before].unstack(), style)
                panel.plot(layers[after].groupby("t").mean(), **aligned[alignment])
            panel.margins(x=0.03)
    for row, (*_, label) in zip(axes, QUANTITIES):
        row[0].set_ylabel(label)
        row[1].sharey(row[0])
    said = drawing.about(title, rows, "means over layers")
    drawing.legend(figure, said, [*drawing.thick(styles), *aligned.values(), *drawing.single(figure)])
    return figure
