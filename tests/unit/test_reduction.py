"""Units merged, dropped and added: what the networks compute stays, worked by hand and on drawn networks."""

from pathlib import Path

import pytest
import torch
from test_moments import RECIPE
from test_programs import run_program

from modeconn import artifacts, datasets, networks, own_code, permutation, reduction


def build(hidden, norm="none", family="mlp"):
    values = {"family": family, "norm": norm} | ({"hidden": hidden} if family == "mlp" else {})
    return networks.build(values, shape=(2, 16, 16), classes=3, mean=[0.0] * 2, std=[1.0] * 2, seed=1)


IMAGES = torch.rand(32, 2, 16, 16, generator=torch.Generator().manual_seed(0))
FIRST, SECOND = "network.layers.0.linear", "network.layers.1.linear"


def specified(network):
    return permutation.discover(network, IMAGES[:2])


def state(network):
    """Float64, with biases that leave most units alive."""
    return {name: tensor.double() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def logits(hidden, tensors):
    network = build(hidden).double()
    network.load_state_dict(tensors)
    return network(IMAGES.double())


def with_multiples(tensors, group, reads, unit, factors):
    """The state with more units, the unit times each factor, that share out the unit's outgoing weights at random."""
    tensors = dict(tensors)
    weight, bias, outgoing = tensors[f"{group}.weight"], tensors[f"{group}.bias"], tensors[f"{reads}.weight"].clone()
    more = torch.randn(len(outgoing), len(factors), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    outgoing[:, unit] -= more @ factors
    tensors[f"{group}.weight"] = torch.cat([weight, factors[:, None] * weight[unit]])
    tensors[f"{group}.bias"] = torch.cat([bias, factors * bias[unit]])
    tensors[f"{reads}.weight"] = torch.cat([outgoing, more], 1)
    return tensors


def test_positive_multiples_are_merged_and_logits_stay():
    network = build([6, 5])
    spec, tensors = specified(build([8, 7])), state(network)
    expected = logits([6, 5], tensors)
    wide = with_multiples(tensors, FIRST, SECOND, 2, torch.tensor([0.5, 3.0], dtype=torch.float64))
    wide = with_multiples(wide, SECOND, "network.dense", 4, torch.tensor([2.0, 0.1], dtype=torch.float64))
    torch.testing.assert_close(logits([8, 7], wide), expected)
    found, kept = reduction.reduced(spec, wide, 1 - 1e-9)
    assert {group: len(units) for group, units in kept.items()} == {FIRST: 6, SECOND: 5}
    assert set(kept[FIRST].tolist()) - {2, 6, 7} == {0, 1, 3, 4, 5}
    torch.testing.assert_close(logits([6, 5], found), expected)


def test_merging_by_hand():
    """Three units of one input and a bias: (3, 4) and (6, 8) are one direction, (-3, -4) is another."""
    network = networks.build(
        {"family": "mlp", "hidden": [3], "norm": "none"}, shape=(1, 1, 1), classes=1, mean=[0.0], std=[1.0]
    )
    spec = permutation.discover(network, torch.rand(2, 1, 1, 1))
    tensors = {
        f"{FIRST}.weight": torch.tensor([[3.0], [6.0], [-3.0]]),
        f"{FIRST}.bias": torch.tensor([4.0, 8.0, -4.0]),
        "network.dense.weight": torch.tensor([[1.0, 10.0, 7.0]]),
        "network.dense.bias": torch.tensor([0.5]),
    }
    found, kept = reduction.reduced(spec, tensors, 0.99)
    # Of norms 5, 10 and 5 the second is the largest with its outgoing weight: 10 + 1 * 5 / 10.
    assert kept[FIRST].tolist() == [1, 2]
    assert found[f"{FIRST}.weight"].tolist() == [[6.0], [-3.0]]
    assert found["network.dense.weight"].tolist() == [[10.5, 7.0]]
    assert found["network.dense.bias"].tolist() == [0.5]


def test_dead_units_are_left_out():
    network = build([6, 5])
    spec, tensors = specified(network), state(network)
    tensors[f"{FIRST}.bias"][1] = -100  # silent on images within [0, 1]
    tensors[f"{SECOND}.weight"][:, 3] = 0  # nobody listens
    tensors[f"{FIRST}.weight"][4], tensors[f"{FIRST}.bias"][4] = 0, -1  # nothing comes in
    tensors[f"{FIRST}.weight"][5], tensors[f"{FIRST}.bias"][5] = 0, 1  # a constant is none of these
    with torch.no_grad():
        silent = reduction.dead(network.double(), spec, tensors, IMAGES.double())
    assert silent[FIRST].tolist() == [False, True, False, False, True, False]
    found, kept = reduction.reduced(spec, tensors, 0.9999, silent)
    assert kept[FIRST].tolist() == [0, 2, 5]
    assert kept[SECOND].tolist() == torch.where(~silent[SECOND])[0].tolist()
    torch.testing.assert_close(logits([3, len(kept[SECOND])], found), logits([6, 5], tensors))


def test_dead_units_are_zero_on_every_image():
    network = build([6, 5])
    with torch.no_grad():
        network.network.layers[0].linear.bias[2] = -100
    found = reduction.dead(network, specified(network), network.state_dict(), IMAGES)
    hidden = torch.relu(network.network.layers[0].linear(IMAGES.flatten(1)))
    assert found[FIRST][2]
    assert found[FIRST].tolist() == [not (hidden[:, unit] > 0).any() for unit in range(6)]


def test_one_unit_is_left_of_a_layer_that_is_dead():
    network = build([4])
    spec, tensors = specified(network), state(network)
    tensors["network.dense.weight"][:] = 0
    found, kept = reduction.reduced(spec, tensors, 0.99)
    assert kept[FIRST].tolist() == [0]
    torch.testing.assert_close(logits([1], found), logits([4], tensors))


def test_a_padded_network_computes_the_same_and_is_reduced_to_itself():
    network = build([4, 3])
    spec, tensors = specified(network), state(network)
    wide = reduction.padded(spec, tensors, {FIRST: 9, SECOND: 3})
    torch.testing.assert_close(logits([9, 3], wide), logits([4, 3], tensors))
    assert torch.equal(wide[f"{FIRST}.weight"][:4], tensors[f"{FIRST}.weight"])
    found, kept = reduction.reduced(specified(build([9, 3])), wide, 1 - 1e-9)
    assert kept[FIRST].tolist() == [0, 1, 2, 3]
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_what_cannot_be_reduced_or_padded_is_refused(one_line):
    network = build([4, 3])
    with one_line(ValueError, FIRST, "4", "3", "at least"):
        reduction.padded(specified(network), network.state_dict(), {FIRST: 3, SECOND: 3})
    with one_line(ValueError, "cosine 1"):
        reduction.reduced(specified(network), network.state_dict(), 1)
    for other in (build([4, 3], "layer"), build([4, 3], "batch"), build(None, "none", "tinyten")):
        with one_line(ValueError, "network.layers.0", "norm none"):
            reduction.reduced(specified(other), other.state_dict(), 0.9)


@pytest.mark.parametrize(
    "values",
    [
        {"family": "tinyten"},
        {"family": "mlp", "hidden": [6, 5], "norm": "layer"},
        {"family": "torchvision", "model": "shufflenet_v2_x0_5"},  # grouped convolutions
        {"family": "file", "path": "config/examples/vit.py:build"},  # heads
    ],
    ids=lambda values: values["family"],
)
def test_all_channels_of_an_untrained_network_are_left(values, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    if "path" in values:
        values = values | {"content": own_code.digest(values["path"])}
    network = networks.build(values, shape=(3, 32, 32), classes=3, mean=[0.0] * 3, std=[1.0] * 3, seed=1).eval()
    spec, state = permutation.discover(network, torch.rand(2, 3, 32, 32)), network.state_dict()
    left = reduction.units_left(spec, state)
    assert left == sum(size for group, size in spec.groups.items() if group not in spec.blocks.values())
    axis = next(axis for axis in spec.axes if axis.output and state[axis.tensor].ndim > 1)
    gone = {name: tensor.clone() for name, tensor in state.items()}
    group = axis.segments[0].group
    for other in spec.axes:
        if other.output and other.segments[0].group == group:
            gone[other.tensor].movedim(other.dim, 0)[0] = 0
    assert reduction.units_left(spec, gone) == left - 1


# --- as a recipe asks for it ---


@pytest.fixture
def train(tiny_data, tmp_path, monkeypatch, capsys):
    """The networks of seeds 3 and 4 that `train` makes of a network with `hidden` units, and what it prints."""
    plain = {name: value for name, value in RECIPE.items() if name not in ("keep", "pruning")}

    def train(name, hidden, **recipe):
        values = {"names": {"dataset": "tiny", "network": "mlp", "recipe": name}, "seeds": [3, 4]}
        values |= {"network": {"family": "mlp", "norm": "none", "hidden": hidden, "width": 1}}
        output, history = tmp_path / f"{name}.safetensors", tmp_path / f"{name}.csv"
        run_program(
            monkeypatch, "train", values | {"recipe": plain | recipe}, data=tiny_data, output=output, history=history
        )
        return [artifacts.load_lane(output, lane, rule="train") for lane in (0, 1)], capsys.readouterr().out

    return train


def test_a_recipe_trains_narrow_networks_and_pads_them(train):
    narrow, _ = train("narrow", [4, 4])
    wide, said = train("padded", [9, 6], units=4)
    for own, state in zip(narrow, wide):
        assert [len(state[f"{FIRST}.weight"]), len(state[f"{SECOND}.weight"])] == [9, 6]
        assert torch.equal(state[f"{FIRST}.weight"][:4], own[f"{FIRST}.weight"])
        assert torch.equal(state[f"{SECOND}.weight"][:4, :4], own[f"{SECOND}.weight"])
        assert torch.equal(state["network.dense.weight"][:, :4], own["network.dense.weight"])
        weights = [state[f"{FIRST}.weight"][4:], state[f"{SECOND}.weight"][4:], state[f"{SECOND}.weight"][:, 4:]]
        assert not torch.cat([weight.flatten() for weight in weights]).any()
    assert said.count("8 hidden units") == 2


def test_a_recipe_merges_units_of_the_networks_that_it_would_train_otherwise(train, tiny_dataset):
    plain, _ = train("plain", [12])
    merged, said = train("merged", [12], merge=0.5)
    values = {"family": "mlp", "norm": "none", "hidden": [12], "width": 1}
    network = networks.of(values, tiny_dataset)
    spec = permutation.discover(network, tiny_dataset.example())
    images = torch.cat([batch[0] for batch in datasets.in_order(tiny_dataset.train_images, 64)])
    left = []
    for own, state in zip(plain, merged):
        network.load_state_dict(own)
        normalized = (images - network.mean) / network.std
        silent = (network.network.layers[0].linear(normalized.flatten(1)) <= 0).all(0)
        found, kept = reduction.reduced(spec, own, 0.5, {FIRST: silent})
        for name, dim in ((f"{FIRST}.weight", 0), (f"{FIRST}.bias", 0), ("network.dense.weight", 1)):
            assert torch.equal(state[name].index_select(dim, kept[FIRST]), found[name])
        gone = sorted({*range(12)} - {*kept[FIRST].tolist()})
        assert gone and not state[f"{FIRST}.weight"][gone].any() and not state["network.dense.weight"][:, gone].any()
        assert reduction.units_left(spec, state) == 12 - len(gone) < reduction.units_left(spec, own) == 12
        left.append(f"{12 - len(gone)} hidden units")
    assert all(words in said for words in left)
