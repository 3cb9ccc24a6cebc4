"""The look of all figures, and what several of them draw.

One visual language: an alignment has the same colour and line style everywhere, thin lines are single pairs or
networks, a thick line is their mean. Colours can be told apart by colour-blind readers, line styles also in grey.
"""

import contextlib
import itertools

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

# Colours of Okabe and Ito; the line styles repeat the distinction for who sees no colours.
STYLES = {
    "none": {"color": "#D55E00", "linestyle": (0, (4, 1.5))},
    "random": {"color": "#8C8C8C", "linestyle": (0, (1, 1))},
    "weight": {"color": "#009E73", "linestyle": (0, (6, 1.5, 1, 1.5))},
    "activation": {"color": "#0072B2", "linestyle": "-"},
    "pam": {"color": "#CC79A7", "linestyle": (0, (8, 1.5))},
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
TITLES = CURVES | {"none": "no curve"}
ENDS = {0: "first network", 1: "second network"}
MOST_NAMES = 24  # of groups, below one another
THICK = {"linewidth": 1.8}
THIN = {"linewidth": 0.6, "alpha": 0.5, "linestyle": "-"}
SHADE = {"alpha": 0.1, "linewidth": 0}
FAINT = 0.2
SINGLE = {"label": "a single pair", "color": "0.4", **THIN}
INTERPOLANT = {"label": "interpolant of the endpoints", "color": "0.3", "linewidth": 0.8, "linestyle": (0, (1, 2))}


@contextlib.contextmanager
def look():
    """Within this context figures are made and written in the study's look, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        yield


def in_order(names, known):
    """`names` without repetition: those of `known` first, in its order, then the others by the alphabet."""
    names = set(names)
    return [name for name in known if name in names] + sorted(names - set(known))


def styles(alignments):
    """Alignment -> label, colour and line style; those without a style of their own take turns in `OTHER_STYLES`."""
    others = itertools.cycle(OTHER_STYLES)
    return {
        name: {"label": LABELS.get(name, name), **(STYLES.get(name) or next(others))}
        for name in in_order(alignments, STYLES)
    }


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
    """Where permutations were found, without none: single epochs in order, then those of several at once ("1+5")."""
    names = set(permutations) - {"none"}
    return sorted(names, key=lambda name: ("+" in name, [float(epoch) for epoch in name.split("+")]))


def origin_label(name):
    """Of several epochs the first and the last, where there are many."""
    epochs = name.split("+")
    return name if len(epochs) <= 4 else f"{epochs[0]}+…+{epochs[-1]}"


def thick(lines):
    """The handles of a legend of such lines (name -> label, colour and line style)."""
    return [style | THICK for style in lines.values()]


def by_width(rows):
    """One row for each network of a table of populations, the narrowest first."""
    return rows.drop_duplicates("network").sort_values(["width", "network"])


def of_networks(rows, x, y, columns=3):
    """A figure with a panel for each network of a table of populations: (figure, [(axes, rows of the network)]).

    x, y: what the axes of all panels show; limits are those of each panel, but for x.
    """
    networks = by_width(rows)
    lines = -(-len(networks) // columns)
    figure = Figure(figsize=(max(LEAST_WIDTH, 1 + 2 * columns), 0.9 + 1.6 * lines))
    axes = list(figure.subplots(lines, columns, sharex=True, squeeze=False).flat)
    for axis in axes[len(networks) :]:
        axis.set_visible(False)
    for axis, name, width in zip(axes, networks["network"], networks["width"]):
        axis.set_title(f"{name}: {width:.0f} units")
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


def legend(figure, title, handles):
    """The figure's head: what it shows, and one legend; `handles` are line styles with labels."""
    head = figure.legend(
        handles=[Line2D([], [], **handle) for handle in handles],
        title=title,
        alignment="left",
        loc="outside upper left",
        ncols=3,
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
    # Those not drawn stay in the legend, faint: it takes the same room in every figure, so the panels do not move.
    faint = {name: {} if name in shown else {"alpha": FAINT} for name in known}
    handles = [style | THICK | faint[name] for name, style in known.items()]
    head = legend(figure, title, [*handles, SINGLE, INTERPOLANT])
    for text, name in zip(head.get_texts(), known):
        text.set(**faint[name])
    return figure


def draw_path(axes, lines, style, worse):
    """Draw single pairs and their mean as `draw_lines` does, and shade where it is worse than the ends' interpolant."""
    draw_lines(axes, lines, style)
    if lines.shape[1] > 0:
        mean = lines.mean(axis=1, skipna=False)
        ends = mean.iloc[[0, -1]]
        interpolant = np.interp(mean.index, ends.index, ends)
        axes.fill_between(mean.index, worse(mean, interpolant), interpolant, color=style["color"], **SHADE)
        axes.plot(ends, **INTERPOLANT)


def select(rows, chosen):
    """The rows that have the `chosen` values (column -> value or None), and a title that names them.

    None stands for the only value there is. Raises ValueError if there are several, or no row is left.
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
