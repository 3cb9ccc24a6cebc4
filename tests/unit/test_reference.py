"""Against outputs of the paper's own code on fixed inputs: see tests/data/README.md."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call

from modeconn import networks, permutation
from modeconn.matching import activation, weight

DATA = Path(__file__).parents[1] / "data" / "reference"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)


def tensors(name):
    """A reference network as a state dict of ours."""
    loaded = load_file(DATA / f"{name}.safetensors")
    return {f"network.{key.replace('.bn.', '.norm.')}": tensor for key, tensor in loaded.items()}


def images(split, count=None):
    """Pixels in [0, 1], (N, 3, 32, 32)."""
    pixels = np.load(DATA / "images.npz")[f"x_{split}"][:count]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous() / 255


@pytest.fixture(scope="module")
def network():
    return networks.build({"family": "tinyten"}, shape=(3, 32, 32), classes=10, mean=MEAN, std=STD).eval()


@pytest.fixture(scope="module")
def spec(network):
    return permutation.discover(network, images("train", 2))


@pytest.fixture(scope="module")
def reference():
    return np.load(DATA / "tinyten-alignment.npz")


@pytest.fixture(scope="module")
def aligned(network, spec):
    """(permutation, correlations) of networks 1 and 2 on the reference's alignment images."""
    batches = images("train", 400).split(512)
    correlations = activation.correlate(network, spec, tensors("tinyten-seed1"), tensors("tinyten-seed2"), batches)
    return activation.match_correlations(spec, correlations), correlations


# Alignment


def test_correlations(aligned, reference):
    for layer, correlation in enumerate(aligned[1]):
        np.testing.assert_allclose(correlation.matrix.numpy(), reference[f"corr_{layer}"], rtol=0, atol=5e-6)
    assert f"corr_{layer + 1}" not in reference


def test_permutations_index_by_index(aligned, reference):
    for layer, order in enumerate(aligned[0].values()):
        np.testing.assert_array_equal(order.numpy(), reference[f"match_{layer}"])
    assert f"match_{layer + 1}" not in reference


def test_aligned_weights(spec, aligned):
    permuted = permutation.apply(spec, aligned[0], tensors("tinyten-seed2"))
    expected = tensors("tinyten-seed2-aligned")
    assert permuted.keys() == expected.keys()
    for name in expected:
        assert torch.equal(permuted[name], expected[name]), name


def test_signatures(network, spec, aligned, reference):
    found, correlations = aligned
    of_test = activation.correlate(
        network, spec, tensors("tinyten-seed1"), tensors("tinyten-seed2"), images("test").split(512)
    )
    for measured, before, after in (
        (correlations, "mean_corr_before", "mean_corr_after_align_set"),
        (of_test, "mean_corr_before_test", "mean_corr_after_test"),
    ):
        rows = activation.signature(measured, found)
        np.testing.assert_allclose([row[1] for row in rows], reference[before], rtol=0, atol=1e-6)
        np.testing.assert_allclose([row[2] for row in rows], reference[after], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["seed1", "seed2", "seed2_aligned"])
def test_logits(network, name):
    expected = np.load(DATA / "tinyten-logits.npz")[f"logits_{name}"]
    with torch.no_grad():
        logits = functional_call(network, tensors(f"tinyten-{name.replace('_', '-')}"), (images("test", 64),))
    np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=1e-5)


def test_two_matchings_of_trained_networks_agree_on_the_direction(network, spec, aligned):
    """Not in the paper's code: each method, blind to what the other one looks at, improves that as well."""
    a, b = tensors("tinyten-seed1"), tensors("tinyten-seed2")
    names = [name for name, _ in network.named_parameters()]
    by_activations, correlations = aligned
    by_weights = weight.match_weights(spec, a, b, names)
    for (group, before, best), (_, _, after) in zip(
        activation.signature(correlations, by_activations)[:-1],
        activation.signature(correlations, by_weights)[:-1],
        strict=True,
    ):
        assert before + 0.02 < after < best, group

    def similarity(found):
        permuted = permutation.apply(spec, found, b)
        return sum((a[name] * permuted[name]).sum().item() for name in names)

    none, activations, weights = map(similarity, (permutation.identity(spec), by_activations, by_weights))
    assert 300 < none < 320 and none + 100 < activations < weights - 30
