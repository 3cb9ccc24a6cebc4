"""Parts of an HTML page that needs no other file: text, tables, figures, sections that open."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

MOST_CHOICES = 12  # of a switch: the style has rules for so many
STYLE = """
:root{color-scheme:light}
body{font:1rem/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:76rem;margin:0 auto;padding:1rem}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0}
h2{font-size:1.3rem;margin:1.8em 0 .4em;border-bottom:2px solid #1a1a1a}
h3{font-size:1.05rem;margin:1.4em 0 .3em}
h1,h2,h3,p,li,summary,figcaption{overflow-wrap:anywhere}
nav a{margin-right:1em}
a{color:#00538a}
.wide{overflow-x:auto;margin:.5em 0}
table{border-collapse:collapse;font-size:.9rem}
th,td{padding:.25em .8em .25em 0;text-align:left;vertical-align:top;border-bottom:1px solid #ccc}
th{border-bottom:2px solid #666}
.stack td:first-child{white-space:nowrap}
td.number,th.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
@media(max-width:40rem){.stack tr,.stack td{display:block}.stack th{display:none}.stack td{border:0}
.stack tr{border-bottom:1px solid #ccc}.stack td:first-child{font-weight:600}.stack td.number{text-align:left}
.stack td:last-child::before{content:"n = "}.stack td:nth-last-child(2)::before{content:"worst "}}
details{border-left:3px solid #ccc;padding-left:.8em;margin:.6em 0}
summary{cursor:pointer;font-weight:600}
figure{margin:1em 0}
figure [role=img]{min-width:36rem;max-width:100%;background-size:100% 100%;print-color-adjust:exact}
figcaption{max-width:50rem;font-size:.9rem}
.switch>input{margin-left:.8em}
.switch>figure{display:none}
""" + "\n".join(
    f".switch>input:nth-of-type({n}):checked~figure:nth-of-type({n}){{display:block}}"
    for n in range(1, MOST_CHOICES + 1)
)


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document from parts of its body."""
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
    )
    return "\n".join([head, *body, "</body></html>", ""])


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def items(lines: Iterable[str]) -> str:
    """A list of plain lines."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def table(rows: Sequence[Sequence[str]], left: int, kind: str = "") -> str:
    """A table of plain cells: a header and its rows. The first `left` columns are words, the others numbers.

    kind: "stack" stacks the cells of a row in a narrow window.
    """
    lines = []
    for tag, cells in zip(["th", *["td"] * (len(rows) - 1)], rows):
        kinds = ["" if column < left else ' class="number"' for column in range(len(cells))]
        lines.append("<tr>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells)))
    return f'<div class="wide"><table class="{kind}">{"".join(lines)}</table></div>'


def rich(text: str) -> list[str]:
    """The paragraphs of a caption in reStructuredText, as far as captions use it: **strong**, *emphasis*, ``code``."""
    found = []
    for block in re.split(r"\n\s*\n", escape(text.strip())):
        for mark, tag in ((r"\*\*", "strong"), (r"\*", "em"), ("``", "code"), ("`", "code")):
            block = re.sub(rf"{mark}(\S(?:.*?\S)??){mark}", rf"<{tag}>\1</{tag}>", block, flags=re.DOTALL)
        found.append(f"<p>{block}</p>")
    return found


def figure(svg: bytes, alternative: str, caption: Iterable[str]) -> str:
    """A figure with its alternative text, and HTML paragraphs below it.

    The image is a background: browsers decode one only when it is shown, and each <img> of a data URI at once, also in
    closed parts. Decoding is what takes the time where there are hundreds. Raises ValueError where `svg` has no size.
    """
    size = re.search(rb'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    if not size:
        raise ValueError("the SVG does not begin with its width and height in pt")
    width, height = map(float, size.groups())
    look = f"width:{width}pt;aspect-ratio:{width}/{height}"
    data = base64.b64encode(svg).decode()
    image = (
        f'<div role="img" aria-label="{escape(alternative)}"'
        f' style="{look};background-image:url(data:image/svg+xml;base64,{data})"></div>'
    )
    return f'<figure><div class="wide">{image}</div><figcaption>{"".join(caption)}</figcaption></figure>'


def switch(name: str, figures: dict[str, str]) -> str:
    """Figures of which one is shown, chosen by radio buttons: label -> HTML. `name` is unique on the page."""
    if len(figures) == 1:
        return next(iter(figures.values()))
    choices = [
        f'<input type="radio" name="{escape(name)}" id="{escape(name)}-{n}"{" checked" * (n == 0)}>'
        f'<label for="{escape(name)}-{n}">{escape(label)}</label>'
        for n, label in enumerate(figures)
    ]
    return f'<div class="switch">{"".join([*choices, *figures.values()])}</div>'


def opening(title: str, body: Iterable[str]) -> str:
    """HTML parts that are hidden until their title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{''.join(body)}</details>"


def contents(body: Iterable[str]) -> str:
    """Links to those headings of these parts that have an id."""
    found = [match for part in body for match in re.findall(r'<h2 id="([\w-]+)">(.*?)</h2>', part)]
    return "<nav>" + " ".join(f'<a href="#{name}">{text}</a>' for name, text in found) + "</nav>"
