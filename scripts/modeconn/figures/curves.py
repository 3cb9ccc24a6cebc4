"""Draw accuracy and loss along the curves between pairs of networks, a column of panels for each kind of curve.

Without --alignment all alignments are drawn; with it only that one, in axes with the same limits.
"""

from modeconn import drawing, tables

TABLES = [tables.EVALUATION]
BY = ["split", "alignment"]


def draw(rows, title, alignment):
    """A figure of clean accuracy and loss from the rows of one study and split (`tables.EVALUATION`)."""
    rows = rows[rows["attack"] == "none"]
    curves = drawing.in_order(rows["curve"], drawing.CURVES)
    return drawing.along_curves(rows, title, [(curve, "none") for curve in curves], only=alignment)
