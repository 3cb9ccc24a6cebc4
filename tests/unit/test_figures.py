"""Figures: equal bytes, equal axes, right lines, heads and legends, clear errors, and no torch."""

import itertools
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import synthetic_tables
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from synthetic_tables import SAG, SCRIPTS, run

from modeconn import drawing, permutation_tables, tables
from modeconn.figures import (
    best,
    boundaries,
    candidates,
    checkpoints,
    curves,
    layers,
    masks,
    merging,
    permutations,
    planes,
    registry,
    robustness,
    signatures,
    similarity,
    spectrum,
    training,
    trajectories,
    triangles,
)
from modeconn.studies import STUDIES, simultaneous

# Figure -> options that select one of it from the synthetic tables.
OPTIONS = {
    "curves": ["--recipe", "standard"],
    "robustness": ["--recipe", "robust", "--alignment", "activation"],
    "signatures": [],
    "best": ["--recipe", "robust"],
    "training": [],
    "spectrum": ["--recipe", "standard"],
    "planes": ["--curve", "bezier"],
    "similarity": ["--curve", "bezier"],
    "layers": [],
    "candidates": [],
    "permutations": [],
    "barriers": [],
    "interpolations": [],
    "averages": [],
    "matrices": [],
    "corrections": [],
    "boundaries": [],
    "units": [],
    "topology": [],
    "dynamics": [],
    "norms": [],
    "iterates": [],
    "trajectories": [],
    "checkpoints": [],
    "sparsity": [],
    "settling": [],
    "masks": [],
    "merging": [],
    "triangles": [],
}
# Of one network, at the studies' pairs.
BETWEEN_PAIRS = [figure for figure, found in registry.FIGURES.items() if found.study in ("alignment", "runs")]
CAPTIONS = sorted((Path(__file__).parents[2] / "workflow" / "report").glob("*.rst"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic_tables.write(tmp_path_factory.mktemp("study"))


def clean(alignment=None, recipe="standard"):
    rows = synthetic_tables.evaluations().query(f"split == 'test' and recipe == '{recipe}'")
    with drawing.look():
        return curves.draw(rows, "title", alignment)


def selected(figure, study):
    """What a figure is drawn from, as scripts/draw.py selects it: (rows of each table, title, options)."""
    module = import_module(f"modeconn.figures.{figure}")
    options = {name.removeprefix("--"): value for name, value in zip(OPTIONS[figure][::2], OPTIONS[figure][1::2])}
    scope = getattr(module, "SCOPE", ["dataset", "network", "recipe"])
    by = [*scope, *(name for name in module.BY if name != "alignment")]
    chosen = {name: options.get(name, "test" if name == "split" else None) for name in by}
    read = [tables.read([study[name]], table) for name, table in zip(registry.FIGURES[figure].tables, module.TABLES)]
    found = [drawing.select(rows, chosen) for rows in read]
    return [rows for rows, _ in found], found[0][1], {"alignment": None} if "alignment" in module.BY else {}


@pytest.fixture(scope="module")
def drawn(study):
    """Every figure, and the curves of a single pair."""
    found = {}
    with drawing.look():
        for figure in registry.FIGURES:
            (rows, *more), title, options = selected(figure, study)
            found[figure] = import_module(f"modeconn.figures.{figure}").draw(rows, title, *more, **options)
        (rows,), title, _ = selected("spectrum", study)
        found["of one pair"] = spectrum.draw(rows[rows["pair"] == "1-2"], title)
    return found


def head_of(figure):
    (head,) = figure.legends
    return head.get_title().get_text().replace("\n", " "), head.legend_handles


@pytest.mark.parametrize("figure", registry.FIGURES)
def test_the_head_says_images_n_and_what_is_drawn(figure, drawn, study):
    """Images: the split, or the training images of what is trained; without either column, nothing was measured."""
    (rows, *_), _, _ = selected(figure, study)
    text, _ = head_of(drawn[figure])
    assert re.search(r"n = \d|networks 1 and 2", text), text
    if ("split" in rows and rows["split"].nunique() == 1) or figure in ("training", "candidates"):
        assert any(split in text for split in drawing.SPLITS.values()), text
    if "pair" in rows:
        assert "n = 3 pairs (1-2, " in text
    bars = any(isinstance(found, ErrorbarContainer) for axes in drawn[figure].axes for found in axes.containers)
    assert bars == (drawing.BARS in text)


@pytest.mark.parametrize("figure", [figure for figure in registry.FIGURES if figure not in BETWEEN_PAIRS])
def test_a_network_may_be_aligned_in_fewer_ways_than_another(figure, study):
    """The last network by the first alignment only."""
    (rows, *more), title, options = selected(figure, study)

    def left(table):
        if not {"network", "alignment"} <= {*table}:
            return table
        last, first = table["network"] == table["network"].max(), table["alignment"] == table["alignment"].min()
        return table[~last | first]

    with drawing.look():
        drawn = import_module(f"modeconn.figures.{figure}").draw(left(rows), title, *map(left, more), **options)
    assert not any(axes.axison for axes in drawn.axes if not axes.has_data())


@pytest.mark.parametrize("figure", ["settling", "trajectories"])
def test_a_network_that_was_not_measured_in_one_way_leaves_no_empty_axes(figure, study):
    """A second network: along training only, by one alignment only."""
    (rows,), title, _ = selected(figure, study)
    matched = rows[rows["alignment"] == "weight"]
    both = pd.concat([matched, matched.assign(alignment="activation")])
    rows = pd.concat([both, matched[matched["along"] == "epochs"].assign(network="another")])
    with drawing.look():
        drawn = import_module(f"modeconn.figures.{figure}").draw(rows, title)
    empty = [axes for axes in drawn.axes if not axes.has_data()]
    assert empty
    assert not any(axes.axison for axes in empty)
    assert all(axes.axison for axes in drawn.axes if axes.has_data())
    assert any(axes.axison and axes.get_ylabel().startswith("another\n") for axes in drawn.axes)


@pytest.mark.parametrize("figure", [*registry.FIGURES, "of one pair"])
def test_the_legend_lists_what_is_drawn_and_nothing_else(figure, drawn):
    """A grey entry stands for lines or points of every colour: those have its width and marker."""

    def look(line):
        grey = line.get_color() in ("0.3", "0.4")
        points = line.get_marker() if line.get_linestyle() == "None" else None
        return line.get_linewidth() if grey else (to_rgb(line.get_color()), str(line.get_linestyle())), points

    axes = drawn[figure].axes
    if any(isinstance(found, PathCollection) for panel in axes for found in panel.collections):
        return  # points of many colours
    lines = [line for panel in axes for line in panel.get_lines()]
    found = {look(line) for line in lines} | {(line.get_linewidth(), look(line)[1]) for line in lines}
    for handle in head_of(drawn[figure])[1]:
        assert look(handle) in found or handle.get_label() == boundaries.EQUAL["label"], handle.get_label()


@pytest.mark.parametrize("figure", registry.FIGURES)
def test_what_the_legend_lists_can_be_told_apart_in_grey(figure, drawn):
    def lightness(colour):
        return np.dot(to_rgb(colour), (0.299, 0.587, 0.114))

    _, handles = head_of(drawn[figure])
    for one, other in itertools.combinations(handles, 2):
        shapes = [(h.get_marker(), h.get_linewidth(), str(h._unscaled_dash_pattern)) for h in (one, other)]
        light = [lightness(h.get_color()) for h in (one, other)]
        assert shapes[0] != shapes[1] or abs(light[0] - light[1]) > 0.1, (one.get_label(), other.get_label())
    for axes in drawn[figure].axes:
        for shown in [*axes.collections, *axes.images]:
            if shown.get_array() is not None:
                steps = np.diff([lightness(shown.cmap(level)[:3]) for level in np.linspace(0, 1, 64)])
                assert (steps > -1e-2).all() or (steps < 1e-2).all(), shown.cmap.name


def test_the_legend_has_as_many_columns_as_fit():
    figure = Figure(figsize=(6, 3))  # room for 102 characters
    assert [drawing.fitting(figure, [{"label": "x" * n}] * 6) for n in (24, 25, 40, 42)] == [3, 2, 2, 1]
    wide = [{"label": "x" * n} for n in (9, 22, 26, 39)]  # in three columns the last two have one each
    assert drawing.fitting(figure, wide) == 2
    assert drawing.fitting(figure, []) == 3


def test_scales_that_differ_between_panels_are_said():
    for factor, said in ((1, False), (2, True)):
        figure = Figure()
        with drawing.look():
            for axes, height in zip(figure.subplots(1, 2), (1, factor)):
                axes.plot([0, 1], [0, height])
            drawing.legend(figure, "title", [])
        assert (drawing.OWN_SCALES in head_of(figure)[0]) == said


def test_n_is_a_range_where_lines_have_different_numbers_of_pairs():
    rows = synthetic_tables.evaluations().query("recipe == 'standard' and (alignment != 'pam' or pair == '1-2')")
    assert drawing.counted(rows) == "n = 1 to 3 pairs (1-2, 3-4, 5-6)"
    many = pd.DataFrame([{"pair": f"{a}-{b}"} for a, b in itertools.combinations(range(1, 51), 2)])
    assert drawing.counted(many.assign(alignment="none")) == "n = 1,225 pairs of 50 networks"
    assert drawing.counted(synthetic_tables.histories()) == (
        "n = 6 networks (1, 2, 3, 4, 5, 6), 3 pairs (1-2, 3-4, 5-6)"
    )


def heavy(axes):
    """The thick lines of a panel: the means."""
    return [line for line in axes.get_lines() if line.get_linewidth() > 1]


# Draws figures, one after another: the arguments of draw.py for each, as JSON.
DRAW = """
import json, sys
sys.path.insert(0, sys.argv[1])
import draw
for sys.argv in json.loads(sys.argv[2]):
    draw.main()
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    """Two folders of all figures: of two processes, one in the order of the registry and one in the opposite one."""
    folders = []
    for attempt, order in (("1", list(registry.FIGURES)), ("2", list(reversed(registry.FIGURES)))):
        folder = tmp_path_factory.mktemp("drawn")
        jobs = []
        for figure in order:
            tables = [study[table] for table in registry.FIGURES[figure].tables]
            files = ["--svg", folder / f"{figure}.svg", "--pdf", folder / f"{figure}.pdf"]
            jobs.append(["draw.py", "--figure", figure, "--tables", *tables, *OPTIONS[figure], *files])
        command = [sys.executable, "-c", DRAW, str(SCRIPTS), json.dumps(jobs, default=str)]
        environment = os.environ | {"PYTHONHASHSEED": attempt, "SOURCE_DATE_EPOCH": attempt}
        subprocess.run(command, check=True, env=environment)
        folders.append(folder)
    return folders


@pytest.mark.parametrize("figure", registry.FIGURES)
def test_two_processes_write_the_same_bytes_and_never_load_torch(figure, written):
    first, second = ([folder / f"{figure}.{kind}" for kind in ("svg", "pdf")] for folder in written)
    svg, pdf = (path.read_bytes() for path in first)
    assert [svg, pdf] == [path.read_bytes() for path in second]
    assert b"<dc:date>" not in svg
    assert b"CreationDate" not in pdf


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
    figure = robustness.draw(rows, "title", None)
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["straight line", "straight line, under pgd", "Bézier curve", "Bézier curve, under pgd"]


def test_signatures_show_what_all_alignments_can_be_compared_by():
    rows = synthetic_tables.signatures()
    others = [rows.assign(site="pre", before=0.3), rows.assign(images="attacked", before=0.4)]
    figures = [signatures.draw(pd.concat(frames), "title") for frames in ([rows], [*others, rows])]
    alone, among = ([line.get_ydata().tolist() for axes in figure.axes for line in axes.lines] for figure in figures)
    assert alone == among


def test_signatures_show_mean_and_standard_deviation_over_pairs():
    rows = synthetic_tables.signatures().query("alignment != 'weight'")
    panel = signatures.draw(rows, "title").axes[0]
    first = rows.query("split == 'alignment' and position == 0 and alignment == 'activation'")["after"]
    drawn = [bars for bars in panel.containers if bars.lines[0].get_ydata()[0] == pytest.approx(first.mean())]
    assert len(drawn) == 1
    (low, high) = drawn[0].lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * first.std())


def test_best_networks_stand_beside_both_ends_and_ensembles():
    rows = synthetic_tables.selections().query("recipe == 'robust'")
    figure = best.draw(rows, "title")
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["clean", "under pgd", "under strong"]
    assert len(figure.axes) == 2 * 3
    panel = figure.axes[5]  # the Bézier curve under the strong attack
    test = rows.query("split == 'test' and curve == 'bezier' and attack == 'strong'")
    lines = [line for line in panel.get_lines() if len(line.get_xdata())]
    means = [line for line in lines if line.get_markersize() == best.MEAN["markersize"]]
    alignments = ("none", "activation", "pam", "pam_aligned")
    assert len(means) == len(alignments)
    for line, alignment in zip(means, alignments):
        one = test[test["alignment"] == alignment].assign(row=lambda rows: rows["mark"].map(best.ROWS))
        expected = 100 * one.groupby("row")["accuracy"].mean()
        drawn = {round(y): x for x, y in zip(line.get_xdata(), line.get_ydata())}
        labels = [label.get_text() for label in figure.axes[3].get_yticklabels()]
        assert {labels[row]: x for row, x in drawn.items()} == pytest.approx(expected.to_dict())
    # Three pairs: six ends, and three of each of the rest.
    single = [line for line in lines if line not in means]
    assert [len(line.get_xdata()) for line in single] == [5 * 3] * len(alignments)


def test_training_has_panels_for_networks_and_for_each_curve():
    figure = training.draw(synthetic_tables.histories(), "title")
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["training of the networks", "fit of the Bézier curve"]


def test_permutations_that_are_refined_are_a_training_of_their_own():
    histories = synthetic_tables.histories()
    refined = histories[histories["alignment"] == "none"].assign(kind="alignment", alignment="pam", curve="")
    figure = training.draw(pd.concat([histories, refined]), "title")
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["training of the networks", "training of the permutations", "fit of the Bézier curve"]
    (label,) = {line.get_label() for line in figure.axes[1].get_lines() if line.get_linewidth() > 1}
    assert label == "PAM, unaligned"


def test_the_spectrum_shows_the_mean_over_pairs_of_each_alignment():
    rows = tables.spectrum_table(synthetic_tables.evaluations().query("split == 'test' and recipe == 'standard'"))
    figure = spectrum.draw(rows, "title")
    assert [panel.get_title() for panel in figure.axes] == ["straight line", "Bézier curve"]
    expected = rows.query("curve == 'bezier' and alignment == 'none'").groupby("wave")["amplitude"].mean()
    assert list(heavy(figure.axes[1])[0].get_ydata()) == pytest.approx(list(expected))


def test_planes_share_a_scale_of_colours_that_holds_every_value():
    rows, marks = (rows[rows["curve"] == "bezier"] for rows in (synthetic_tables.planes(), synthetic_tables.marks()))
    figure = planes.draw(rows, "title", marks)
    *panels, _, _ = figure.axes  # and the two bars
    assert [panel.get_title() for panel in panels] == ["unaligned", "aligned by activations", "", ""]
    for row, values in ((panels[:2], 100 * rows["accuracy"]), (panels[2:], rows["loss"])):
        first, second = (panel.collections[0] for panel in row)
        assert list(first.levels) == list(second.levels)
        assert first.levels[0] <= values.min() and values.max() <= first.levels[-1]
    # Levels of the loss grow with it where it ranges over decades, and are many enough where it does not.
    for low, high in ((1.2, 2.3), (0.01, 8)):
        ranging = rows.assign(loss=np.linspace(low, high, len(rows)))
        levels = planes.draw(ranging, "title", marks).axes[2].collections[0].levels
        assert len(levels) > 5
        assert np.allclose(np.diff(levels), levels[1] - levels[0]) == (high < 10 * low)
    curve = panels[0].get_lines()[1]
    assert list(curve.get_ydata()) == pytest.approx([4 * t * (1 - t) for t in curve.get_xdata()])


def test_the_plane_of_an_alignment_has_three_networks_and_no_curve():
    rows, marks = (rows[rows["curve"] == "none"] for rows in (synthetic_tables.planes(), synthetic_tables.marks()))
    figure = planes.draw(rows, "title", marks)
    places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in figure.axes[0].get_lines()]
    assert places == [(0, 0), (1, 0), (0.5, 1)]


def test_similarity_is_the_mean_over_layers_without_the_logits():
    rows = synthetic_tables.activations()
    rows.loc[rows["group"] == "logits", ["before", "after"]] = 0
    figure = similarity.draw(rows, "title")
    to_first = figure.axes[0]
    assert list(heavy(to_first)[0].get_ydata()) == pytest.approx([0.99, 0.54, 0.09])
    aligned = [line for line in to_first.get_lines() if line.get_marker() == "o"]
    assert list(aligned[0].get_ydata()) == pytest.approx([0.995, 0.77, 0.545])


def test_layers_are_drawn_from_the_input_down_on_one_scale():
    figure = layers.draw(synthetic_tables.activations(), "title")
    *panels, _ = figure.axes
    assert [panel.collections[0].get_clim() for panel in panels] == [(0, 1)] * 4
    (first, second) = panels[0].collections[0], panels[2].collections[0]
    assert first.get_array().shape == (9, 3)
    assert list(first.get_array()[0]) == pytest.approx([0.99, 0.54, 0.09])
    assert list(second.get_array()[0]) == pytest.approx([0.09, 0.54, 0.99])
    low, high = panels[0].get_ylim()
    assert low > high


def test_the_candidate_with_the_lowest_loss_is_marked():
    figure = candidates.draw(synthetic_tables.scores(), "title")
    for panel, chosen in zip(figure.axes, (0.9, 0.09)):
        marked = [line.get_ydata()[0] for line in panel.get_lines() if line.get_markersize() == 9]
        assert marked == pytest.approx([chosen] * 3)


def test_permutations_are_compared_with_the_aligned_one(tmp_path):
    rows = permutation_tables.compare(synthetic_tables.write_permutations(tmp_path), synthetic_tables.signatures())
    panel = permutations.draw(rows, "title").axes[0]
    drawn = {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in panel.containers}
    assert drawn == {"unaligned": [100] * 7 + [0], "PAM, unaligned": [25] + [0] * 7}


def test_accuracy_under_masks_is_the_mean_over_pairs_and_falls_to_the_right():
    figure = masks.draw(synthetic_tables.masks(), "title")
    panel = figure.axes[0]
    drawn = {bars.get_label(): bars.lines[0] for bars in panel.containers}
    assert list(drawn) == ["the first network's, aligned by weights", "its own", "the first network's as it is"]
    assert list(drawn["its own"].get_xdata()) == pytest.approx([13.4, 51.2, 80])
    assert list(drawn["its own"].get_ydata()) == pytest.approx([91] * 3)
    assert drawn["the first network's, aligned by weights"].get_ydata()[0] == pytest.approx(91 - 10 * 0.866)
    left, right = panel.get_xlim()
    assert left > 80 > 13.4 > right and "n = 3 pairs" in figure.legends[0].get_title().get_text()


def test_the_label_of_a_single_row_of_masks_ends_below_the_legend():
    rows = synthetic_tables.masks().query("network == 'mlp2' and level == 3")
    more = [rows[rows["mask"] == "own"].assign(mask=mask) for mask in ("one_shot", "random")]
    with drawing.look():
        figure = masks.draw(pd.concat([rows, *more]), "title")
        figure.draw_without_rendering()
    (head,), label = figure.legends, figure.axes[0].yaxis.label
    assert label.get_text() == "test accuracy (%)" and figure.get_supylabel() == ""
    assert label.get_window_extent().y1 < head.get_window_extent().y0


def test_a_number_of_components_holds_until_the_next_threshold(drawn):
    lines = [line for axes in drawn["topology"].axes for line in axes.get_lines()]
    assert lines and {line.get_drawstyle() for line in lines} == {"steps-post"}


def test_a_heat_map_of_epochs_ends_with_the_permutation_of_several():
    rows = simultaneous.cell_table(synthetic_tables.grids().astype({"permutation": str}))
    rows = rows[(rows["split"] == "test") & (rows["network"] == "mlp2")]
    panel = trajectories.draw(rows, "title").axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["1", "4", "9", "1+9"]
    # 0.3 of the loss's rise, which falls with the epoch of the permutation.
    assert list(panel.collections[0].get_array()[:, 0]) == pytest.approx([30 * (0.5 / n + 0.01) for n in (2, 5, 10, 5)])
    (line,) = [line for line in checkpoints.draw(rows, "title").axes[0].get_lines() if line.get_color() == "black"]
    assert line.get_label() == "permutation of epochs 1+9 at once"
    assert drawing.origins(["10", "5+10", "none", "9", "5+9"]) == ["9", "10", "5+9", "5+10"]
    assert drawing.origin_label("1+2+5+10+20") == "1+…+20"


def test_triangles_are_drawn_with_equal_sides_and_their_mean_rise():
    rows = synthetic_tables.triangles()
    panels = triangles.draw(rows, "title").axes
    # 0.4 and 0.8 nats on the sides, and nothing where the networks are matched.
    assert [panel.get_xlabel() for panel in panels[:2]] == [f"rises by {x} nats" for x in ("0.60", "0.00")]
    x, y = panels[0].get_lines()[0].get_data()
    assert np.hypot(np.diff(x, append=x[0]), np.diff(y, append=y[0])) == pytest.approx([1, 1, 1])


def test_merging_has_a_line_for_each_number_of_networks():
    rows = synthetic_tables.averages().assign(accuracy=lambda rows: 1 - rows["loss"], correction="none")
    panels = merging.draw(rows, "title").axes
    assert [panel.get_title() for panel in panels] == ["unaligned", "aligned by weights"]
    drawn = [list(line.get_ydata()) for line in panels[0].get_lines()]
    assert drawn == [pytest.approx([error] * 2) for error in (20, 30, 40)]
    assert [line.get_label() for line in panels[0].get_lines()] == ["k = 1", "k = 2", "k = 3"]


@pytest.mark.parametrize("figure", ["barriers", "corrections", "merging"])
def test_networks_of_one_width_are_drawn_beside_each_other(figure, study):
    (rows,), title, _ = selected(figure, study)
    with drawing.look():
        drawn = import_module(f"modeconn.figures.{figure}").draw(rows.assign(width=16.0), title)
    if figure != "barriers":
        assert list(drawn.axes[0].get_lines()[0].get_xdata()) == [0, 1]
    assert [label.get_text() for label in drawn.axes[-1].get_xticklabels()] == ["mlp2", "mlp16"]


@pytest.mark.parametrize("wrong", [0, 0.3])
def test_an_error_of_zero_is_drawn_on_the_logarithmic_scale_of_merging(wrong):
    rows = synthetic_tables.averages().assign(correction="none")
    rows["accuracy"] = 1 - wrong * (rows["size"] > 1)
    panel = merging.draw(rows, "title").axes[0]
    heights = [panel.transAxes.inverted().transform(panel.transData.transform((2, y)))[1] for y in (0, 30)]
    assert 0 < heights[0] < 1
    assert heights[1] > heights[0]


@pytest.mark.parametrize(
    ("figure", "table", "options", "message"),
    [
        ("curves", "curves", [], "several values of recipe, robust, standard: choose with --recipe"),
        ("curves", "curves", ["--recipe", "fast"], "no rows of recipe 'fast'; it has robust, standard"),
        (
            "curves",
            "curves",
            ["--recipe", "robust", "--alignment", "quadratic"],
            "no alignment 'quadratic' here; it has none,",
        ),
        ("robustness", "curves", ["--recipe", "standard"], "no rows under attack"),
        ("signatures", "curves", [], "lacks the column group, position, site, images, before, after"),
        ("best", "curves", ["--recipe", "robust"], "lacks the column mark, members"),
        ("training", "absent", [], "No such file"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(figure, table, options, message, study, tmp_path):
    path = study.get(table, tmp_path / "absent.csv")
    outputs = ["--svg", tmp_path / "a.svg", "--pdf", tmp_path / "a.pdf"]
    process = run("draw", "--figure", figure, "--tables", path, *options, *outputs)
    assert process.returncode == 1
    assert message in process.stderr
    assert process.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_figure_has_its_module_its_entry_and_its_caption():
    modules = {path.stem for path in (SCRIPTS / "modeconn/figures").glob("*.py")} - {"__init__", "registry"}
    tables_of_studies = {table for study in STUDIES.values() for table in study.tables}
    assert modules == registry.FIGURES.keys() == OPTIONS.keys()
    assert modules <= {caption.stem for caption in CAPTIONS}
    for name, figure in registry.FIGURES.items():
        module = import_module(f"modeconn.figures.{name}")
        assert set(figure.by) <= set(module.BY), name
        assert len(figure.tables) == len(module.TABLES), name
        assert set(figure.tables) <= tables_of_studies, name


def test_the_name_of_a_figure_says_what_is_selected():
    assert registry.parts_of("curves", "-test-all") == {"split": "test", "alignment": "all"}
    assert registry.parts_of("planes", "-bezier") == {"curve": "bezier"}
    assert registry.parts_of("training", "") == {}


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda path: path.stem)
def test_captions_are_valid(caption):
    jinja2, docutils = pytest.importorskip("jinja2"), pytest.importorskip("docutils.core")
    text = jinja2.Template(caption.read_text()).render(
        snakemake=SimpleNamespace(config={"name": "digits"}, params=SimpleNamespace(caption="Text of a figure."))
    )
    html = docutils.publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]
    assert "<p>" in html
