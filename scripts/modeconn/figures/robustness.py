"""Draw accuracy and loss along the curves, clean and under attack side by side, for each kind of curve.

Without --alignment all alignments are drawn; with it only that one, in axes with the same limits.
"""

from modeconn import drawing, tables

TABLES = [tables.EVALUATION]
BY = ["split", "alignment"]


def draw(rows, title, alignment):
    """A figure from the rows of one study and split (`tables.EVALUATION`). ValueError if none is under attack."""
    attacked = rows[rows["attack"] != "none"]
    if attacked.empty:
        raise ValueError(f"{title}: the table has no rows under attack")
    columns = [
        (curve, attack)
        for curve in drawing.in_order(attacked["curve"], drawing.CURVES)
        for attack in drawing.in_order(rows.loc[rows["curve"] == curve, "attack"], ["none"])
    ]
    return drawing.along_curves(rows, title, columns, only=alignment)
