"""Corrections of averaged networks, and normalization that is made part of the layers before it, worked by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from modeconn import corrections, fusing, networks
from modeconn.functional import Functional
from modeconn.measuring import Combination, combine

NETWORK = {"family": "mlp", "width": 1, "hidden": [6, 5], "norm": "none"}
MIDDLE = Combination([0, 1], [0.5, 0.5])


def built(dataset, norm="none", count=3):
    """A functional and the vectors (count, D) of networks of two hidden layers."""
    values = NETWORK | {"norm": norm}
    functional = Functional(networks.of(values, dataset))
    vectors, _ = functional.stack([networks.of(values, dataset, seed).state_dict() for seed in range(count)])
    return functional, vectors


def inputs_of(dataset):
    return dataset.train_images.float() / 255


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_members_alone_keep_their_bits_and_have_the_statistics_that_repair_asks_for(tiny_dataset, norm):
    functional, rows = built(tiny_dataset, norm)
    alone = [Combination([member], [1.0]) for member in range(3)] + [Combination([0, 2], [0.0, 1.0])]
    names = ["repair", "closed_form", "temperature"]
    for name, correct in corrections.of(names, functional, rows, tiny_dataset, 0).items():
        vectors = combine(rows, alone)
        assert torch.equal(correct(alone, vectors), vectors), name
    means, deviations, _ = corrections.moments(functional, rows, inputs_of(tiny_dataset))
    again = corrections.repaired(functional, rows, inputs_of(tiny_dataset), list(zip(means, deviations)))
    torch.testing.assert_close(again, rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_repaired_units_have_the_mean_and_deviation_between_those_of_the_members(tiny_dataset, norm):
    functional, rows = built(tiny_dataset, norm)
    mixed = [MIDDLE, Combination([0, 1, 2], [0.2, 0.3, 0.5])]
    corrected = corrections.of(["repair"], functional, rows, tiny_dataset, 0)["repair"](mixed, combine(rows, mixed))
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    wanted = corrections.moments(functional, rows, inputs_of(tiny_dataset))
    found = corrections.moments(functional, corrected, inputs_of(tiny_dataset))
    for statistic in (0, 1):
        for layer, of_members in zip(found[statistic], wanted[statistic]):
            torch.testing.assert_close(layer, shares @ of_members, rtol=1e-3, atol=1e-4)


def test_statistics_are_those_of_the_plain_layers(tiny_dataset):
    functional, rows = built(tiny_dataset)
    means, deviations, covariances = corrections.moments(functional, rows, inputs_of(tiny_dataset))
    given = []
    for seed in range(2):
        network = networks.of(NETWORK, tiny_dataset, seed).network
        pixels = (inputs_of(tiny_dataset) - tiny_dataset.mean[0]) / tiny_dataset.std[0]
        first = network.layers[0](pixels.flatten(1))
        given.append(network.layers[1].linear(first).detach())
    torch.testing.assert_close(means[1][0], given[0].mean(0))
    torch.testing.assert_close(deviations[1][1], given[1].std(0, correction=0))
    product = ((given[0] - given[0].mean(0)) * (given[1] - given[1].mean(0))).mean(0)
    torch.testing.assert_close(covariances[1][0, 1], product, rtol=1e-4, atol=1e-6)


def test_the_closed_form_is_exact_for_the_first_layer(tiny_dataset):
    """What the first layer of an average gives is the average of what the members' first layers give."""
    functional, rows = built(tiny_dataset)
    vectors = combine(rows, [MIDDLE])
    both = corrections.of(["repair", "closed_form"], functional, rows, tiny_dataset, 0)
    found = [functional.unpack(correct([MIDDLE], vectors)[0]) for correct in both.values()]
    for name in ("weight", "bias"):
        name = f"network.layers.0.linear.{name}"
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0]["network.layers.1.linear.weight"], found[1]["network.layers.1.linear.weight"])


def test_a_unit_that_gives_the_same_for_all_images_keeps_its_weights(tiny_dataset):
    functional, rows = built(tiny_dataset)
    for vector in rows:
        tensors = functional.unpack(vector)
        tensors["network.layers.0.linear.weight"][2] = 0
    for correct in corrections.of(["repair", "closed_form"], functional, rows, tiny_dataset, 0).values():
        corrected = correct([MIDDLE], combine(rows, [MIDDLE]))
        assert corrected.isfinite().all()
        tensors, of_members = functional.unpack(corrected[0]), [functional.unpack(row) for row in rows]
        bias = "network.layers.0.linear.bias"
        expected = (of_members[0][bias][2] + of_members[1][bias][2]) / 2
        torch.testing.assert_close(tensors[bias][2], expected, rtol=1e-4, atol=1e-6)


def test_the_temperature_of_calibrated_logits_is_one():
    """Three of four labels are the first class, which the logits say: 3 : 1. Three times as large they want T = 3."""
    logits = torch.tensor([[math.log(3), 0.0]]).expand(4, 2)
    labels = torch.tensor([0, 0, 0, 1])
    found = corrections.temperatures(torch.stack([logits, 3 * logits, logits / 7]), labels)
    torch.testing.assert_close(found, torch.tensor([1, 3, 1 / 7], dtype=torch.float64))


def test_a_temperature_is_the_best_of_a_grid_and_changes_no_answer(tiny_dataset):
    functional, rows = built(tiny_dataset)
    images, labels = inputs_of(tiny_dataset), tiny_dataset.train_labels
    rows[1] *= 3  # far from calibrated
    looks = [Combination([0, 1], [0.1, 0.9]), Combination([1, 2], [0.7, 0.3]), MIDDLE]
    vectors = combine(rows, looks)
    corrected = corrections.of(["temperature"], functional, rows, tiny_dataset, 0)["temperature"](looks, vectors)
    for before, after in zip(vectors, corrected):
        logits, tempered = (functional(v[None], {}, images[None])[0] for v in (before, after))
        assert torch.equal(logits.argmax(1), tempered.argmax(1))
        grid = torch.logspace(-1, 1, 601)
        best = min(F.cross_entropy(logits / t, labels).item() for t in grid)
        assert F.cross_entropy(tempered, labels).item() <= best + 1e-6


def test_a_temperature_stays_within_bounds_where_the_loss_falls_for_ever():
    """All answers right, the sharper the better; all alike, none is better; all wrong, the vaguer the better."""
    logits = torch.tensor([[[2.0, 0.0], [0.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    found = corrections.temperatures(logits, torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([corrections.LEAST, 1, corrections.MOST], rel=1e-5)


def test_a_network_whose_normalization_is_fused_computes_the_same(tiny_dataset):
    values = NETWORK | {"norm": "batch", "fused": True}
    network = networks.of(values, tiny_dataset, 1)
    rng = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if "norm" in name and tensor.dtype == torch.float32:
            tensor.add_(torch.rand(tensor.shape, generator=rng))
    plain, (state,) = fusing.fused(values, [network.state_dict()])
    assert plain == NETWORK
    fused = networks.of(plain, tiny_dataset)
    fused.load_state_dict(state)
    images = inputs_of(tiny_dataset)
    torch.testing.assert_close(fused.eval()(images), network.eval()(images), rtol=1e-4, atol=1e-5)
