"""Curves as functions of their control points."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from modeconn import curves, datasets
from modeconn import functional as functional_module
from modeconn.functional import Functional
from modeconn.optimizers import sgd

T = torch.linspace(0, 1, 11, dtype=torch.float64)
SGD = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
SHAPES = [("linear", 2), ("bezier", 2), ("bezier", 3), ("bezier", 5), ("chain", 2), ("chain", 3), ("chain", 5)]


def control_points(points, dtype=torch.float64, lanes=1):
    return torch.randn(lanes, points, 20, generator=torch.Generator().manual_seed(points)).to(dtype)


@pytest.mark.parametrize(("kind", "points"), SHAPES)
def test_coefficients_sum_to_one_and_are_not_negative(kind, points):
    weights = curves.coefficients(kind, points, T)
    assert weights.shape == (11, points)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(11, dtype=torch.float64))


def test_coefficients_of_the_quadratic_bezier():
    expected = torch.stack([(1 - T) ** 2, 2 * T * (1 - T), T**2], 1)
    torch.testing.assert_close(curves.coefficients("bezier", 3, T), expected)


@pytest.mark.parametrize(("kind", "points"), SHAPES)
def test_a_curve_begins_and_ends_exactly_at_its_endpoints(kind, points):
    points = control_points(points, torch.float32)
    ends = curves.weights_at(points.expand(2, -1, -1), kind, torch.tensor([0.0, 1.0]))
    assert torch.equal(ends, points[0, [0, -1]])


@pytest.mark.parametrize("bends", [1, 3])
@pytest.mark.parametrize("kind", ["bezier", "chain"])
def test_a_curve_starts_as_the_straight_line(kind, bends):
    first, last = control_points(2)[0]
    points = torch.stack([first, *curves.midpoints(first, last, bends), last])
    assert points.shape == (bends + 2, 20)
    line = (1 - T)[:, None] * first + T[:, None] * last
    torch.testing.assert_close(curves.weights_at(points[None], kind, T), line)


def test_bends_start_at_equal_distances():
    first, last = torch.zeros(1), torch.full((1,), 8.0)
    assert curves.midpoints(first, last, 3).tolist() == [[2], [4], [6]]


def test_a_chain_passes_its_corners_and_is_straight_between_them():
    points = control_points(4)
    corners = curves.weights_at(points, "chain", torch.tensor([0, 1, 2, 3], dtype=torch.float64) / 3)
    torch.testing.assert_close(corners, points[0])
    quarter = curves.weights_at(points, "chain", torch.tensor([1.25 / 3], dtype=torch.float64))[0]
    torch.testing.assert_close(quarter, 0.75 * points[0, 1] + 0.25 * points[0, 2])


def test_every_lane_has_its_own_curve_and_t():
    points = control_points(3, lanes=2)
    together = curves.weights_at(points, "bezier", torch.tensor([0.2, 0.7]))
    for lane, t in enumerate((0.2, 0.7)):
        alone = curves.weights_at(points[lane : lane + 1], "bezier", torch.tensor([t]))
        torch.testing.assert_close(together[lane], alone[0])


def test_weights_keep_type_and_carry_gradients_to_every_control_point():
    points = control_points(3, torch.float32).requires_grad_(True)
    weights = curves.weights_at(points, "bezier", torch.tensor([0.25]))
    weights.sum().backward()
    assert weights.dtype == torch.float32
    torch.testing.assert_close(points.grad[0, :, 0], torch.tensor([0.5625, 0.375, 0.0625]))


@pytest.mark.parametrize(("kind", "points"), [("spline", 3), ("linear", 3)])
def test_another_kind_or_a_bent_line_is_refused(one_line, kind, points):
    with one_line(ValueError, kind, points, "linear, bezier, chain"):
        curves.coefficients(kind, points, T)


@pytest.fixture
def functional(tiny_network):
    return Functional(tiny_network(0, dtype=torch.float64))


@pytest.fixture
def ends(functional, tiny_network):
    """Endpoints (2, 2, D) of two curves."""
    states = (tiny_network(seed, dtype=torch.float64).state_dict() for seed in (1, 2, 3, 4))
    vectors, _ = functional.stack(states)
    return vectors.view(2, 2, -1)


def batch_of(dataset):
    return next(datasets.batches(dataset, [1, 2], 0, 0, 20, {"shift": 0}))


def test_the_objective_is_cross_entropy_and_the_decay_of_the_point_of_the_curve(functional, ends, tiny_dataset):
    decay = 0.3
    images, labels, generators = batch_of(tiny_dataset)
    ts = [torch.rand((), generator=g).item() for g in generators]
    assert ts[0] != ts[1]
    bends = torch.stack([curves.midpoints(*pair, 1) for pair in ends]).requires_grad_(True)
    objective = curves.objective_of(functional, ends, bends, {"kind": "bezier", "weight_decay": decay}, None)
    losses, entropies, correct = objective(batch_of(tiny_dataset))
    losses.sum().backward()
    for lane, t in enumerate(ts):
        bend = bends[lane, 0].detach().requires_grad_(True)
        point = (1 - t) ** 2 * ends[lane, 0] + 2 * t * (1 - t) * bend + t**2 * ends[lane, 1]
        logits = functional_call(functional.network.train(), functional.unpack(point), (images[lane],))
        entropy = F.cross_entropy(logits, labels[lane])
        loss = entropy + 0.5 * decay * sum((tensor**2).sum() for tensor in functional.unpack(point).values())
        loss.backward()
        torch.testing.assert_close(losses[lane], loss)
        torch.testing.assert_close(entropies[lane], entropy.detach())
        torch.testing.assert_close(bends.grad[lane, 0], bend.grad)
        assert correct[lane] == (logits.argmax(1) == labels[lane]).sum()


def test_the_decay_alone_shrinks_the_point_and_not_the_bend(functional, ends, tiny_dataset):
    def gradient(decay):
        bends = torch.zeros_like(ends[:, :1]).requires_grad_(True)
        curve = {"kind": "bezier", "weight_decay": decay}
        losses, _, _ = curves.objective_of(functional, ends, bends, curve, None)(batch_of(tiny_dataset))
        return torch.autograd.grad(losses.sum(), bends)[0]

    # At a bend of zero a decay of the bend would have no gradient at all.
    assert not torch.allclose(gradient(0.3), gradient(0))


def test_fitting_leaves_ends_and_network_alone(functional, ends, tiny_dataset):
    before = {name: tensor.clone() for name, tensor in functional.network.state_dict().items()}
    fixed = ends.clone()
    bends = torch.stack([curves.midpoints(*pair, 2) for pair in ends]).requires_grad_(True)
    curve, attack = {"kind": "chain", "weight_decay": 0.1}, {"epsilon": 0.1, "step": 0.05, "steps": 2}
    objective = curves.objective_of(functional, ends, bends, curve, {**attack, "random_start": True})
    objective(batch_of(tiny_dataset))[0].sum().backward()
    assert torch.equal(ends, fixed)
    after = functional.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert bends.grad.abs().sum() > 0


def test_an_attack_on_a_curve_raises_its_loss(functional, ends, tiny_dataset):
    bends = torch.stack([curves.midpoints(*pair, 1) for pair in ends])
    curve, attack = {"kind": "bezier", "weight_decay": 0}, {"epsilon": 0.1, "step": 0.03, "steps": 5}
    losses = [
        curves.objective_of(functional, ends, bends, curve, of)(batch_of(tiny_dataset))[0]
        for of in (None, {**attack, "random_start": False})
    ]
    assert (losses[1] > losses[0]).all()


@pytest.mark.parametrize("attack", [None, {"epsilon": 0.1, "step": 0.05, "steps": 2, "random_start": False}])
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_step_waits_for_no_value(tiny_network, lanes, attack, monkeypatch):
    """On a device without values each look at one is an error: on a GPU it would be a wait, in each step."""
    monkeypatch.setattr(functional_module, "arithmetic", lambda network, device: nullcontext())  # knows no such device
    meta = partial(torch.empty, device="meta")
    functional = Functional(tiny_network().to("meta"))
    batch = meta(lanes, 5, 1, 12, 12), meta(lanes, 5, dtype=torch.long), [torch.Generator()] * lanes
    monkeypatch.setattr(curves, "random_t", lambda generators: meta(len(generators)))
    ends, bends = meta(lanes, 2, sum(functional.sizes)), meta(lanes, 1, sum(functional.sizes), requires_grad=True)
    objective = curves.objective_of(functional, ends, bends, {"kind": "bezier", "weight_decay": 5e-4}, attack)
    losses, _, _ = objective(batch)
    gradients = torch.autograd.grad(losses.sum(), [bends])
    sgd.step([bends], gradients, sgd.state([bends]), 0.1, SGD["momentum"], SGD)
    assert losses.shape == (lanes,) and losses.is_meta
