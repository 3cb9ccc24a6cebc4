"""Draw the predictions of two networks and of their average in the plane, a row of panels a network (Kalaivanan
2023)."""

from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.BOUNDARIES]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
COLOURS = "cividis"  # from dark to light, so that classes differ in grey
# Points of the data by their class.
CLASSES = (
    {"label": "data of class 0", "marker": "o", "color": "#00224e", "markeredgecolor": "white"},
    {"label": "data of class 1", "marker": "^", "color": "#fee838", "markeredgecolor": "black"},
)
POINT = {"markersize": 2.8, "markeredgewidth": 0.4, "linestyle": ""}
EQUAL = {"label": "both classes equally probable", "color": "black", "linewidth": 0.9}
LEVELS = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)


def draw(rows, title):
    """A figure from the rows of one data set and recipe (`tables.BOUNDARIES`)."""
    networks = drawing.by_width(rows)
    known = drawing.styles(rows["alignment"])
    columns = [(None, "first", "first network"), (None, "second", "second network")]
    columns += [(name, "average", f"average, {style['label']}") for name, style in known.items()]
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 0.6 + 1.75 * len(columns)), 0.7 + 1.1 * len(networks)))
    axes = figure.subplots(len(networks), len(columns), sharex=True, sharey=True, squeeze=False)
    for line, network, width in zip(axes, networks["network"], networks["width"]):
        line[0].set_ylabel(f"{width:.0f} units")
        of_network = rows[rows["network"] == network]
        for axis, (alignment, mark, _) in zip(line, columns):
            # Both networks answer the same whatever the alignment.
            shown = of_network[of_network["alignment"] == (alignment or of_network["alignment"].iloc[0])]
            if shown.empty:
                continue
            filled = answers(axis, shown[shown["mark"] == mark], shown[shown["mark"] == "data"])
    for axis, (*_, label) in zip(axes[0], columns):
        axis.set_title(label)
    drawing.colour_bar(figure, filled, axes, "probability of class 1")
    said = drawing.about(title, rows, "networks 1 and 2 of each width")
    drawing.legend(figure, said, [*(kind | POINT for kind in CLASSES), EQUAL])
    return figure


def answers(axis, grid, data):
    """Draw the probabilities on a grid, the line where both classes have the same, and points of the data."""
    values = grid.pivot(index="y", columns="x", values="probability")
    filled = axis.contourf(values.columns, values.index, values, levels=LEVELS, cmap=COLOURS)
    if values.min(axis=None) < 0.5 < values.max(axis=None):
        width = EQUAL["linewidth"]
        axis.contour(values.columns, values.index, values, levels=[0.5], colors=EQUAL["color"], linewidths=width)
    for number, kind in enumerate(CLASSES):
        points = data[data["probability"] == number]
        axis.plot(points["x"], points["y"], **kind | POINT)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.grid(visible=False)
    return filled
