"""Activation matching against its definition: hooks on modules, all samples at once, numpy and scipy in float64."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from modeconn import networks, permutation
from modeconn.matching import activation

SHAPE = (3, 16, 16)


def build(family, seed):
    """A network a few steps from its start; jittered statistics, and biases that let every channel live: no ties."""
    network = networks.build(
        {"family": family, "width": 0.5}, shape=SHAPE, classes=10, mean=[0.5] * 3, std=[0.25] * 3, seed=seed
    )
    generator = torch.Generator().manual_seed(seed)
    images, labels = pictures(64, seed), torch.randint(10, (64,), generator=generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None  # plain average
        norm.bias.data += 1
    with torch.no_grad():
        network(images)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer *= 1 + 0.2 * torch.rand(buffer.shape, generator=generator)
    return network.eval()


def pictures(count, seed=0):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def look(network, images, nonlinearities, site):
    """What each of these modules is given ("pre") or returns ("post"), (channels, images, positions) float64."""
    kept, hooks = {}, []

    def keep(name, value):
        kept[name] = value.clone()  # nonlinearities work in place

    for name in nonlinearities:
        module = network.get_submodule(name)
        if site == "pre":
            hooks.append(module.register_forward_pre_hook(lambda _, inputs, name=name: keep(name, inputs[0])))
        else:
            hooks.append(module.register_forward_hook(lambda _, inputs, output, name=name: keep(name, output)))
    network(images)
    for hook in hooks:
        hook.remove()
    return {name: value.transpose(0, 1).flatten(2).double().numpy() for name, value in kept.items()}


def correlations(a, b):
    a, b = ((x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-5) for x in (a, b))
    return a @ b.T / a.shape[1]


TINYTEN = {f"network.layers.{layer}.conv": [f"network.layers.{layer}.relu"] for layer in range(8)}
BLOCKS = [(stage, block) for stage in range(3) for block in range(5)]


def resnet32(first_stage):
    """Group -> the nonlinearities that it is matched on: a convolution inside each block, a stream a stage."""
    streams = {stage: [f"network.stages.{stage}.{block}.relu" for block in range(5)] for stage in (1, 2)}
    return {
        "network.stem.conv": first_stage,
        **{f"network.stages.{s}.{b}.first.conv": [f"network.stages.{s}.{b}.first.relu"] for s, b in BLOCKS},
        **{f"network.stages.{stage}.0.second.conv": names for stage, names in streams.items()},
    }


STEM = ["network.stem.relu"]
STREAM = STEM + [f"network.stages.0.{block}.relu" for block in range(5)]


@pytest.mark.parametrize("site", ["post", "pre"])
@pytest.mark.parametrize("kernel", ["correlation", "inner", "cosine"])
@pytest.mark.parametrize(
    ("family", "statistic", "matched_on"),
    [
        ("tinyten", "sum", TINYTEN),
        ("resnet32", "sum", resnet32(STREAM)),
        # As in the paper's own code: the stem by itself, which the first stage takes over.
        ("resnet32", {"network.stem.conv": "first"}, resnet32(STEM)),
    ],
    ids=["tinyten", "resnet32", "resnet32-paper"],
)
def test_permutations_index_by_index(family, statistic, matched_on, kernel, site):
    one, other, images = build(family, 1), build(family, 2), pictures(24)
    spec = permutation.discover(one, images[:2])
    found = activation.match_correlations(
        spec,
        activation.correlate(one, spec, one.state_dict(), other.state_dict(), images.split(10), site=site),
        statistic,
        kernel,
    )
    assert found.keys() == matched_on.keys()
    names = [name for of_group in matched_on.values() for name in of_group]
    a, b = (look(network, images, names, site) for network in (one, other))
    for group, of_group in matched_on.items():
        pairs = [(a[name].reshape(len(a[name]), -1), b[name].reshape(len(b[name]), -1)) for name in of_group]
        if kernel == "cosine":  # of all sites' activations in a row
            x, y = (np.concatenate(parts, 1) for parts in zip(*pairs, strict=True))
            pairs = [(x / np.linalg.norm(x, axis=1, keepdims=True), y / np.linalg.norm(y, axis=1, keepdims=True))]
        gains = [correlations(x, y) if kernel == "correlation" else x @ y.T for x, y in pairs]
        _, expected = linear_sum_assignment(sum(gains), maximize=True)
        np.testing.assert_array_equal(found[group].numpy(), expected, err_msg=group)


@pytest.mark.parametrize("site", ["post", "pre"])
def test_distances_are_those_of_the_activations(site):
    one, other, images = build("tinyten", 1), build("tinyten", 2), pictures(24)
    spec = permutation.discover(one, images[:2])
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    measured = activation.correlate(one, spec, one.state_dict(), other.state_dict(), images.split(10), site=site)
    rows = activation.distances(measured, drawn)
    for group, before, after in rows[:-1]:
        a, b = (look(network, images, TINYTEN[group], site)[TINYTEN[group][0]] for network in (one, other))
        assert before == pytest.approx(np.linalg.norm(a - b) / 24**0.5, rel=1e-5), group
        assert after == pytest.approx(np.linalg.norm(a - b[drawn[group]]) / 24**0.5, rel=1e-5), group
    with torch.no_grad():
        expected = (one(images) - other(images)).norm().item() / 24**0.5
    assert rows[-1] == (activation.LOGITS, pytest.approx(expected, rel=1e-5), pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize(("limit", "steps"), [(8, (2, 1)), (7, (3, 2)), (16, (1, 1))])
def test_wide_activations_are_subsampled(limit, steps):
    one, other, images = build("tinyten", 1), build("tinyten", 2), pictures(24)
    spec = permutation.discover(one, images[:2])
    measured = activation.correlate(one, spec, one.state_dict(), other.state_dict(), [images], subsample=limit)
    for layer, side, step in ((0, 16, steps[0]), (3, 8, steps[1])):
        name = f"network.layers.{layer}.relu"
        a, b = (
            look(network, images, [name], "post")[name].reshape(-1, 24, side, side)[..., ::step, ::step]
            for network in (one, other)
        )
        expected = correlations(a.reshape(len(a), -1), b.reshape(len(b), -1))
        np.testing.assert_allclose(measured[layer].matrix, expected, rtol=0, atol=1e-5)


def test_of_a_pair_of_batches_each_network_sees_its_own():
    one, other, images = build("tinyten", 1), build("tinyten", 2), pictures(24)
    own = [(images[:12], images[12:])]
    spec = permutation.discover(one, images[:2])
    measured = activation.correlate(one, spec, one.state_dict(), other.state_dict(), own)
    a, b = (
        look(network, seen, ["network.layers.5.relu"], "post")["network.layers.5.relu"]
        for network, seen in zip((one, other), own[0], strict=True)
    )
    expected = correlations(a.reshape(len(a), -1), b.reshape(len(b), -1))
    np.testing.assert_allclose(measured[5].matrix, expected, rtol=0, atol=1e-5)
