"""The figure programs: equal bytes, equal axes, honest lines, clear errors, and no torch."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import synthetic_tables
from synthetic_tables import SAG, SCRIPTS, run

import draw_curves
import draw_robustness
import draw_signatures
import draw_training
from modeconn import drawing

PROGRAMS = {
    "draw_curves": ["curves", "--recipe", "standard"],
    "draw_robustness": ["curves", "--recipe", "robust", "--alignment", "activation"],
    "draw_signatures": ["signatures"],
    "draw_training": ["training"],
}
CAPTIONS = sorted((Path(__file__).parents[2] / "workflow" / "report").glob("*.rst"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic_tables.write(tmp_path_factory.mktemp("study"))


def clean(alignment=None, recipe="standard"):
    rows = synthetic_tables.evaluations().query(f"split == 'test' and recipe == '{recipe}'")
    with drawing.look():
        return draw_curves.draw(rows, "title", alignment)


def heavy(axes):
    """The thick lines of a panel: the means."""
    return [line for line in axes.get_lines() if line.get_linewidth() > 1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_processes_write_the_same_bytes_and_never_load_torch(program, study, tmp_path):
    table, *selection = PROGRAMS[program]
    watch = "import runpy, sys; runpy.run_path(sys.argv[0], run_name='__main__'); assert 'torch' not in sys.modules"
    written = []
    for attempt in ("1", "2"):
        svg, pdf = tmp_path / f"{attempt}.svg", tmp_path / f"{attempt}.pdf"
        options = ["--table", study[table], *selection, "--svg", svg, "--pdf", pdf]
        script = f"import sys; sys.argv = sys.argv[1:]; sys.path.insert(0, {str(SCRIPTS)!r}); {watch}"
        command = [sys.executable, "-c", script, SCRIPTS / f"{program}.py", *options]
        environment = os.environ | {"PYTHONHASHSEED": attempt, "SOURCE_DATE_EPOCH": attempt}
        subprocess.run([str(part) for part in command], check=True, env=environment)
        written.append((svg.read_bytes(), pdf.read_bytes()))
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0][0]
    assert b"CreationDate" not in written[0][1]


@pytest.mark.parametrize("program", ["make_tables", "judge_claims"])
def test_table_programs_never_load_torch(program):
    check = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import {program}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_mean_lines_are_the_mean_over_pairs_in_percent():
    rows = synthetic_tables.evaluations().query("split == 'test' and recipe == 'standard' and attack == 'none'")
    expected = rows.query("curve == 'linear' and alignment == 'activation'").groupby("t")["accuracy"].mean()
    accuracy = clean("activation").axes[0]
    (line,) = heavy(accuracy)
    assert line.get_ydata() == pytest.approx(100 * expected.to_numpy())


def test_the_overlay_draws_every_alignment_and_every_pair():
    figure = clean()
    linear = figure.axes[0]
    drawn = [name for name, curve in SAG if curve == "linear"]
    assert len(heavy(linear)) == len(drawn)
    assert len({(line.get_color(), str(line.get_linestyle())) for line in heavy(linear)}) == len(drawn)
    assert len(linear.get_lines()) == len(drawn) * (3 + 1 + 1)  # pairs, mean, interpolant


def test_one_alignment_is_drawn_in_the_axes_of_all():
    overlay, unaligned, aligned = clean(), clean("none"), clean("activation")
    for figure in (overlay, unaligned, aligned):
        figure.draw_without_rendering()
    for axes in zip(overlay.axes, unaligned.axes, aligned.axes):
        assert len({(panel.get_ylim(), panel.get_xlim()) for panel in axes}) == 1
        assert len({panel.get_position().bounds for panel in axes}) == 1
    assert len(heavy(unaligned.axes[0])) == 1


def test_only_what_is_worse_than_the_endpoints_is_shaded():
    accuracy, _, loss, _ = clean("none").axes
    for panel, side in ((accuracy, -1), (loss, 1)):
        (shade,) = panel.collections
        t, edge = shade.get_paths()[0].vertices.T
        (first, last) = panel.get_lines()[-1].get_ydata()
        rise = side * (edge - (first + (last - first) * t))
        assert rise.min() == pytest.approx(0, abs=1e-9)
        assert rise.max() > 0.5


def test_the_limits_of_a_panel_fit_its_own_curves():
    """The dip on a trained curve is a tenth of the straight line's: on the same scale it would not be seen."""
    rows = synthetic_tables.evaluations().query("split == 'test' and attack == 'none' and recipe == 'standard'")
    linear, bezier = clean().axes[:2]
    for panel, curve in ((linear, "linear"), (bezier, "bezier")):
        lowest = 100 * rows.loc[rows["curve"] == curve, "accuracy"].min()
        low, high = panel.get_ylim()
        assert lowest - 0.1 * (high - low) < low < lowest


def test_robustness_stands_beside_clean_accuracy():
    rows = synthetic_tables.evaluations().query("split == 'test' and recipe == 'robust'")
    figure = draw_robustness.draw(rows, "title", None)
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["straight line", "straight line, under pgd", "Bézier curve", "Bézier curve, under pgd"]


def test_signatures_show_what_all_alignments_can_be_compared_by():
    rows = synthetic_tables.signatures()
    others = [rows.assign(site="pre", before=0.3), rows.assign(images="attacked", before=0.4)]
    figures = [draw_signatures.draw(pd.concat(frames), "title") for frames in ([rows], [*others, rows])]
    alone, among = ([line.get_ydata().tolist() for axes in figure.axes for line in axes.lines] for figure in figures)
    assert alone == among


def test_signatures_show_mean_and_standard_deviation_over_pairs():
    rows = synthetic_tables.signatures().query("alignment != 'weight'")
    panel = draw_signatures.draw(rows, "title").axes[0]
    first = rows.query("split == 'alignment' and position == 0 and alignment == 'activation'")["after"]
    drawn = [bars for bars in panel.containers if bars.lines[0].get_ydata()[0] == pytest.approx(first.mean())]
    assert len(drawn) == 1
    (low, high) = drawn[0].lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * first.std())


def test_training_has_panels_for_networks_and_for_each_curve():
    figure = draw_training.draw(synthetic_tables.histories(), "title")
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["training of the networks", "fit of the Bézier curve"]


@pytest.mark.parametrize(
    ("program", "table", "options", "message"),
    [
        ("draw_curves", "curves", [], "several values of recipe, robust, standard: choose with --recipe"),
        ("draw_curves", "curves", ["--recipe", "fast"], "no rows of recipe 'fast'; it has robust, standard"),
        (
            "draw_curves",
            "curves",
            ["--recipe", "robust", "--alignment", "quadratic"],
            "no alignment 'quadratic' here; it has none,",
        ),
        ("draw_robustness", "curves", ["--recipe", "standard"], "no rows under attack"),
        ("draw_signatures", "curves", [], "lacks the column group, position, site, images, before, after"),
        ("draw_training", "absent", [], "No such file"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(program, table, options, message, study, tmp_path):
    path = study.get(table, tmp_path / "absent.csv")
    process = run(program, "--table", path, *options, "--svg", tmp_path / "a.svg", "--pdf", tmp_path / "a.pdf")
    assert process.returncode == 1
    assert message in process.stderr
    assert process.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda path: path.stem)
def test_captions_are_valid(caption):
    jinja2, docutils = pytest.importorskip("jinja2"), pytest.importorskip("docutils.core")
    text = jinja2.Template(caption.read_text()).render(snakemake=SimpleNamespace(config={"name": "digits"}))
    html = docutils.publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]
    assert "<p>" in html
