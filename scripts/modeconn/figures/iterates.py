"""Draw the loss of the iterates of single runs and of their averages over epochs, and barriers between the iterates.

A column of panels for each network (Kalaivanan 2023, stochastic weight averaging).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from modeconn import drawing, tables
from modeconn.figures.matrices import QUANTITY, matrix, members

TABLES = [tables.ITERATE_AVERAGES, tables.ITERATES]
SCOPE = ["dataset", "recipe"]
BY = ["split"]
MARKS = {
    "iterate": {"label": "iterate", "color": "#D55E00", "linestyle": (0, (4, 1.5))},
    "average": {"label": "average of the iterates up to it", "color": "#009E73", "linestyle": "-"},
}


def draw(rows, title, pairs):
    """A figure from the rows of one data set, recipe and split (`tables.ITERATE_AVERAGES`, `tables.ITERATES`)."""
    networks = drawing.by_width(rows)
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.2 + 2.1 * len(networks)), 4.6))
    axes = figure.subplots(2, len(networks), squeeze=False)
    iterates = rows[rows["mark"] == "iterate"]
    alone = iterates[iterates["moment"] == iterates["moment"].min()]  # the first is the average of itself
    lines = {"iterate": iterates, "average": pd.concat([alone, rows[rows["mark"] == "average"]])}
    for axis, network in zip(axes[0], networks["network"]):
        for mark, style in MARKS.items():
            of_line = lines[mark][lines[mark]["network"] == network]
            drawing.draw_lines(axis, of_line.pivot(index="moment", columns="seeds", values="loss"), style)
        axis.set_xlabel("epoch")
        axis.locator_params(axis="x", integer=True, nbins=5)
    axes[0, 0].set_ylabel("loss (nats)")
    highest = pairs.groupby(["network", "pair"])[QUANTITY].mean().max() or 1
    for axis, network in zip(axes[1], networks["network"]):
        mean = pairs[pairs["network"] == network].groupby("pair", as_index=False)[QUANTITY].mean()
        shown = axis.imshow(matrix(mean), vmin=0, vmax=highest, cmap="magma_r", interpolation="nearest")
        names = members(mean)
        places = np.unique(np.linspace(0, len(names) - 1, min(len(names), 4)).round().astype(int))
        axis.set_xticks(places, [names[place] for place in places])
        axis.set_yticks(places, [names[place] for place in places])
        axis.grid(visible=False)
        axis.set_xlabel("epoch")
    axes[1, 0].set_ylabel("epoch")
    figure.colorbar(shown, ax=list(axes[1]), label="loss barrier (nats)")
    drawing.name_networks(axes[0], networks)
    handles = [*drawing.thick(MARKS), drawing.SINGLE | {"label": "a single run"}]
    drawing.legend(figure, f"{title}, n = {rows['seeds'].nunique()} runs", handles)
    return figure
