"""Draw the loss of each candidate permutation of a refinement (PAM), a panel for each refined alignment."""

import numpy as np
from matplotlib.figure import Figure

from modeconn import drawing, tables

TABLES = [tables.CANDIDATES]
BY: list[str] = []

# With the place beside one another; of equal losses the first is chosen.
SHOWN = {
    "start": (-0.35, {"label": "where it started", "marker": "s", "color": "#D55E00", "markersize": 5}),
    "nearest": (-0.25, {"label": "the nearest to the matrices", "marker": "D", "color": "#0072B2", "markersize": 5}),
    "sample": (0.1, {"label": "a sample", "marker": "o", "color": "0.6", "markersize": 3}),
}
CHOSEN = {"label": "chosen", "marker": "o", "color": "black", "markersize": 9, "markerfacecolor": "none"}
SPREAD = 0.25  # of the samples


def draw(rows, title):
    """A figure from the candidates of one study (`tables.CANDIDATES`)."""
    alignments = drawing.in_order(rows["alignment"], drawing.STYLES)
    figure = Figure(figsize=(max(drawing.LEAST_WIDTH, 1.2 + 2.4 * len(alignments)), 3))
    panels = figure.subplots(1, len(alignments), squeeze=False)[0]
    for panel, alignment in zip(panels, alignments):
        pairs = list(rows.loc[rows["alignment"] == alignment].groupby("pair"))
        for place, (_, candidates) in enumerate(pairs):
            _draw_pair(panel, place, candidates)
        panel.set_xticks(range(len(pairs)), [pair for pair, _ in pairs])
        panel.set(title=drawing.LABELS.get(alignment, alignment), xlabel="pair", xlim=(-0.6, len(pairs) - 0.4))
    panels[0].set_ylabel("loss on the line (nats)")
    kinds = set(rows["candidate"].str.split().str[0])
    styles = [*(style for kind, (_, style) in SHOWN.items() if kind in kinds), CHOSEN]
    said = drawing.about(title, rows, drawing.SPLITS["train"])
    drawing.legend(figure, said, [{"linestyle": "", **style} for style in styles])
    return figure


def _draw_pair(panel, place, candidates):
    kinds = candidates["candidate"].str.split().str[0]
    drawn = []
    for kind, (beside, style) in SHOWN.items():
        losses = candidates.loc[kinds == kind, "loss"]
        spread = np.linspace(-SPREAD, SPREAD, len(losses)) if len(losses) > 1 else [0]
        places = [place + beside + step for step, _ in zip(spread, losses)]
        panel.plot(places, losses, linestyle="", **style)
        drawn += zip(losses, places)
    loss, where = min(drawn, key=lambda point: point[0])
    panel.plot([where], [loss], linestyle="", **CHOSEN)
