"""Draw what two networks and their average answer in the plane, a row of panels for each network (Kalaivanan 2023)."""

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.BOUNDARIES]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
CLASSES = ("#542788", "#b35806")  # the ends of the map of probabilities
LEVELS = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)


def draw(rows, title):
    """A figure from the rows of one data set and recipe (`tables.BOUNDARIES`)."""
    networks = drawing.by_width(rows)
    known = drawing.styles(rows["alignment"])
    first = next(iter(known))
    columns = [(first, "first", "first network"), (first, "second", "second network")]
    columns += [(name, "average", f"average, {style['label']}") for name, style in known.items()]
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 0.6 + 1.75 * len(columns)), 0.7 + 1.1 * len(networks)))
    axes = figure.subplots(len(networks), len(columns), sharex=True, sharey=True, squeeze=False)
    for line, network, width in zip(axes, networks["network"], networks["width"]):
        line[0].set_ylabel(f"{width:.0f} units")
        of_network = rows[rows["network"] == network]
        for axis, (alignment, mark, _) in zip(line, columns):
            shown = of_network[of_network["alignment"] == alignment]
            answers(axis, shown[shown["mark"] == mark], shown[shown["mark"] == "data"])
    for axis, (*_, label) in zip(axes[0], columns):
        axis.set_title(label)
    drawing.legend(figure, f"{title}; colour: probability of a class, line: where both are equal", [])
    return figure


def answers(axis, grid, data):
    """The probabilities on a grid, the line where both classes have the same, and points of the data."""
    values = grid.pivot(index="y", columns="x", values="probability")
    axis.contourf(values.columns, values.index, values, levels=LEVELS, cmap="PuOr_r", alpha=0.85)
    if values.min(axis=None) < 0.5 < values.max(axis=None):
        axis.contour(values.columns, values.index, values, levels=[0.5], colors="black", linewidths=0.9)
    colours = ListedColormap(CLASSES)
    axis.scatter(data["x"], data["y"], c=data["probability"], cmap=colours, s=5, edgecolors="white", linewidths=0.3)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.grid(visible=False)
