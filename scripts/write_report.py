"""Write the report of a run: one HTML page that holds everything it shows, and can be read offline.

The page begins with the question, the verdict on each claim, the numbers, the published numbers beside them, the main
figure, and what was not run. All figures and tables follow, by study. Each file is checked against its manifest when it
is read; the same results give the same bytes.
"""

import argparse
import io
import json
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from modeconn import (
    claims,
    drawing,
    errors,
    files,
    manifests,
    paper,
    population_claims,
    simultaneous_claims,
    tables,
    targets,
    web,
)
from modeconn.figures import registry
from modeconn.studies import STUDIES

# isort: split
import pandas as pd  # after ours, which installs the handler of Ctrl-C

TITLE = "Mode connectivity modulo permutation"
# The question of each study, in the order in which they are shown.
QUESTIONS = {
    "alignment": (
        "Two networks that were trained alike from different seeds lie in different places of weight space, and the "
        "straight line between them crosses a barrier of high loss. The order of hidden neurons is arbitrary: "
        "permuting them changes the weights, not the outputs. Does a path between two networks stay better when the "
        "neurons of one are first put in the order of the other's (Tatro et al. 2020)?"
    ),
    "averaging": (
        "Of many networks of each width, how high are the barriers between all pairs, and does matching the order of "
        "their neurons remove them (Kalaivanan 2023)?"
    ),
    "simultaneous": (
        "Does one permutation serve two networks at every epoch of their training, and at every level of pruning; and "
        "are three networks connected in the frame of one? Does a mask of weights serve another network, once it is "
        "moved with the neurons (Sharma et al. 2024)?"
    ),
}
# How the verdicts of a study are made (`claims`, `population_claims`, `simultaneous_claims`).
MEANINGS = {
    "alignment": (
        "Of pairs: the margin is by how much a claim holds, mean ± standard deviation over n pairs of networks; worst "
        "is that of the pair that supports it least. A claim shows if no pair contradicts it and the mean is above "
        "the effect of chance by the choice of test images."
    ),
    "averaging": (
        "Of many networks: the margin is the mean over all pairs of n networks ± its standard error (jackknife over "
        "networks), worst that of a single pair. A claim shows if the mean is above two standard errors."
    ),
    "simultaneous": (
        "Of pairs at many moments: the margin is the mean over moments, ± the standard deviation over n pairs. A claim "
        "shows if the mean is above two standard errors."
    ),
}
VERDICTS = ("shows", "does not show", "too close to say", "too few to say", "at chance", "identical", "not run")
# The main figure is the first of these that the run has.
MAIN = ("curves", "barriers", "trajectories")


class Run:
    """The results of a run, in the folder of its complete config."""

    def __init__(self, config: Path, further: Collection[str] = ()):
        """further: names of tables besides those that every run of these studies has."""
        self.folder = config.parent
        self.config = json.loads(config.read_text(encoding="utf-8"))
        self.studies = [study for study, entries in self.config["studies"].items() if entries]
        self.names = {name for study in ("runs", *self.studies) for name in STUDIES[study].tables}
        self.names |= {"claims", "published", "published_barriers", *further}
        self.names |= {"paper"} if "alignment" in self.studies else set()
        self._tables: dict[str, pd.DataFrame] = {}

    def table(self, name: str) -> pd.DataFrame:
        """A table of the run, all cells as text; empty where no study of the run has such a table.

        Raises ValueError or OSError, one line, as `manifests.check`.
        """
        if name not in self._tables:
            path = self.folder / f"tables/{name}.csv"
            content = manifests.read_bytes(path) if name in self.names else b"study\n"
            self._tables[name] = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        return self._tables[name]

    def numbers(self, name: str, words: tuple[str, ...] = ()) -> pd.DataFrame:
        """As `table`, with numbers in all columns but `tables.WORDS` and `words`; nan where a cell is empty."""
        rows = self.table(name)
        kept = tables.WORDS | {*words}
        return rows.assign(**{str(column): pd.to_numeric(rows[column]) for column in rows if column not in kept})


def natural(names: tuple) -> list:
    """A key by which "mlp16" comes before "mlp128"."""
    return [int(part) if part.isdigit() else part for name in names for part in re.split(r"(\d+)", name)]


def scope(row) -> str:
    """ "mnist / tinyten / robust / pgd": the study that a row of verdicts is about."""
    return " / ".join(row[name] for name in claims.STUDY if row[name] not in ("", "none"))


