"""Draw the test error of the average of k networks over width, a line for each k, in each frame (Sharma et al. 2024).

If merging costs no accuracy, the lines of all k coincide with that of single networks. Means over choices of networks.
"""

from matplotlib import colormaps
from matplotlib.ticker import SymmetricalLogLocator

from modeconn import drawing, tables

TABLES = [tables.AVERAGES]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []


def draw(rows, title):
    """A figure from the rows of one data set and recipe (`tables.AVERAGES`): a panel for each alignment."""
    rows = rows[(rows["split"] == "test") & (rows["correction"] == "none") & (rows["mark"] == "average")]
    rows = rows.assign(error=100 * (1 - rows["accuracy"]))
    rows = drawing.placed(rows)
    alignments = drawing.styles(rows["alignment"])
    figure, (panels,) = drawing.matrix(1, len(alignments), 2.2)
    sizes = sorted(set(rows["size"]))
    colours = colormaps["viridis"].resampled(max(2, len(sizes)))
    lines = {
        size: {"label": f"k = {size:.0f}", "color": colours(number), "marker": "o", "markersize": 3}
        for number, size in enumerate(sizes)
    }
    lines[sizes[0]] |= {"linestyle": (0, (1, 2)), "color": "0.3"}
    for (alignment, style), panel in zip(alignments.items(), panels):
        of_frame = rows[rows["alignment"] == alignment]
        for size, line in lines.items():
            panel.plot(of_frame[of_frame["size"] == size].groupby("place")["error"].mean(), **line)
        panel.set_title(style["label"])
        drawing.name_places(panel, drawing.by_width(rows))
    panels[0].set_ylabel("error of the average (%)")
    # Logarithmic down to the least error that was measured, and linear from there to 0, which is drawn too.
    least = {"linthresh": rows["error"][rows["error"] > 0].min()}
    if least["linthresh"] > 0:
        panels[0].set_yscale("symlog", **least, linscale=0.4)
        ticks = SymmetricalLogLocator(base=10, subs=(1, 2, 5), **least)
        panels[0].yaxis.set(major_locator=ticks, major_formatter="{x:g}", minor_formatter="")
        panels[0].set_ylim(bottom=-least["linthresh"] / 3)
    singles = rows[rows["size"] == 1].groupby(["network", "alignment"]).size()
    head = f"{title}; average of k of n = {singles.max()} networks, mean over up to {rows['draw'].nunique()} choices"
    drawing.legend(figure, head, list(lines.values()))
    return figure
