"""Re-estimated statistics of batch normalization, against hooks on the plain module."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modeconn.batchnorm import recalibrate
from modeconn.functional import Functional
from modeconn.randomness import generator


@pytest.fixture
def functional(tiny_network):
    return Functional(tiny_network(0, dtype=torch.float64))


@pytest.fixture
def images():
    return torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def packed(functional, *networks):
    return functional.stack(network.state_dict() for network in networks)[0]


def seen_by_norms(network, batches):
    """name of each normalization layer -> its inputs, batch by batch, in train mode."""
    seen = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            seen[name] = []
            layer.register_forward_pre_hook(lambda _, inputs, of=seen[name]: of.append(inputs[0].detach()))
    network.train()
    for batch in batches:
        network(batch)
    return seen


def test_one_big_batch_gives_its_mean_and_unbiased_variance(functional, tiny_network, images):
    network = tiny_network(3, dtype=torch.float64)
    buffers = recalibrate(functional, packed(functional, network), [images[None]])
    for name, (values,) in seen_by_norms(network, [images]).items():
        torch.testing.assert_close(buffers[f"{name}.running_mean"][0], values.mean((0, 2, 3)))
        torch.testing.assert_close(buffers[f"{name}.running_var"][0], values.var((0, 2, 3), correction=1))


def test_batches_weigh_by_their_size(functional, tiny_network, images):
    network = tiny_network(3, dtype=torch.float64)
    batches = images.split(16)
    assert [len(batch) for batch in batches] == [16, 16, 8]
    buffers = recalibrate(functional, packed(functional, network), (batch[None] for batch in batches))
    for name, seen in seen_by_norms(network, batches).items():
        mean = sum(len(values) * values.mean((0, 2, 3)) for values in seen) / 40
        variance = sum(len(values) * values.var((0, 2, 3), correction=1) for values in seen) / 40
        torch.testing.assert_close(buffers[f"{name}.running_mean"][0], mean)
        torch.testing.assert_close(buffers[f"{name}.running_var"][0], variance)


def test_lanes_are_estimated_as_if_alone(functional, tiny_network, images):
    population = [tiny_network(seed, dtype=torch.float64) for seed in (3, 4)]
    batches = [batch[None] for batch in images.split(16)]
    together = recalibrate(functional, packed(functional, *population), batches)
    for lane, network in enumerate(population):
        alone = recalibrate(functional, packed(functional, network), batches)
        torch.testing.assert_close({name: b[lane : lane + 1] for name, b in together.items()}, alone)


def attacked_by_hand(network, batches, labels, attack):
    """Running statistics of `network`, which gathers them in every pass of projected gradient ascent and the last."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
    network.train()
    seen = 0
    for step, (images, targets) in enumerate(zip(batches, labels, strict=True)):
        seen += len(images)
        for layer in layers:
            layer.momentum = len(images) / seen
        rng = generator("recalibration", step, device="cpu")
        noise = torch.empty_like(images).uniform_(-attack["epsilon"], attack["epsilon"], generator=rng)
        low, high = (images - attack["epsilon"]).clamp(min=0), (images + attack["epsilon"]).clamp(max=1)
        tried = (images + noise).clamp(low, high)
        for _ in range(attack["steps"]):
            tried = tried.detach().requires_grad_(True)
            loss = F.cross_entropy(network(tried), targets)
            (gradient,) = torch.autograd.grad(loss, tried)
            tried = (tried + attack["step"] * gradient.sign()).clamp(low, high)
        network(tried.detach())
    return {name: buffer for name, buffer in network.named_buffers() if "running" in name}


def test_statistics_under_attack_follow_every_iterate(functional, tiny_network, images):
    """As the code of Tatro et al. does for curves between robust networks."""
    attack = {"epsilon": 0.1, "step": 0.04, "steps": 3, "random_start": True}
    labels = torch.arange(40) % 3
    population = [tiny_network(seed, dtype=torch.float64) for seed in (3, 4)]
    vectors = packed(functional, *population)
    batches = [batch[None] for batch in images.split(16)]
    found = recalibrate(functional, vectors, batches, attack, labels.split(16))
    for lane, network in enumerate(population):
        for name, expected in attacked_by_hand(network, images.split(16), labels.split(16), attack).items():
            torch.testing.assert_close(found[name][lane], expected)
    clean = recalibrate(functional, vectors, batches)
    assert not torch.allclose(clean["network.layers.0.norm.running_mean"], found["network.layers.0.norm.running_mean"])
    assert not any(buffer.requires_grad for buffer in found.values())


def interrupted(images):
    yield images[None, :16]
    raise OSError("the disk went away")


@pytest.mark.parametrize("breaks", [False, True])
def test_the_network_keeps_its_own_statistics_and_momenta(functional, tiny_network, images, breaks):
    layers = [layer for layer in functional.network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for number, layer in enumerate(layers):
        layer.momentum = None if number == 0 else number / 10
    before = {name: tensor.clone() for name, tensor in functional.network.state_dict().items()}
    vectors = packed(functional, tiny_network(3, dtype=torch.float64))
    if breaks:
        with pytest.raises(OSError, match="the disk went away"):
            recalibrate(functional, vectors, interrupted(images))
    else:
        recalibrate(functional, vectors, [images[None]])
    assert [layer.momentum for layer in layers] == [None, *(number / 10 for number in range(1, len(layers)))]
    after = functional.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_dropout_draws_the_same_each_time_and_anew_in_every_batch():
    functional = Functional(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(50), nn.Linear(50, 2)))
    vectors, images = packed(functional, functional.network), torch.ones(1, 8, 1, 5, 10)

    def statistics(batches):
        torch.rand(5)  # whoever else draws
        return recalibrate(functional, vectors, [images] * batches)["2.running_mean"]

    assert torch.equal(statistics(3), statistics(3))
    assert not torch.equal(statistics(1), statistics(2))


def test_no_gradients_are_kept(functional, tiny_network, images):
    vectors = packed(functional, tiny_network(3, dtype=torch.float64)).requires_grad_(True)
    buffers = recalibrate(functional, vectors, [images[None]])
    assert not any(buffer.requires_grad for buffer in buffers.values())


class Counter(nn.Module):
    """A network without batch norm, but with a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("temperature", torch.tensor([3.0]))


def no_batches():
    raise AssertionError("a pass was made")
    yield


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_network_without_batch_norm_needs_no_pass(tiny_network, norm):
    network = tiny_network(0, norm=norm)
    functional = Functional(network)
    assert recalibrate(functional, packed(functional, network), no_batches()) == {}


def test_a_network_without_batch_norm_keeps_its_buffers():
    functional = Functional(Counter())
    buffers = recalibrate(functional, torch.ones(2, 1), no_batches())
    assert buffers.keys() == {"temperature"}
    assert buffers["temperature"].tolist() == [[3], [3]]
