"""The page that `connect` writes: one HTML file with its figures inside as SVG."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from modeconn.connecting import CONNECTED, Connection

# Colours that the colour-blind can distinguish (Okabe and Ito); in grey the dashes differ.
COLOURS = ("#6b6b6b", "#0072b2", "#d55e00", "#009e73", "#cc79a7")
DASHES = ("5 4", "none", "9 3 2 3", "2 2", "12 4")
DEFINITIONS = {"linear": "interpolant", "max_endpoint": "worse end", "mean_endpoint": "mean of ends"}
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 240, 58, 36
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } .answer { font-size: 1.3rem; font-weight: 600; }
svg { max-width: 100%; margin-right: 1rem; } .box { overflow-x: auto; } code { overflow-wrap: anywhere; }"""


def written(found: Connection, facts: Mapping[str, str], notes: Sequence[str], files: Mapping[str, str]) -> str:
    """The page. facts: name -> what was compared. notes: what was changed to read it. files: name -> what is in it."""
    parts = [
        f'<p class="answer">{_text(found.answer)}</p>',
        _table(["", ""], facts.items()),
        *(f"<p>Note: {_text(note)}.</p>" for note in notes),
        "<h2>The line between them</h2>",
        _chart(found, "loss", "test loss, nats"),
        _chart(found, "accuracy", "test accuracy, %", 100),
        _barriers(found),
        f"<p>A line is connected if the error along it rises by less than {CONNECTED:.0%} above the straight "
        "interpolation between its ends (Sharma et al. 2024), and too close to say within twice the standard error of "
        f"the choice of the {found.images['test']:,} test images."
        + (
            " At every point, including the ends, statistics of batch normalization are re-estimated on "
            f"{found.images['train']:,} training images."
            if found.restated
            else ""
        )
        + "</p>",
        "<h2>What was permuted</h2>",
        _permuted(found),
        "<h2>Signature</h2>" if found.signature else "",
        _signature(found) if found.signature else "",
        "<h2>Files</h2>",
        _table(["", ""], files.items()),
        f"<p>They belong to the line with the lowest loss barrier on the test images: {_text(found.best)}.</p>",
    ]
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Are two networks connected?</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>Are two networks connected?</h1>\n{body}\n</body></html>\n"
    )


def _text(value):
    return html.escape(str(value))


def _table(head, rows):
    cells = [[f"<td>{_text(cell)}</td>" for cell in row] for row in rows]
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head) if any(head) else ""
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return f'<div class="box"><table><tr>{top}</tr>\n{body}</table></div>'


def _barriers(found):
    """Barriers by the definitions of `barriers`."""
    rows = []
    for name, profile in found.profiles.items():
        numbers = profile.quantities
        of = [f"{kind}_barrier_{end}" for end in DEFINITIONS for kind in ("error", "loss")]
        shown = [f"{numbers[key]:.1%}" if key.startswith("error") else f"{numbers[key]:.3f}" for key in of]
        rows.append([name, f"{numbers['minimum_accuracy']:.1%}", *shown])
    ends = [f"{kind} above {end}" for end in DEFINITIONS.values() for kind in ("error", "loss")]
    accuracies = ", ".join(f"{name} {value:.2%}" for name, value in found.accuracies.items())
    return _table(["", "lowest accuracy", *ends], rows) + f"<p>Accuracy with statistics of their own: {accuracies}.</p>"


def _permuted(found):
    if found.unpermuted:
        return f"<p>Nothing: {_text(found.unpermuted)}</p>"
    pinned = "".join(f"<li>{_text(line)}</li>" for line in found.pinned) or "<li>nothing</li>"
    return (
        f"<p>{found.groups} groups of neurons, {found.channels}, with {found.freedom:.1%} of the parameters; "
        f"permuting B changes its logits by {found.change:.0e} of the largest, which is rounding. Not permuted, and "
        f"why:</p><ul>{pinned}</ul>"
        f"{_symmetry(found.symmetry)}"
    )


def _symmetry(lines):
    if not lines:
        return "<p>Only permutations were used, no scales, signs or rotations.</p>"
    used, *kept = lines
    listed = "".join(f"<li>{_text(line.strip())}</li>" for line in kept)
    return (
        "<p>Symmetry beyond permutation, up to which weights are matched and by which B is brought to A: "
        f"{_text(used)}.</p><ul>{listed}</ul>"
    )


def _signature(found):
    """Mean correlation of paired neurons, layer by layer."""
    names = list(found.signature[0][1])
    rows = [[group, *(f"{values[name]:.3f}" for name in names)] for group, values in found.signature]
    depth = np.linspace(0, 1, len(found.signature))
    series = {name: (depth, np.array([values[name] for _, values in found.signature])) for name in names}
    figure = _svg(series, "from inputs to logits", "correlation")
    return f"<p>Mean correlation of paired neurons on test images.</p>{figure}" + _table(["group", *names], rows)


def _chart(found, quantity, label, factor=1):
    series = {name: (profile.t, getattr(profile, quantity) * factor) for name, profile in found.profiles.items()}
    return _svg(series, "t, from A to B", label)


def _svg(series, across, up):
    """Lines, name -> (x in [0, 1], y), with axes and a legend."""
    values = np.concatenate([y for _, y in series.values()])
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def place(x, y):
        return f"{LEFT + x * (WIDTH - LEFT - 10):.1f},{(HEIGHT - BOTTOM) * (high - y) / (high - low) + 6:.1f}"

    parts = []
    for tick in np.linspace(low + margin, high - margin, 4):
        x, y = place(0, tick).split(",")
        parts.append(f'<line x1="{x}" x2="{WIDTH - 10}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for number, (name, (x, y)) in enumerate(series.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        look = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        below = HEIGHT + 22 + 16 * number
        parts.append(f'<polyline points="{" ".join(map(place, x, y))}" {look}/>')
        parts.append(f'<polyline points="{LEFT},{below - 4} {LEFT + 34},{below - 4}" {look}/>')
        parts.append(f'<text x="{LEFT + 42}" y="{below}">{_text(name)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT}" text-anchor="middle">{_text(across)}</text>')
    parts.append(
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">{_text(up)}</text>'
    )
    height = HEIGHT + 16 * len(series) + 14
    said = _text(f"{up} against {across}: {', '.join(series)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    )
