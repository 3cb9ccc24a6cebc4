"""The networks along a curve, and the statistics that go with them."""

from dataclasses import replace

import pytest
import torch

from modeconn import connectivity, curves, datasets
from modeconn.batchnorm import recalibrate
from modeconn.functional import Functional


def test_the_straight_line_has_the_length_of_its_chord():
    ends = torch.randn(2, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = list(connectivity.along(ends, "linear", 9))
    distance = (ends[1] - ends[0]).norm()
    assert [t for t, _, _ in points] == [number / 8 for number in range(9)]
    for t, length, vectors in points:
        assert length == pytest.approx(t * distance.item(), abs=1e-12)
        torch.testing.assert_close(vectors, ((1 - t) * ends[0] + t * ends[1])[None])


def test_the_length_of_a_bent_curve_is_that_of_its_chords():
    points = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]])
    found = [(length, vectors[0].tolist()) for _, length, vectors in connectivity.along(points, "bezier", 3)]
    half = 2**0.5
    assert found == [(0, [0, 0]), (pytest.approx(half), [1, 1]), (pytest.approx(2 * half), [2, 0])]


def test_points_along_a_curve_are_those_of_the_curve():
    points = torch.randn(3, 30, generator=torch.Generator().manual_seed(1))
    found = torch.cat([vectors for _, _, vectors in connectivity.along(points, "bezier", 5)])
    assert torch.equal(found, curves.weights_at(points[None], "bezier", torch.linspace(0, 1, 5)))


@pytest.mark.parametrize(("images", "used"), [(24, 24), (0, 44)])
def test_recalibration_uses_the_first_images(tiny_network, tiny_dataset, images, used):
    functional = Functional(tiny_network(0))
    vectors, _ = functional.stack(tiny_network(seed).state_dict() for seed in (1, 2))
    setting = {"images": images, "batch": 10}
    found = connectivity.recalibrated(functional, vectors, tiny_dataset, setting)
    expected = recalibrate(functional, vectors, datasets.in_order(tiny_dataset.train_images[:used], 10))
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    def after_changing(index):
        changed = tiny_dataset.train_images.clone()
        changed[index] = 255 - changed[index]
        other = replace(tiny_dataset, train_images=changed)
        return connectivity.recalibrated(functional, vectors, other, setting)["network.layers.0.norm.running_mean"]

    mean = found["network.layers.0.norm.running_mean"]
    assert not torch.equal(after_changing(used - 1), mean)
    assert used == 44 or torch.equal(after_changing(used), mean)
