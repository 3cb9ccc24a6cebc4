"""Planes through three networks: the geometry, and the program that measures them."""

import numpy as np
import pytest
import torch
from test_programs import run_program
from walk import at

from modeconn import artifacts, batchnorm, classification, curves, permutation, tables
from modeconn.functional import Functional
from modeconn.planes import Plane, grid

RECALIBRATION = {"images": 0, "batch": 20}
BEZIER = {"kind": "bezier"}


@pytest.fixture
def corners():
    return torch.randn(3, 200, generator=torch.Generator().manual_seed(0))


def test_the_corners_have_the_coordinates_of_gram_schmidt(corners):
    plane = Plane(corners)
    first, second, third = corners.double().numpy()
    # An orthonormal basis by another way: QR of both differences.
    q, r = np.linalg.qr(np.stack([second - first, third - first], 1))
    assert plane.lengths == pytest.approx(np.abs(np.diag(r)))
    expected = [[0, 0], [1, 0], [r[0, 1] / r[0, 0], 1]]
    np.testing.assert_allclose(plane.coordinates(corners).numpy(), expected, atol=1e-12)
    assert abs(expected[2][0]) > 0.1
    x, y = 0.3, -0.7
    np.testing.assert_allclose(
        at(plane, x, y).numpy(), first + q @ (np.abs(np.diag(r)) * np.sign(np.diag(r)) * (x, y)), atol=1e-5
    )


def test_the_plane_holds_its_corners_bit_by_bit(corners):
    plane = Plane(corners)
    foot = (0.0, 1.0, plane._foot)
    for corner, x, y in zip(corners, foot, (0.0, 0.0, 1.0)):
        assert torch.equal(at(plane, x, y), corner)


def test_coordinates_are_those_of_points_and_of_the_foot_of_what_lies_beside(corners):
    plane = Plane(corners.double())
    places = grid(4, [-0.05, 1.05], [-0.1, 1.5])
    np.testing.assert_allclose([x for x, _ in places[:5]], [-0.05, 0.95 / 3, 2.05 / 3, 1.05, -0.05])
    np.testing.assert_allclose([y for _, y in places[::4]], [-0.1, 1.3 / 3, 2.9 / 3, 1.5])
    assert len(places) == 16
    vectors = torch.stack([at(plane, x, y) for x, y in places])
    np.testing.assert_allclose(plane.coordinates(vectors).numpy(), places, atol=1e-12)
    beside = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    edges = (corners[1:] - corners[0]).double().T
    beside -= edges @ torch.linalg.lstsq(edges, beside).solution
    assert beside.norm() > 1
    np.testing.assert_allclose(plane.coordinates(vectors + beside).numpy(), places, atol=1e-12)


def test_a_bezier_curve_lies_in_the_plane_through_its_middle(corners):
    middle = curves.weights_at(corners[None].double(), "bezier", 0.5)[0]
    plane = Plane(torch.stack([corners[0].double(), corners[2].double(), middle]))
    for t in (0.1, 0.4, 0.9):
        (point,) = curves.weights_at(corners[None].double(), "bezier", t)
        ((x, y),) = plane.coordinates(point[None]).tolist()
        torch.testing.assert_close(at(plane, x, y), point)
        assert y == pytest.approx(4 * t * (1 - t))


@pytest.mark.parametrize("third", [(0.5, 0.5, 0), (1, 0, 0), (0, 1, 0)])
def test_three_networks_on_a_line_span_no_plane(corners, one_line, third):
    weights = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], third])
    with one_line(ValueError, "one line", "no plane"):
        Plane(weights @ corners)


def test_one_network_twice_spans_no_plane(corners, one_line):
    with one_line(ValueError, "no plane"):
        Plane(corners[[0, 0, 1]])


@pytest.fixture
def made(tiny_pair, tiny_dataset, tiny_network, tmp_path):
    """The files of a pair with a permutation and a bend, and both state dicts."""
    files, values = tiny_pair
    network = tiny_network(0)
    spec = permutation.discover(network, tiny_dataset.example())
    found = permutation.random(spec, torch.Generator().manual_seed(0))
    states = [tiny_network(seed).state_dict() for seed in (1, 2)]
    functional = Functional(network)
    aligned = permutation.apply(spec, found, states[1])
    vectors = [functional.pack(state)[0] for state in (*states, aligned)]
    bend = 0.5 * (vectors[0] + vectors[2]) + 0.1 * torch.randn(
        len(vectors[0]), generator=torch.Generator().manual_seed(1)
    )
    both = permutation.stacked([permutation.identity(spec), found])
    artifacts.save(tmp_path / "permutation", both, {"rule": "refine"})
    artifacts.save(tmp_path / "bends", {"bends": bend[None]}, {"rule": "fit_curve"})
    return {**files, "permutation": tmp_path / "permutation"}, values, functional, vectors, bend


def loss_of(functional, vector, dataset):
    vectors = vector[None]
    buffers = batchnorm.recalibrated(functional, vectors, dataset, RECALIBRATION)
    loss, accuracy = classification.evaluate(functional, vectors, buffers, *dataset.split("test"), 16)
    return loss.item(), accuracy.item()