def verdicts(run: Run) -> list[str]:
    """How many claims show, and the margin of each that was judged; claims not run have a section of their own."""
    rows = run.numbers("claims", ("verdict", "worst_pair", "missing"))
    if rows.empty:
        return []
    rows = rows.assign(n=rows["n"].astype(int))
    measured = rows[~rows["verdict"].isin(["not run", "not judged", "identical"])]
    counts = Counter(measured["verdict"])
    found = "; ".join(f"{verdict}: {counts[verdict]}" for verdict in VERDICTS if counts[verdict])
    said = f"{len(measured)} claims were judged. {found}." if len(measured) else "No claim could be judged."
    body = ['<h2 id="verdicts">Verdicts</h2>', web.paragraph(said)]
    # First the studies with the most pairs.
    for _, of_study in sorted(
        measured.groupby(claims.STUDY), key=lambda study: (-study[1]["n"].max(), natural(study[0]))
    ):
        cells = [["verdict", "claim", "margin", "worst", "n"]]
        for row in of_study.to_dict("records"):
            verdict, margin, worst, n, statement = claims.judged_row(row)
            cells.append([verdict, statement, margin, worst, n])
        body += [f"<h3>{web.escape(scope(of_study.iloc[0]))}</h3>", web.table(cells, left=2, kind="stack")]
    if len(measured):
        body += [web.paragraph(MEANINGS[study]) for study in run.studies if study in MEANINGS]
        body.append(web.paragraph("A claim that does not show is a finding, not an error."))
    return body


def numbers(run: Run) -> list[str]:
    """The main numbers on test images, of each study's recipes."""
    pairs = f"{claims.NUMBERS}. Mean ± standard deviation over n pairs of networks"
    body: list[str] = []
    # Table, what its numbers are, a table of the page for each value of these columns, its cells, columns of words.
    for name, told, columns, cells_of, left in (
        ("summary", pairs, claims.STUDY, claims.number_rows, 2),
        ("barriers", population_claims.NUMBERS, ["dataset", "recipe"], population_claims.number_rows, 2),
        ("simultaneous", simultaneous_claims.NUMBERS, tables.STUDY, simultaneous_claims.number_rows, 3),
        ("masks", simultaneous_claims.MASK_NUMBERS, tables.STUDY, simultaneous_claims.mask_rows, 1),
    ):
        rows = run.numbers(name)
        if len(rows):
            body.append(web.paragraph(f"{told}."))
            for names, of_part in rows[rows["split"] == "test"].groupby(columns):
                title = " / ".join(str(part) for part in names if part != "none")
                body += [f"<h3>{title}</h3>", web.table(cells_of(of_part), left=left)]
    return ['<h2 id="numbers">Numbers</h2>', *body] if body else []


def beside_paper(run: Run) -> list[str]:
    """The paper's numbers beside the run's, and the comparison with numbers that this project has published."""
    body = ['<h2 id="paper">Beside published numbers</h2>']
    rows = run.numbers("paper", ("within_spread", "setting", "recipe"))
    if len(rows):
        found, notes = paper.blocks(rows)
        body.append(web.paragraph(paper.TITLE + ("." if found else ": no cell of it is in this config.")))
        body += [web.table(block, left=2) for block in found]
        body += [web.items(notes)] if found and notes else []
    rows = run.numbers("targets")
    if len(rows):
        cells, notes = targets.blocks(rows)
        if len(cells) > 1:
            body += [web.paragraph(f"{targets.TITLE}."), web.table(cells, left=4)]
            body += [web.items(notes)] if notes else []
        else:
            body.append(web.paragraph(targets.NOT_RUN))
    comparisons = (run.numbers(name, ("comparison",)) for name in ("published", "published_barriers"))
    body.append(web.paragraph(claims.comparison_text(*comparisons)))
    return body


def not_run(run: Run) -> list[str]:
    """The claims that no study of the config measures, and those that its networks cannot show."""
    rows = run.table("claims")
    reasons = {"not run": "not measured", "not judged": "not judged"}
    lines = []
    for row in rows[rows["verdict"].isin(reasons)].to_dict("records") if len(rows) else []:
        where = scope(row) or "no study of this config"
        lines.append(f"{row['statement']} ({where}; {reasons[row['verdict']]}: {row['missing']})")
    return ['<h2 id="not-run">Not run</h2>', web.items(lines)] if lines else []


def caption_of(run: Run, name: str, parts: dict[str, str], studied: list[str]) -> str:
    """How many pairs or networks a figure shows, which ones, and on which images."""
    rows = run.table(registry.FIGURES[name].tables[0])
    chosen = dict(zip(tables.STUDY, studied)) | parts
    for column, value in chosen.items():
        if column in rows and value != registry.ALL:
            rows = rows[rows[column] == value]
    splits = drawing.in_order(rows["split"], drawing.SPLITS) if "split" in rows else []
    # Of one split the label says it already.
    images = "" if "split" in parts else ", ".join(drawing.SPLITS.get(split, split) for split in splits)
    named = " / ".join(value for value in studied if value != registry.ALL)
    return "; ".join(part for part in (named, drawing.counted(rows), images) if part)


