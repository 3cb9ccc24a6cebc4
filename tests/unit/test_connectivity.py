"""The networks along a curve, and the statistics that go with them."""

import pytest
import torch
from test_programs import run_program
from walk import along

from modeconn import artifacts, batchnorm, curves, datasets
from modeconn.batchnorm import recalibrate
from modeconn.datasets import augmentation
from modeconn.functional import Functional
from modeconn.randomness import generator

PGD = {"epsilon": 0.1, "step": 0.05, "steps": 1, "random_start": True}


def test_the_straight_line_has_the_length_of_its_chord():
    ends = torch.randn(2, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = list(along(ends, "linear", 9))
    distance = (ends[1] - ends[0]).norm()
    assert [t for t, _, _ in points] == [number / 8 for number in range(9)]
    for t, length, vectors in points:
        assert length == pytest.approx(t * distance.item(), abs=1e-12)
        torch.testing.assert_close(vectors, ((1 - t) * ends[0] + t * ends[1])[None])


def test_the_length_of_a_bent_curve_is_that_of_its_chords():
    points = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]])
    found = [(length, vectors[0].tolist()) for _, length, vectors in along(points, "bezier", 3)]
    half = 2**0.5
    assert found == [(0, [0, 0]), (pytest.approx(half), [1, 1]), (pytest.approx(2 * half), [2, 0])]


def test_points_along_a_curve_are_those_of_the_curve():
    points = torch.randn(3, 30, generator=torch.Generator().manual_seed(1))
    found = torch.cat([vectors for _, _, vectors in along(points, "bezier", 5)])
    assert torch.equal(found, curves.weights_at(points[None], "bezier", torch.linspace(0, 1, 5)))


@pytest.mark.parametrize("images", [24, 0])
def test_recalibration_uses_images_of_mixed_classes(tiny_network, tiny_dataset, images):
    used = datasets.mixed(tiny_dataset.train_labels, images)
    assert len(used) == (images or 44)
    functional = Functional(tiny_network(0))
    vectors, _ = functional.stack(tiny_network(seed).state_dict() for seed in (1, 2))
    setting = {"images": images, "batch": 10}
    found = batchnorm.recalibrated(functional, vectors, tiny_dataset, setting)
    expected = recalibrate(functional, vectors, datasets.in_order(tiny_dataset.train_images[used], 10))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_recalibration_on_augmented_images(tiny_network, tiny_dataset):
    functional = Functional(tiny_network(0))
    vectors, _ = functional.stack(tiny_network(seed).state_dict() for seed in (1, 2))
    setting, changes = {"images": 24, "batch": 10}, {"shift": 2, "flip": True}
    found = batchnorm.recalibrated(functional, vectors, tiny_dataset, setting, {"augmentation": changes})
    parts = tiny_dataset.train_images[datasets.mixed(tiny_dataset.train_labels, 24)].split(10)
    changed = [augmentation.augment(part, changes, generator("in order", step)) for step, part in enumerate(parts)]
    assert not any(torch.equal(old, new) for old, new in zip(parts, changed, strict=True))
    expected = recalibrate(functional, vectors, (datasets.to_float(part)[None] for part in changed))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # Every network of a curve sees the same images, alone or beside others, first or last.
    for lane in (1, 0):
        alone = batchnorm.recalibrated(
            functional, vectors[lane : lane + 1], tiny_dataset, setting, {"augmentation": changes}
        )
        torch.testing.assert_close(alone, {name: buffer[lane : lane + 1] for name, buffer in found.items()})
    plain = batchnorm.recalibrated(functional, vectors, tiny_dataset, setting)
    off = batchnorm.recalibrated(
        functional, vectors, tiny_dataset, setting, {"augmentation": {"shift": 0, "flip": False}}
    )
    assert all(torch.equal(plain[name], off[name]) for name in plain)
    assert not torch.equal(plain["network.layers.0.norm.running_mean"], found["network.layers.0.norm.running_mean"])


@pytest.mark.parametrize("measure", ["evaluation", "plane", "activations"])
@pytest.mark.parametrize("told", [{}, {"augmentation": {"shift": 2}}, {"attack": PGD}])
def test_programs_augment_and_attack_as_they_are_told(tiny_pair, tiny_network, monkeypatch, tmp_path, measure, told):
    """At every point of what they measure, ends and grids included."""
    files, values = tiny_pair
    ends = [Functional(tiny_network(seed)).pack(tiny_network(seed).state_dict())[0] for seed in (1, 2)]
    bend = sum(ends) / 2 + torch.randn(len(ends[0]), generator=torch.Generator().manual_seed(1))
    artifacts.save(tmp_path / "bends", {"bends": bend[None]}, {"rule": "fit_curve"})
    settings = {"points": 2, "batch": 44, "recalibration": {"images": 0, "batch": 22}, "x": [0, 1], "y_curve": [0, 1]}
    program, count, more = {
        "evaluation": ("evaluate_curve", 2, "statistics"),
        "plane": ("evaluate_plane", 4, "marks"),
        "activations": ("evaluate_activations", 2 + 2, None),
    }[measure]
    job = values | {"names": values["names"] | {"curve": "bent"}, "curve": {"kind": "bezier"}, measure: settings}
    outputs = {name: tmp_path / name for name in ("output", more) if name}
    recalibrated, seen = batchnorm.recalibrated, []

    def watched(functional, vectors, dataset, recalibration, values):
        seen.append({name: values.get(name) for name in ("augmentation", "attack")})
        return recalibrated(functional, vectors, dataset, recalibration, values)

    monkeypatch.setattr(batchnorm, "recalibrated", watched)
    run_program(monkeypatch, program, job | told, **files, curve=tmp_path / "bends", **outputs)
    assert seen == count * [{"augmentation": None, "attack": None} | told]
