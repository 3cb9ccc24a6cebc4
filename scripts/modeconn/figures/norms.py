"""Draw the sizes of networks, norms of all weights and units, recipe by recipe: a column of panels for each network."""

from matplotlib.figure import Figure

from modeconn import drawing, tables
from modeconn.figures.matrices import recipe_of

TABLES = [tables.NORMS]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
PANELS = {"norm": "Euclidean norm", "largest": "largest weight", "units": "hidden units"}
POINT = {"linestyle": "none", "marker": "o", "markersize": 3, "color": "0.4", "alpha": 0.5}
MEAN = {"linestyle": "none", "marker": "_", "markersize": 14, "markeredgewidth": 1.8, "color": "#0072B2"}


def draw(rows, title):
    """A figure from the rows of one data set and population (`tables.NORMS`)."""
    rows = rows.assign(of=rows["member"].map(recipe_of).replace("", title.rpartition(" / ")[2]))
    networks, recipes = drawing.by_width(rows), sorted(set(rows["of"]))
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1 + 1.9 * len(networks)), 6.0))
    axes = figure.subplots(len(PANELS), len(networks), sharex=True, squeeze=False)
    for line, (quantity, label) in zip(axes, PANELS.items()):
        line[0].set_ylabel(label)
        for axis, network in zip(line, networks["network"]):
            of_network = rows[rows["network"] == network]
            axis.plot(of_network["of"].map(recipes.index), of_network[quantity], **POINT)
            axis.plot(of_network.groupby("of")[quantity].mean().reindex(recipes).to_numpy(), **MEAN)
            axis.set_ylim(bottom=0)
            axis.set_xticks(range(len(recipes)), recipes, rotation=45, ha="right", rotation_mode="anchor")
            axis.margins(x=0.2)
    drawing.name_networks(axes[0], networks)
    handles = [POINT | {"label": "a single network"}, MEAN | {"label": "mean"}]
    drawing.legend(figure, drawing.about(title, rows), handles)
    return figure
