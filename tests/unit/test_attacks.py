"""Adversarial examples: they stay inside the ball, raise the loss, and equal those of an independent implementation."""

import foolbox
import pytest
import torch
import torch.nn.functional as F

from modeconn import attacks

EPSILON, STEP, STEPS = 8 / 255, 2 / 255, 5


@pytest.fixture
def network(tiny_network):
    return tiny_network(0).eval()


@pytest.fixture
def images():
    """Noise, and images that leave no room on one side: black ones and white ones."""
    noise = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    return torch.cat([noise, torch.zeros(2, 1, 12, 12), torch.ones(2, 1, 12, 12)])


@pytest.fixture
def labels():
    return torch.arange(12) % 3


def loss_of(network, labels):
    return lambda images: F.cross_entropy(network(images), labels, reduction="sum")


def attack(network, images, labels, steps=STEPS, start=None):
    return attacks.pgd(loss_of(network, labels), images, epsilon=EPSILON, step=STEP, steps=steps, start=start)


@pytest.mark.parametrize("steps", [0, 1, 5, 20])
@pytest.mark.parametrize("started", [False, True])
def test_the_attack_stays_in_the_ball_and_among_pixels(network, images, labels, steps, started):
    # A start outside the ball and outside of [0, 1] has to be brought back, too.
    start = torch.linspace(-1, 1, images.numel()).view_as(images) if started else None
    attacked = attack(network, images, labels, steps, start)
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    moved = (attacked - images).abs()
    assert moved.max() <= EPSILON + 1e-7
    # Something has to be held back, or the bounds were not tried.
    assert steps < 5 or (moved > EPSILON - 1e-6).any()
    assert not attacked.requires_grad


def test_the_loss_of_each_image_rises(network, images, labels):
    attacked = attack(network, images, labels)
    before, after = (F.cross_entropy(network(x), labels, reduction="none") for x in (images, attacked))
    assert (after > before).all()


def test_the_given_images_stay_as_they_are(network, images, labels):
    before = images.clone()
    attack(network, images, labels)
    assert torch.equal(images, before)
    assert not images.requires_grad


def test_the_attack_is_that_of_foolbox(network, images, labels):
    reference = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    _, expected, _ = reference(model, images, labels, epsilons=EPSILON)
    found = attack(network, images, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (found - images).abs().max() > STEP


def test_images_do_not_feel_each_other(network, images, labels):
    alone = attack(network, images[3:4], labels[3:4])
    torch.testing.assert_close(attack(network, images, labels)[3:4], alone, rtol=0, atol=1e-6)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_random_starts_fill_the_ball():
    start = attacks.random_start(torch.zeros(2, 50, 1, 12, 12), EPSILON, generators(1, 2))
    assert start.shape == (2, 50, 1, 12, 12)
    assert start.abs().max() <= EPSILON
    assert start.min() < -0.99 * EPSILON
    assert start.max() > 0.99 * EPSILON
    assert start.mean().abs() < 0.02 * EPSILON


def test_each_lane_draws_its_start_from_its_own_generator():
    images = torch.zeros(2, 5, 1, 12, 12)
    start = attacks.random_start(images, EPSILON, generators(1, 2))
    other = attacks.random_start(images, EPSILON, generators(1, 3))
    assert torch.equal(start[0], other[0])
    assert not torch.equal(start[1], other[1])
    assert not torch.equal(start[0], start[1])