@pytest.fixture
def evaluate(made, monkeypatch, tmp_path):
    def evaluate(plane, curve=None, **more):
        files, values, *_ = made
        job = values | {"plane": plane | {"batch": 16, "recalibration": RECALIBRATION}}
        job["names"] = values["names"] | {"curve": "bent" if curve else "none"}
        if curve:
            job["curve"] = curve
            files = files | {"curve": tmp_path / "bends"}
        outputs = {"output": tmp_path / "plane.csv", "marks": tmp_path / "marks.csv"}
        run_program(monkeypatch, "evaluate_plane", job, **{**files, **outputs, **more})
        return (
            tables.read([outputs["output"]], tables.PLANE),
            tables.read([outputs["marks"]], tables.MARKS).set_index(["mark", "t"]),
        )

    return evaluate


def test_the_plane_of_an_alignment_has_the_losses_of_its_networks(evaluate, made, tiny_dataset):
    _, _, functional, vectors, _ = made
    rows, marks = evaluate({"points": 2, "x": [0, 1], "y": [0, 1]})
    assert set(rows["curve"]) == {"none"}
    loss = rows.set_index(["x", "y"])["loss"]
    for place, vector in (((0, 0), vectors[0]), ((1, 0), vectors[1])):
        assert loss[place] == pytest.approx(loss_of(functional, vector, tiny_dataset)[0], rel=1e-6)
    assert list(marks.index) == [("first", 0), ("second", 1), ("aligned", 1)]
    foot = marks.loc[("aligned", 1), "x"]
    np.testing.assert_allclose(marks[["x", "y"]], [[0, 0], [1, 0], [foot, 1]], atol=1e-6)
    rows, _ = evaluate({"points": 2, "x": [foot, 1 + foot], "y": [0, 1]})
    found = rows.set_index(["x", "y"]).loc[(foot, 1)]
    # The aligned network computes what the trained one does.
    assert [found["loss"], found["accuracy"]] == pytest.approx(loss_of(functional, vectors[2], tiny_dataset), rel=1e-5)
    assert found["loss"] == pytest.approx(loss[1, 0], rel=1e-4)
    x_length = (vectors[1] - vectors[0]).norm().item()
    assert list(marks["x_length"]) == pytest.approx([x_length] * 3)


def test_the_plane_of_a_curve_has_the_curve_drawn_on_it(evaluate, made, tiny_dataset):
    _, _, functional, vectors, bend = made
    rows, marks = evaluate({"points": 3, "x": [0, 1], "y": [0, 1], "y_curve": [0, 2]}, BEZIER)
    assert sorted(set(rows["y"])) == [0, 1, 2]
    assert set(rows["curve"]) == {"bent"} and len(rows) == 9
    assert list(marks.index[:3]) == [("first", 0), ("second", 1), ("middle", 0.5)]
    drawn = marks.loc["curve"]
    assert list(drawn.index) == pytest.approx(np.linspace(0, 1, 65))
    assert list(drawn["y"]) == pytest.approx(4 * drawn.index * (1 - drawn.index), abs=1e-5)
    assert drawn.loc[0.5, "x"] == pytest.approx(marks.loc[("middle", 0.5), "x"])
    control = torch.stack([vectors[0], bend, vectors[2]])
    plane = Plane(torch.stack([vectors[0], vectors[2], curves.weights_at(control[None], "bezier", 0.5)[0]]))
    for row in rows.itertuples():
        expected = loss_of(functional, at(plane, row.x, row.y), tiny_dataset)
        assert (row.loss, row.accuracy) == pytest.approx(expected, rel=1e-5)


def test_a_plane_goes_on_where_it_was_stopped(evaluate, monkeypatch, tmp_path):
    square = {"points": 3, "x": [0, 1], "y": [0, 1]}
    evaluate(square)
    expected = [(tmp_path / name).read_bytes() for name in ("plane.csv", "marks.csv")]
    (tmp_path / "plane.csv").unlink()
    measure, calls = classification.evaluate, []

    def failing(*arguments):
        calls.append(None)
        if len(calls) == 5:
            raise RuntimeError("killed")
        return measure(*arguments)

    monkeypatch.setattr(classification, "evaluate", failing)
    with pytest.raises(RuntimeError, match="killed"):
        evaluate(square)
    assert not (tmp_path / "plane.csv").exists()
    evaluate(square)
    assert 5 + 5 <= len(calls) < 5 + 9
    assert [(tmp_path / name).read_bytes() for name in ("plane.csv", "marks.csv")] == expected


def test_without_a_permutation_there_is_no_plane_of_an_alignment(tiny_pair, monkeypatch, tmp_path):
    files, values = tiny_pair
    job = values | {"plane": {"points": 2, "x": [0, 1], "y": [0, 1]}}
    with pytest.raises(SystemExit) as caught:
        run_program(monkeypatch, "evaluate_plane", job, **files, output=tmp_path / "o", marks=tmp_path / "m")
    assert caught.value.code.startswith("evaluate_plane.py: a plane without a curve goes through the aligned network")
    assert list(tmp_path.iterdir()) == []