def drawn(run: Run, captions: dict[str, str]) -> dict[str, dict[str, dict[str, str]]]:
    """Title of a study's part -> label of a figure -> choice -> HTML. Each alignment's figure is a choice."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for path in registry.of(run.config):
        folder, _, stem = path.partition("/")
        name, dash, rest = stem.partition("-")
        parts = registry.parts_of(name, dash + rest)
        studied = folder.split("-")
        title = " / ".join(value for value in studied if value != registry.ALL)
        shown = [drawing.TITLES.get(value, value) for key, value in parts.items() if key != "alignment"]
        label = ", ".join([registry.FIGURES[name].label, *shown])
        alignment = parts.get("alignment", registry.ALL)
        choice = "all alignments" if alignment == registry.ALL else drawing.LABELS.get(alignment, alignment)
        said = caption_of(run, name, parts, studied)
        first, *more = web.rich(captions[name])
        caption = [web.paragraph(f"{label}, {choice}: {said}."), first, *([web.opening("More", more)] if more else [])]
        svg = manifests.read_bytes(run.folder / f"figures/{path}.svg")
        html = web.figure(svg, f"{label}, {choice}: {said}", caption)
        found.setdefault(title, {}).setdefault(label, {})[choice] = html
    return found


def main_figure(figures: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    """The main figure, on test images, of the first part of the studies that has it."""
    for name in MAIN:
        label = f"{registry.FIGURES[name].label}, {drawing.SPLITS['test']}"
        for by_label in figures.values():
            if label in by_label:
                return ['<h2 id="figure">Main figure</h2>', next(iter(by_label[label].values()))]
    return []


def all_tables(run: Run) -> list[str]:
    """Small tables, each in a section that opens, and links to the others, which are files beside this page."""
    shown = {"claims": "a claim and recipe", "paper": "a number of the paper", "targets": "a number read off a figure"}
    shown |= dict.fromkeys(["published", "published_barriers"], "a published number")
    others = []
    for study in ("runs", *run.studies):
        for name, row in STUDIES[study].tables.items():
            if name in STUDIES[study].shown:
                shown[name] = row
            else:
                others.append(f'<li><a href="tables/{name}.csv">tables/{name}.csv</a>: a row is {row}</li>')
    body = []
    for name, row in shown.items():
        rows = run.table(name)
        if len(rows):
            cells = [list(rows.columns), *rows.to_numpy().tolist()]
            title = f"tables/{name}.csv: {len(rows)} rows, each {row}"
            body.append(web.opening(title, [web.table(cells, left=len(rows.columns))]))
    where = web.paragraph("Larger tables are files beside this page:")
    return ['<h2 id="tables">Tables</h2>', *body, where, f"<ul>{''.join(others)}</ul>"]


def document(run: Run, captions: dict[str, str], remarks: list[str]) -> str:
    """The whole page. captions: figure -> text; remarks: on the data, from prepare_data.py."""
    figures = drawn(run, captions)
    answer = [verdicts(run), numbers(run), beside_paper(run), main_figure(figures), not_run(run)]
    warned = ["<h2>Look at the data, before believing these numbers</h2>", web.items(remarks)] if remarks else []
    studies = ['<h2 id="figures">All figures</h2>']
    for place, (title, by_label) in enumerate(figures.items()):
        parts = []
        for position, (label, choices) in enumerate(by_label.items()):
            parts += [f"<h3>{label}</h3>", web.switch(f"s{place}-{position}", choices)]
        count = sum(map(len, by_label.values()))
        studies.append(web.opening(f"{title}: {count} figure{'s' * (count != 1)}", parts))
    config = ["<pre class=wide>", web.escape(json.dumps(run.config, indent=1, ensure_ascii=False)), "</pre>"]
    ended = ['<h2 id="config">Config</h2>', web.opening("the complete config, with every default", config)]
    sections = [part for section in answer for part in section]
    asked = [web.paragraph(QUESTIONS[study]) for study in run.studies if study in QUESTIONS]
    title = f"{TITLE}: {run.config['name']}"
    body = [*sections, *warned, *studies, *all_tables(run), *ended]
    return web.page(title, [f"<h1>{web.escape(title)}</h1>", *asked, web.contents(body), *body])


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, type=Path, metavar="JSON", help="of the run, in its folder")
    parser.add_argument("--captions", required=True, nargs="+", type=Path, metavar="RST", help="of figures, by name")
    parser.add_argument("--remarks", nargs="*", default=[], metavar="TXT", help="from prepare_data.py")
    parser.add_argument("--targets", metavar="CSV", help="from compare_targets.py, if this run has such numbers")
    parser.add_argument("--output", required=True, metavar="HTML", help="the page")
    arguments = parser.parse_args()
    captions = {path.stem: path.read_text(encoding="utf-8") for path in arguments.captions}
    remarks = "".join(map(manifests.read_text, arguments.remarks)).splitlines()
    files.write_text(
        arguments.output, document(Run(arguments.config, ["targets"] if arguments.targets else []), captions, remarks)
    )


if __name__ == "__main__":
    with errors.in_one_line():
        main()
