"""Draw the loss on triangles between three networks: a row of panels a network, a column a frame (Sharma et al. 2024).

The corners are three networks, each with its own permutation; a point is their average, weighted by its barycentric
coordinates. Values are means over triangles that share no network; all panels have one scale of colours.
"""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.tri import Triangulation

from modeconn import drawing, tables

TABLES = [tables.TRIANGLES]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
LEVELS = 16  # of the loss, at steps that grow with it
LEAST = 1e-6  # nats


def draw(rows, title):
    """A figure from the rows of one data set and recipe (`tables.TRIANGLES`)."""
    networks, alignments = drawing.by_width(rows), drawing.styles(rows["alignment"])
    figure, axes = drawing.matrix(len(networks), len(alignments), 1.7)
    means = rows.groupby(["network", "alignment", "third", "second"])["loss"].mean()
    low = max(means.min(), LEAST)
    levels = np.geomspace(0.999 * low, 1.001 * max(means.max(), low), LEVELS)
    for network, width, panels in zip(networks["network"], networks["width"], axes):
        for alignment, panel in zip(alignments, panels):
            if (network, alignment) not in means:
                continue
            loss = means[network, alignment]
            x, y = places(loss)
            norm = LogNorm(levels[0], levels[-1])
            drawn = panel.tricontourf(Triangulation(x, y), loss.clip(low), levels, norm=norm, cmap="viridis_r")
            drawn.set_edgecolor("face")  # or PDF viewers show seams
            panel.plot([0, 1, 0.5], [0, 0, 3**0.5 / 2], "o", color="white", markeredgecolor="black", clip_on=False)
            panel.set_xlabel(f"rises by {rise(loss):.2f} nats")
            panel.set(xticks=[], yticks=[], aspect="equal")
            panel.grid(visible=False)
            panel.spines[:].set_visible(False)
        drawing.name_row(panels, f"{network}: {width:.0f} units")
    for style, panel in zip(alignments.values(), axes[0]):
        panel.set_title(style["label"])
    drawing.colour_bar(figure, drawn, axes, "loss (nats)", ticks=levels[::3], format="{x:.2g}")
    drawing.legend(figure, drawing.about(title, rows, "a triangle has three networks"), [])
    return figure


def places(loss):
    """x and y of the points (third, second) of a triangle that is drawn equilateral."""
    third, second = (np.array(loss.index.get_level_values(name)) for name in ("third", "second"))
    return second + third / 2, third * 3**0.5 / 2


def rise(loss):
    """The largest rise of the loss above the plane through its values at the corners."""
    third, second = (np.array(loss.index.get_level_values(name)) for name in ("third", "second"))
    plane = (1 - second - third) * loss[0, 0] + second * loss[0, 1] + third * loss[1, 0]
    return (loss.to_numpy() - plane).max()
