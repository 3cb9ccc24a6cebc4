"""The style of all figures, and drawing functions that several of them share.

An alignment has the same colour, line style and marker in every figure; thin lines are single pairs or networks, a
thick line is their mean. The colours can be told apart by colour-blind readers, line styles and markers also in grey.
The head of each figure (`legend`) says what it shows, on which images, and of how many pairs or networks.
"""

import contextlib
import itertools
import re
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

LOOK = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.title_fontsize": 8,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 3.5,
    "legend.columnspacing": 1.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "modeconn",  # the same rows give the same bytes
}

# Colours of Okabe and Ito; line styles and markers tell the same apart in grey.
STYLES = {
    "none": {"color": "#D55E00", "linestyle": (0, (4, 1.5))},
    "random": {"color": "#8C8C8C", "linestyle": (0, (1, 1))},
    "weight": {"color": "#009E73", "linestyle": (0, (6, 1.5, 1, 1.5))},
    "activation": {"color": "#0072B2", "linestyle": "-"},
    "pam": {"color": "#CC79A7", "linestyle": (0, (7, 3.5))},
    "pam_aligned": {"color": "#56B4E9", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
}
OTHER_STYLES = [
    {"color": "#E69F00", "linestyle": (0, (2, 2))},
    {"color": "#000000", "linestyle": (0, (8, 2, 2, 2))},
    {"color": "#882255", "linestyle": "-"},
    {"color": "#44AA99", "linestyle": (0, (4, 1, 1, 1))},
    {"color": "#332288", "linestyle": (0, (1, 2))},
    {"color": "#999933", "linestyle": (0, (6, 2))},
    {"color": "#AA4499", "linestyle": (0, (3, 1, 1, 1))},
]
MARKERS = {"none": "o", "random": "s", "weight": "D", "activation": "^", "pam": "v", "pam_aligned": "P"}
OTHER_MARKERS = "X*"
LABELS = {
    "none": "unaligned",
    "random": "random permutation",
    "weight": "aligned by weights",
    "activation": "aligned by activations",
    "pam": "PAM, unaligned",
    "pam_aligned": "PAM, aligned",
}
LEAST_WIDTH = 6  # inches: what the legend needs
CURVES = {"linear": "straight line", "bezier": "Bézier curve"}
SPLITS = {
    "alignment": "images of the alignment",
    "train": "training images",
    "test": "test images",
    "hold_out": "held-out images",
}
TITLES = CURVES | SPLITS | {"none": "no curve"}
ENDS = {0: "first network", 1: "second network"}
MOST_NAMES = 24  # of groups, below one another
MOST_PAIRS = 8  # that a head names
CHARACTERS = 17  # of a head in an inch
ENTRY = 10  # characters: the room of a legend's handle, and of the space between columns
OWN_SCALES = "each panel has its own scale"
BARS = "bars: standard deviation over pairs"
THICK = {"linewidth": 1.8}
THIN = {"linewidth": 0.6, "alpha": 0.5, "linestyle": "-"}
SHADE = {"alpha": 0.1, "linewidth": 0}
BLANK = {"label": " ", "linestyle": ""}
SINGLE = {"label": "a single pair", "color": "0.4", **THIN}
INTERPOLANT = {"label": "interpolant of the endpoints", "color": "0.3", "linewidth": 0.8, "linestyle": (0, (1, 2))}


@contextlib.contextmanager
def look():
    """Within this context figures are made and written with `LOOK`, independent of the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        yield


def in_order(names, known):
    """`names` without repetition: those of `known` first, in its order, then the others in alphabetical order."""
    names = set(names)
    return [name for name in known if name in names] + sorted(names - set(known))


def styles(alignments):
    """Alignment -> label, colour and line style; those without a style of their own take turns in `OTHER_STYLES`."""
    others = itertools.cycle(OTHER_STYLES)
    return {
        name: {"label": LABELS.get(name, name), **(STYLES.get(name) or next(others))}
        for name in in_order(alignments, STYLES)
    }


def markers(alignments):
    """Alignment -> its marker; those without a marker of their own take turns in `OTHER_MARKERS`."""
    others = itertools.cycle(OTHER_MARKERS)
    return {name: MARKERS.get(name) or next(others) for name in in_order(alignments, STYLES)}


def panels(columns):
    """A figure with two rows of axes, accuracy above loss, and `columns` columns of them: (figure, axes)."""
    figure = Figure(figsize=(max(LEAST_WIDTH, 1.2 + 2.4 * columns), 4.6))
    axes = figure.subplots(2, columns, sharex="col", squeeze=False)
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[1, 0].set_ylabel("loss (nats)")
    return figure, axes


def stack(rows, width):
    """A figure of `rows` panels below one another, `width` inches wide or as wide as the legend: (figure, axes)."""
    figure = Figure(figsize=(max(LEAST_WIDTH, width), 0.8 + 1.9 * rows))
    return figure, list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])


def matrix(rows, columns, size):
    """A figure of `rows` by `columns` panels that share their axes, `size` inches each: (figure, axes, 2-D)."""
    figure = Figure(figsize=(max(LEAST_WIDTH, 1.6 + size * columns), 0.6 + size * rows))
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def over_moments(rows, lines, x, singles):
    """Error and loss barriers over moments (`tables.SIMULTANEOUS`): a row of panels a network and alignment.

    lines: `permutation` -> label, colour and line style; those in `singles` are drawn pair by pair too, as thin lines.
    Unaligned pairs are drawn in the panels of each alignment.
    """
    unaligned = rows["permutation"] == "none"
    networks, alignments = by_width(rows)["network"].tolist(), in_order(rows["alignment"][~unaligned], STYLES)
    places = [(network, alignment) for network in networks for alignment in alignments or ["none"]]
    moments = sorted(set(rows["moment"]))
    figure = Figure(figsize=(max(LEAST_WIDTH, 7), 1.2 + 1.8 * len(places)))
    axes = figure.subplots(len(places), 2, sharex=True, squeeze=False)
    for (network, alignment), panels in zip(places, axes):
        here = rows[(rows["network"] == network) & (unaligned | (rows["alignment"] == alignment))]
        for panel, (quantity, scale) in zip(panels, (("error_barrier_linear", 100), ("loss_barrier_linear", 1))):
            for name, style in lines.items():
                of_line = here[here["permutation"] == name]
                wide = scale * of_line.pivot(index="moment", columns="pair", values=quantity)
                wide.index = [moments.index(moment) for moment in wide.index]
                if name in singles:
                    draw_lines(panel, wide, style)
                else:
                    panel.plot(wide.mean(axis=1), **style | THICK)
            panel.set_ylim(bottom=0)
            panel.set_xticks(range(len(moments)), [f"{moment:.0f}" for moment in moments])
            panel.set_title(network if alignment == "none" else f"{network}, {LABELS.get(alignment, alignment)}")
        panels[0].set_ylabel("error barrier (points)")
        panels[1].set_ylabel("loss barrier (nats)")
    for panel in axes[-1]:
        panel.set_xlabel(x)
    return figure


def origins(permutations):
    """The origins of permutations, without none: single epochs in order, then several at once ("1+5")."""
    names = set(permutations) - {"none"}
    return sorted(names, key=lambda name: ("+" in name, [float(epoch) for epoch in name.split("+")]))


def origin_label(name):
    """A label for an origin: of many epochs only the first and the last are named."""
    epochs = name.split("+")
    return name if len(epochs) <= 4 else f"{epochs[0]}+…+{epochs[-1]}"


def thick(lines):
    """The handles of a legend of such lines (name -> label, colour and line style)."""
    return [style | THICK for style in lines.values()]


def by_width(rows):
    """One row for each network of a table of populations, the narrowest first; of one width by the numbers in names."""
    found = rows.drop_duplicates("network").sort_values("network")
    numbers = found["network"].map(lambda name: tuple(map(int, re.findall(r"\d+", name))))
    return found.assign(numbers=numbers).sort_values(["width", "numbers"], kind="stable").drop(columns="numbers")


def placed(rows):
    """The rows with a column `place`: the number of their network in `by_width`, 0 for the narrowest."""
    names = list(by_width(rows)["network"])
    return rows.assign(place=rows["network"].map(names.index))


def name_places(axis, networks):
    """Label the places along x (`placed`) by the widths of networks, or by their names where widths are the same."""
    if networks["width"].is_unique:
        axis.set_xticks(range(len(networks)), [f"{width:.0f}" for width in networks["width"]])
        axis.set_xlabel("units of the first layer")
    else:
        axis.set_xticks(range(len(networks)), networks["network"], rotation=45, ha="right", rotation_mode="anchor")


def name_networks(axes, networks):
    """Title panels by the networks of `by_width`, one each."""
    for axis, name, width in zip(axes, networks["network"], networks["width"]):
        axis.set_title(f"{name}: {width:.0f} units")


def colour_bar(figure, drawn, axes, label, **options):
    """A colour bar of what is `drawn` in the panels `axes`."""
    figure.colorbar(drawn, ax=axes, label=label, **options).outline.set_linewidth(0.6)


def of_networks(rows, x, y, columns=3):
    """A figure with a panel for each network of a table of populations: (figure, [(axes, rows of the network)]).

    x, y: labels of all panels. The limits of x are shared; those of y are of each panel.
    """
    networks = by_width(rows)
    lines = -(-len(networks) // columns)
    figure = Figure(figsize=(max(LEAST_WIDTH, 1 + 2 * columns), 0.9 + 1.6 * lines))
    axes = list(figure.subplots(lines, columns, sharex=True, squeeze=False).flat)
    for axis in axes[len(networks) :]:
        axis.set_visible(False)
    name_networks(axes, networks)
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)
    return figure, [(axis, rows[rows["network"] == name]) for axis, name in zip(axes, networks["network"])]


def draw_lines(axes, lines, style):
    """Draw a frame of one column a line: each of them thin, and their mean thick."""
    if lines.shape[1] > 1:
        axes.plot(lines, **style | THIN)
    if lines.shape[1] > 0:
        axes.plot(lines.mean(axis=1, skipna=False), **style | THICK)


def draw_bars(axes, rows, quantity, style):
    """Draw the mean of the column `quantity` of `rows` at each position, and its standard deviation as a bar."""
    statistics = rows.groupby("position")[quantity].agg(["mean", "std"])
    if len(statistics):
        bars = statistics["std"].fillna(0)  # a single pair has none
        axes.errorbar(statistics.index, statistics["mean"], bars, capsize=2, marker="o", markersize=3, **style)


def name_groups(axis, groups):
    """Name the groups of channels (a frame with `position` and `group`) on an axis, or say what it is if too many."""
    groups = groups.sort_values("position").drop_duplicates("position")
    if len(groups) > MOST_NAMES:
        axis.set_label_text("group of channels, from input to logits")
        return
    turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if axis.axis_name == "x" else {}
    axis.set_ticks(groups["position"], groups["group"].str.removeprefix("network."), **turned)


def number(numbers, unit):
    """ "1 pair", "1,225 pairs", or "1 to 3 pairs" where lines of a figure have different numbers of them."""
    fewest, most = min(numbers), max(numbers)
    said = f"{most:,.0f}" if fewest == most else f"{fewest:,.0f} to {most:,.0f}"
    return f"{said} {unit if most == 1 else f'{unit}s'}"


def _listed(names):
    """ " (1-2, 3-4)", or nothing where there are too many to read."""
    ordered = sorted(set(names), key=_places)
    return f" ({', '.join(ordered)})" if len(ordered) <= MOST_PAIRS else ""


def _places(name):
    """The sort key of the name of a pair or network: its recipes, if named as <recipe>:<seed>, and seeds as numbers."""
    ends = (end.rpartition(":") for end in name.split("-"))
    return [(recipe, int(seed)) for recipe, _, seed in ends]


def counted(rows):
    """How many pairs or networks a table shows, and which: "n = 3 pairs (1-2, 3-4, 5-6)". Empty if it names neither."""
    if "pair" in rows:
        lines = [name for name in ("network", "alignment", "curve") if name in rows]
        numbers = rows.groupby(lines)["pair"].nunique()
        networks = {seed for pair in set(rows["pair"]) for seed in pair.split("-")}
        return f"n = {number(numbers, 'pair')}{_listed(rows['pair']) or f' of {len(networks)} networks'}"
    if "seeds" in rows:
        pairs = {seeds for seeds in rows["seeds"] if "-" in seeds}
        kinds = {"network": {*rows["seeds"]} - pairs, "pair": pairs}
        return "n = " + ", ".join(number([len(names)], unit) + _listed(names) for unit, names in kinds.items() if names)
    for column, unit in (("member", "network"), ("triangle", "triangle")):
        if column in rows:
            return f"n = {number([rows[column].nunique()], unit)}"
    for column, unit in (("networks", "network"), ("n", "pair")):
        if column in rows:
            return f"n = {number(rows[column].astype(float).unique(), unit)}"
    return ""


def about(title, rows, *notes):
    """The head of a figure: its title, the images that its rows were measured on, n, and notes on how it is drawn."""
    splits = [SPLITS.get(split, split) for split in in_order(rows["split"], SPLITS)] if "split" in rows else []
    unsaid = [] if len(splits) != 1 or splits[0] in title else splits
    return "; ".join(part for part in (title, *unsaid, counted(rows), *notes) if part)


def single(figure, handle=SINGLE):
    """The handle of thin lines for the legend, if the figure has any."""
    thin = (line.get_linewidth() == THIN["linewidth"] for axes in figure.axes for line in axes.get_lines())
    return [handle] if any(thin) else []


def scales_differ(figure):
    """Whether panels that show the same quantity on an axis have different limits on it."""
    limits = {"x": {}, "y": {}}
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.get_subplotspec() and axes.get_label() == ""]
    for axes in panels:
        place = axes.get_subplotspec()
        row = [other for other in panels if other.get_subplotspec().rowspan.start == place.rowspan.start]
        column = [other for other in panels if other.get_subplotspec().colspan.start == place.colspan.start]
        quantities = {
            "x": axes.get_xlabel() or column[-1].get_xlabel(),
            "y": axes.get_ylabel() or row[0].get_ylabel(),
        }
        for axis, quantity in quantities.items():
            if getattr(axes, f"get_{axis}ticks")().size:
                limits[axis].setdefault(quantity, set()).add(getattr(axes, f"get_{axis}lim")())
    return any(len(found) > 1 for of_axis in limits.values() for found in of_axis.values())


def fitting(figure, handles):
    """How many columns of these handles, three at most, fit into the figure's width."""
    widths = [ENTRY + len(handle["label"]) for handle in handles]
    for columns in (3, 2):
        # As matplotlib splits them.
        if sum(max(part, default=0) for part in np.array_split(widths, columns)) <= room(figure):
            return columns
    return 1


def room(figure):
    """How many characters of a head fit into the figure's width."""
    return round(CHARACTERS * figure.get_figwidth())


def name_row(panels, name):
    """Label a row of panels at the first one that shows anything."""
    next(panel for panel in panels if panel.has_data()).set_ylabel(name)


def legend(figure, title, handles, columns=None):
    """Add the head of a figure: its title (`about`) and one legend; `handles` are line styles with labels.

    Call it last: it adds a note if the scales of panels differ, and hides the axes of panels that have nothing to show,
    since not every network need have been measured in every way.
    """
    for panel in figure.axes:
        panel.axison = panel.axison and panel.has_data()
    said = "; ".join([title, *([OWN_SCALES] if scales_differ(figure) else [])])
    head = figure.legend(
        handles=[Line2D([], [], **handle) for handle in handles],
        title=textwrap.fill(said, room(figure)),
        alignment="left",
        loc="outside upper left",
        ncols=columns or fitting(figure, handles),
    )
    head.get_title().set_color("0.35")
    return head


def along_curves(rows, title, columns, only=None):
    """Accuracy and loss along t: a figure from the rows of one study and split (`tables.EVALUATION`).

    columns: list of (curve, attack), a column of panels each. `only` draws one alignment; the limits remain those of
    all alignments, so that a reader can switch between the figures of two of them.
    """
    known = styles(rows["alignment"])
    if only is not None and only not in known:
        raise ValueError(f"the table has no alignment '{only}' here; it has {', '.join(known)}")
    shown = {name: style for name, style in known.items() if only in (None, name)}
    rows = rows.assign(accuracy=100 * rows["accuracy"])
    figure, axes = panels(len(columns))
    for (curve, attack), column in zip(columns, axes.T):
        column[0].set_title(CURVES.get(curve, curve) + ("" if attack == "none" else f", under {attack}"))
        column[1].set_xlabel("position $t$ on the curve")
        paths = rows[(rows["attack"] == attack) & (rows["curve"] == curve)]
        for panel, quantity, worse in zip(column, ["accuracy", "loss"], [np.minimum, np.maximum]):
            low, high = paths[quantity].min(), paths[quantity].max()
            margin = 0.04 * (high - low) or 1
            panel.set(xlim=(0, 1), ylim=(low - margin, high + margin))
            for alignment, style in shown.items():
                one = paths[paths["alignment"] == alignment]
                draw_path(panel, one.pivot(index="t", columns="pair", values=quantity), style, worse)
    # Blank entries for alignments that are not drawn keep the size of the legend, and so the position of the panels.
    blanks, others = [BLANK] * (len(known) - len(shown)), [*single(figure), INTERPOLANT]
    columns = fitting(figure, [*thick(known), *others])
    legend(figure, about(title, rows), [*thick(shown), *others, *blanks], columns)
    return figure


def draw_path(axes, lines, style, worse):
    """Draw single pairs and their mean (`draw_lines`), and shade where the mean is worse than the ends' interpolant."""
    draw_lines(axes, lines, style)
    if lines.shape[1] > 0:
        mean = lines.mean(axis=1, skipna=False)
        ends = mean.iloc[[0, -1]]
        interpolant = np.interp(mean.index, ends.index, ends)
        axes.fill_between(mean.index, worse(mean, interpolant), interpolant, color=style["color"], **SHADE)
        axes.plot(ends, **INTERPOLANT)


def select(rows, chosen):
    """The rows that have the `chosen` values (column -> value or None), and a title that names them.

    None means the only value of the column. Raises ValueError if it has several, or no row is left.
    """
    for name, value in chosen.items():
        present = sorted(set(rows[name]))
        if value is None and len(present) > 1:
            raise ValueError(f"the table has several values of {name}, {', '.join(present)}: choose with --{name}")
        if not present or value not in (None, *present):
            raise ValueError(f"the table has no rows of {name} '{value}'; it has {', '.join(present) or 'none at all'}")
        rows = rows[rows[name] == (value or present[0])]
        chosen = chosen | {name: value or present[0]}
    return rows, " / ".join(TITLES.get(value, value) for value in chosen.values())
