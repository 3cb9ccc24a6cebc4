"""Numbers and tables as plain text."""

import math


def number(mean, std, scale, digits, sign=""):
    """ "98.7 ± 0.6": a mean and its standard deviation (nan: left out), both times `scale`."""
    spread = "" if math.isnan(std) else f" ± {scale * std:.{digits}f}"
    return f"{scale * mean:{sign}.{digits}f}{spread}"


def aligned(rows, left):
    """Rows of cells as lines of equal width; the first `left` columns are set flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    cells = [
        [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        for row in rows
    ]
    return "\n".join("  ".join(["", *row]) for row in cells)
