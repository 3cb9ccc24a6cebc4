"""Draw accuracy and loss against epoch, of the training of networks, permutations (PAM) and each kind of curve."""

from modeconn import drawing, tables

TABLES = [tables.HISTORY]
BY: list[str] = []

NETWORK = {"label": "networks", "color": "0.15", "linestyle": "-"}
SINGLE = drawing.SINGLE | {"label": "a single network or pair"}


def draw(rows, title):
    """A figure from the histories of one study (`tables.HISTORY`)."""
    networks, permutations, fits = (rows[rows["kind"] == kind] for kind in ("network", "alignment", "curve"))
    styles = drawing.styles([*permutations["alignment"], *fits["alignment"]])
    if len(networks):
        styles = {"": NETWORK} | styles  # a network has no alignment
    columns = [("training of the networks", networks), ("training of the permutations", permutations)]
    for curve in drawing.in_order(fits["curve"], drawing.CURVES):
        columns.append((f"fit of the {drawing.CURVES.get(curve, curve)}", fits[fits["curve"] == curve]))
    columns = [(name, histories) for name, histories in columns if len(histories)]

    figure, axes = drawing.panels(len(columns))
    for (name, histories), column in zip(columns, axes.T):
        column[0].set_title(name)
        column[1].set_xlabel("epoch")
        for panel, quantity, scale in zip(column, ["accuracy", "loss"], [100, 1]):
            for alignment, style in styles.items():
                one = histories[histories["alignment"] == alignment]
                drawing.draw_lines(panel, scale * one.pivot(index="epoch", columns="seeds", values=quantity), style)
            panel.margins(x=0)
    said = drawing.about(title, rows, drawing.SPLITS["train"])
    drawing.legend(figure, said, [*drawing.thick(styles), *drawing.single(figure, SINGLE)])
    return figure
