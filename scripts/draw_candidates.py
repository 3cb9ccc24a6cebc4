"""Draw the loss of each permutation among which a refinement (PAM) chose, a panel for each refined alignment."""

from matplotlib.figure import Figure

from modeconn import drawing, tables

SHOWN = {
    "sample": {"label": "a sample", "marker": "o", "color": "0.6", "markersize": 3},
    "nearest": {"label": "the nearest to the matrices", "marker": "D", "color": "#0072B2", "markersize": 5},
    "start": {"label": "where it started", "marker": "s", "color": "#D55E00", "markersize": 5},
}
CHOSEN = {"label": "chosen", "marker": "o", "color": "black", "markersize": 9, "markerfacecolor": "none"}
SPREAD = 0.25


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
    drawing.legend(figure, title, [{"linestyle": "", **style} for style in (*SHOWN.values(), CHOSEN)])
    return figure


def _draw_pair(panel, place, candidates):
    kinds = candidates["candidate"].str.split().str[0]
    for kind, style in SHOWN.items():
        losses = candidates.loc[kinds == kind, "loss"]
        # Side by side, or equal losses would hide one another.
        beside = [place + SPREAD * (2 * (number + 0.5) / len(losses) - 1) for number in range(len(losses))]
        panel.plot(beside, losses, linestyle="", **style)
    panel.plot([place], [candidates["loss"].min()], linestyle="", **CHOSEN)


if __name__ == "__main__":
    drawing.program(__doc__, tables.CANDIDATES, draw)
