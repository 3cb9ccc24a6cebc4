"""Draw one figure of one study from tables, as SVG and as PDF, with a manifest. The same rows give the same bytes."""

import argparse
import gc
import io
from importlib import import_module

from modeconn import cost, drawing, errors, manifests, tables

# Without a date, so that the same rows give the same bytes.
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def main():
    gc.freeze()  # keeps imported modules out of garbage collection, to save time
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--figure", required=True, metavar="NAME", help="a module of modeconn.figures")
    parser.add_argument(
        "--tables", required=True, nargs="+", metavar="CSV", help="from make_tables.py, as the module's TABLES say"
    )
    for name in ("dataset", "network", "recipe", "curve"):
        parser.add_argument(f"--{name}", help=f"the {name} to draw; needed if the table has several")
    parser.add_argument("--split", default="test", choices=["train", "test"], help="default: test")
    parser.add_argument("--alignment", help="draw only this one, with the axes' limits of all")
    parser.add_argument("--svg", required=True, metavar="SVG", help="output")
    parser.add_argument("--pdf", required=True, metavar="PDF", help="output")
    arguments = parser.parse_args()
    with errors.in_one_line():
        draw(arguments, import_module(f"modeconn.figures.{arguments.figure}"))


def draw(arguments, module):
    """Select the rows that `arguments` name, let the module of the figure draw them, and write both files."""
    scope = getattr(module, "SCOPE", ["dataset", "network", "recipe"])
    by = [*scope, *(name for name in module.BY if name != "alignment")]
    chosen = {name: getattr(arguments, name) for name in by}
    selected = [
        drawing.select(tables.read([path], table), chosen)
        for path, table in zip(arguments.tables, module.TABLES, strict=True)
    ]
    options = {"alignment": arguments.alignment} if "alignment" in module.BY else {}
    (rows, title), *more = selected
    with drawing.look():
        figure = module.draw(rows, title, *(further for further, _ in more), **options)
        outputs = {arguments.svg: _bytes(figure, "svg")}
        figure.set_layout_engine("none")  # the layout of the SVG is kept, since text has the same size in both formats
        outputs[arguments.pdf] = _bytes(figure, "pdf")
    uses, beside = [f"figures.{arguments.figure}"], manifests.beside(arguments.svg)
    manifests.write_all("draw", outputs, {"tables": arguments.tables}, uses, beside)
    cost.write(arguments.svg)


def _bytes(figure, kind):
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=METADATA[kind])
    return file.getvalue()


if __name__ == "__main__":
    main()
