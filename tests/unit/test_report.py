"""The page of a run: it begins with the answer, shows every figure and number, and loads no other file."""

import base64
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import write_report
from modeconn import tables, web

PROJECT = Path(__file__).parents[2]
VOID = {"meta", "img", "input", "br", "link"}
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="432pt" height="216pt"></svg>'
OPTIONAL_ENDS = {"td", "th", "tr", "p", "li"}


class Checker(HTMLParser):
    """Collects what does not fit: an end without its start, an image without words, something to load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.images = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if given.get("role") == "img":
            self.images += 1
            if not given.get("aria-label"):
                self.wrong.append("an image without alternative text")
        if re.match(r"https?:|//", given.get("src") or "") or tag in ("script", "link", "img"):
            self.wrong.append(f"{tag} loads something")
        if tag not in VOID | OPTIONAL_ENDS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in OPTIONAL_ENDS and (not self.open or self.open.pop() != tag):
            self.wrong.append(f"</{tag}> ends nothing")


def test_a_page_is_whole_and_escapes_what_it_is_given():
    body = [
        web.paragraph("a < b & c"),
        web.items(["<script>"]),
        web.table([["name", "n"], ["<b>", "1"]], left=1),
        web.switch("s", {"all": web.figure(SVG, 'say "x"', ["<p>c</p>"]), "one": web.figure(SVG, "y", [])}),
        web.opening("more <", web.rich("First **strong**.\n\nThen ``a_b`` and *em*.")),
    ]
    page = web.page("a & b", body)
    checked = Checker(page)
    assert (checked.wrong, checked.open, checked.images) == ([], [], 2)
    assert "a &lt; b &amp; c" in page and "<script>" not in page
    assert "<p>First <strong>strong</strong>.</p><p>Then <code>a_b</code> and <em>em</em>.</p>" in page
    assert page.count(" checked>") == 1
    assert '<td class="number">1</td>' in page


def test_a_figure_is_drawn_only_where_it_is_shown(one_line):
    """An <img> of a data URI is decoded when the page opens, also in a closed part; a background is not."""
    figure = web.figure(SVG, "x", [])
    assert "<img" not in figure
    data = base64.b64decode(re.search(r"background-image:url\(data:image/svg\+xml;base64,([^)]+)\)", figure)[1])
    assert data == SVG
    assert "width:432.0pt;aspect-ratio:432.0/216.0" in figure
    with one_line(ValueError, "width and height"):
        web.figure(b"<svg/>", "x", [])


def test_a_switch_of_one_figure_is_the_figure():
    assert web.switch("s", {"all": "<figure></figure>"}) == "<figure></figure>"


def test_contents_are_the_headings_that_can_be_reached():
    body = ['<h2 id="not-run">Not run</h2>', "<h2>Other</h2>"]
    assert web.contents(body) == '<nav><a href="#not-run">Not run</a></nav>'


@pytest.mark.parametrize("caption", sorted((PROJECT / "workflow/report").glob("*.rst")), ids=lambda path: path.stem)
def test_captions_use_only_the_marks_that_the_page_knows(caption):
    text = caption.read_text(encoding="utf-8")
    if "{" in text:  # of Snakemake's own report
        return
    for paragraph in web.rich(text):
        assert not re.search(r"\*|`|^\.\. |_ ", re.sub(r"<code>.*?</code>", "", paragraph)), paragraph


def test_every_figure_has_a_caption():
    registry = runpy.run_path(str(PROJECT / "scripts/modeconn/figures/registry.py"))
    assert [name for name in registry["FIGURES"] if not (PROJECT / f"workflow/report/{name}.rst").is_file()] == []


def test_numbers_read_off_figures_stand_beside_published_numbers():
    number = dict.fromkeys(tables.TARGETS_BESIDE.columns, "") | {"network": "vgg8", "alignment": "weight", "n": 3.0}
    number |= {"pairs": "direct", "split": "test", "quantity": "error_barrier_linear", "paper_mean": 0.69}
    number |= {"mean": 0.6, "std": 0.14, "setting": "recipe.epochs 2 (paper: 160)"}
    found = pd.DataFrame([number, number | {"network": "vgg16", "n": 0}])
    run = SimpleNamespace(numbers=lambda name, words=(): found if name == "targets" else pd.DataFrame())
    page = "".join(write_report.beside_paper(run))
    assert "read off the figures of Sharma et al. 2024" in page and "vgg8" in page and "vgg16" not in page
    assert '<td class="number">69.0</td><td class="number">60.0 ± 14.0</td><td class="number">3</td>' in page
    assert "[1] another setting: recipe.epochs 2 (paper: 160)" in page
    found = found.assign(n=0)
    assert "no cell of them is in this run" in "".join(write_report.beside_paper(run))


def test_claims_that_are_not_judged_say_why():
    row = {
        "claim": "wider",
        "statement": "Wider is better.",
        "verdict": "not judged",
        "missing": "a, b differ in more than width: hidden",
    }
    row |= {"dataset": "d", "network": "4 to 16 units", "recipe": "r", "attack": "none"}
    run = SimpleNamespace(table=lambda name: pd.DataFrame([row]))
    (_, listed) = write_report.not_run(run)
    assert "Wider is better. (d / 4 to 16 units / r; not judged: a, b differ in more than width: hidden)" in listed


@pytest.mark.parametrize("name", write_report.MAIN)
def test_the_main_figure_is_that_on_test_images(name, monkeypatch):
    """Labelled as `drawn` labels them: by the real figures of a config, without their files."""
    studies = {
        "curves": {"alignment": [{"dataset": "d", "network": "n", "recipe": "r", "alignments": ["none"]}]},
        "barriers": {"averaging": [{"dataset": "d", "recipes": ["r"], "measures": []}]},
        "trajectories": {
            "simultaneous": [
                {"dataset": "d", "recipes": ["r"], "alignments": ["weight"], "levels": [], "epochs": [1, 2]}
            ]
        },
    }
    entry = {"curves": ["linear"], "attack": None, "best": None, "measures": [], "masks": []}
    config = {
        "studies": {study: [entry | given for given in entries] for study, entries in studies[name].items()},
        "curves": {"linear": {"kind": "linear"}},
        "alignments": {"weight": {"method": "weight"}},
        "recipes": {"r": {"epochs": 2, "keep": [1]}},
        "barriers": {"splits": ["train", "test"], "corrections": []},
        "grid": {"splits": ["train", "test"]},
    }
    monkeypatch.setattr(write_report, "caption_of", lambda *_: "said")
    monkeypatch.setattr(write_report.manifests, "read_bytes", lambda _: SVG)
    run = SimpleNamespace(config=config, folder=Path())
    captions = dict.fromkeys(write_report.registry.FIGURES, "caption")
    heading, figure = write_report.main_figure(write_report.drawn(run, captions))
    assert "Main figure" in heading and "test images" in figure
