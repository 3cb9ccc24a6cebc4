"""Narrow networks in wide ones, fixed points, and permutations put together group by group."""

import pytest
import torch
from test_matching import draw
from torch import nn
from torch.func import functional_call

from modeconn import networks, permutation
from modeconn.matching import weight
from modeconn.permutation import partial


def build(family, width, **more):
    network = {"family": family, "width": width, **more}
    return networks.build(network, shape=(3, 16, 16), classes=10, mean=[0.5] * 3, std=[0.25] * 3)


class Flattening(nn.Module):
    """Two convolutions side by side, each of whose channels becomes sixteen consecutive inputs of a linear layer."""

    def __init__(self, short, long, hidden):
        super().__init__()
        self.short, self.long = nn.Conv2d(3, short, 1), nn.Conv2d(3, long, 3, padding=1)
        self.hidden, self.dense = nn.Linear((short + long) * 16, hidden), nn.Linear(hidden, 5)

    def forward(self, images):
        both = torch.cat([self.short(images).sigmoid(), self.long(images).relu()], 1)
        return self.dense(self.hidden(torch.max_pool2d(both, 4).flatten(1)).relu())


# Narrow and wide: groups grow by different amounts, one of them not at all.
PAIRS = {
    "mlp": lambda: (build("mlp", 1, hidden=(20, 12)), build("mlp", 1, hidden=(33, 12))),
    "mlp-batch": lambda: [build("mlp", width, hidden=(20, 12), norm="batch") for width in (1, 2)],
    "vgg16": lambda: [build("vgg16", width) for width in (0.0625, 0.125)],
    "resnet20": lambda: [build("resnet20", width) for width in (0.25, 0.75)],
    "flattening": lambda: (Flattening(3, 4, 9), Flattening(5, 7, 9)),
}


def pictures(count):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PAIRS)
def test_a_narrow_network_computes_the_same_in_a_wide_one(name):
    (narrow, wide), images = PAIRS[name](), pictures(8)
    tensors = draw(narrow, 0)
    grown = partial.embed(narrow, wide, tensors, images[:2])
    assert {key: tensor.shape for key, tensor in grown.items()} == {k: t.shape for k, t in wide.state_dict().items()}
    spec = permutation.discover(wide, images[:2])
    permuted = permutation.apply(spec, permutation.random(spec, torch.Generator().manual_seed(0)), grown)
    for training in (False, True):
        expected = functional_call(narrow.train(training), dict(tensors), (images,))
        for state in (grown, permuted):
            found = functional_call(wide.train(training), dict(state), (images,))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    for key, tensor in tensors.items():
        assert tensor.sum().item() == pytest.approx(grown[key].sum().item(), rel=1e-4, abs=1e-4), key
        assert (grown[key] != 0).sum() == (tensor != 0).sum(), key


def test_a_groups_channels_come_first_in_its_own_part():
    narrow, wide = PAIRS["flattening"]()
    tensors = draw(narrow, 0)
    grown = partial.embed(narrow, wide, tensors, pictures(2))
    hidden = grown["hidden.weight"]  # 5 channels of `short`, 7 of `long`, 16 entries each
    assert torch.equal(hidden[:, : 3 * 16], tensors["hidden.weight"][:, : 3 * 16])
    assert torch.equal(hidden[:, 5 * 16 : 9 * 16], tensors["hidden.weight"][:, 3 * 16 :])
    assert not hidden[:, 3 * 16 : 5 * 16].any() and not hidden[:, 9 * 16 :].any()
    assert torch.equal(grown["short.bias"], torch.cat([tensors["short.bias"], torch.zeros(2)]))


@pytest.mark.parametrize("name", ["mlp", "vgg16"])
def test_a_wide_networks_first_channels_alone_are_matched_to_it(name):
    """Where the wide network is permuted, each channel of its narrow part is found, and zeros go where they may."""
    narrow, wide = PAIRS[name]()
    tensors, shapes = draw(wide, 0), {key: tensor.shape for key, tensor in narrow.state_dict().items()}
    part = {key: tensor[tuple(map(slice, shapes[key]))] for key, tensor in tensors.items()}
    grown = partial.embed(narrow, wide, part, pictures(2))
    spec, small = (permutation.discover(network, pictures(2)) for network in (wide, narrow))
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    names = [key for key, _ in wide.named_parameters()]
    found = weight.match_weights(spec, permutation.apply(spec, drawn, tensors), grown, names)
    for group, size in small.groups.items():
        inside = drawn[group] < size
        assert torch.equal(found[group][inside], drawn[group][inside]), group
        assert size > 0 and inside.sum() == size


def test_embedding_in_a_network_of_the_same_widths_changes_nothing():
    narrow, _ = PAIRS["resnet20"]()
    tensors = draw(narrow, 0)
    grown = partial.embed(narrow, narrow, tensors, pictures(2))
    assert all(torch.equal(grown[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("family", [{"family": "resnet20"}, {"family": "mlp", "hidden": (20, 12)}])
def test_layer_normalization_over_added_channels_is_refused(family):
    narrow, wide = (build(**family, width=width, norm="layer") for width in (0.5, 1))
    with pytest.raises(ValueError, match=r"Normalized: with zeros added, logits change by .*layer normalization"):
        partial.embed(narrow, wide, draw(narrow, 0), pictures(2))


def test_layer_normalization_over_other_channels_is_kept():
    class Block(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.stem, self.norm, self.dense = nn.Linear(768, 6), nn.LayerNorm(6), nn.Linear(6, 4)
            self.up, self.down = nn.Linear(6, hidden), nn.Linear(hidden, 6)

        def forward(self, images):
            stream = self.stem(images.flatten(1))
            return self.dense(self.norm(stream + self.down(self.up(stream).relu())))

    narrow, wide, images = Block(5), Block(8), pictures(4)
    tensors = draw(narrow, 0)
    grown = partial.embed(narrow, wide, tensors, images)
    torch.testing.assert_close(functional_call(wide, grown, (images,)), functional_call(narrow, tensors, (images,)))


def test_what_does_not_fit_is_named():
    narrow, wide = PAIRS["mlp"]()
    with pytest.raises(ValueError, match=r"network\.layers\.0\.linear\.weight: 33 entries .* into 20 of the wide one"):
        partial.embed(wide, narrow, draw(wide, 0), pictures(2))
    deeper = build("mlp", 1, hidden=(20, 12, 12))
    with pytest.raises(ValueError, match=r"network\.layers\.2\.linear\.weight: missing in the narrow network, "):
        partial.embed(narrow, deeper, draw(narrow, 0), pictures(2))


def test_fixed_points_are_counted_by_group():
    first = {"a": torch.tensor([0, 1, 2, 3]), "b": torch.tensor([1, 0])}
    second = {"a": torch.tensor([0, 2, 1, 3]), "b": torch.tensor([0, 1])}
    assert partial.fixed_points(first, second) == {"a": 0.5, "b": 0.0}
    assert partial.fixed_points(first, first) == {"a": 1.0, "b": 1.0}
    # Seen from any other order of the channels they are the same.
    turn = {"a": torch.tensor([3, 0, 1, 2]), "b": torch.tensor([1, 0])}
    turned = [permutation.compose(each, turn) for each in (first, second)]
    assert partial.fixed_points(*turned) == {"a": 0.5, "b": 0.0}
    for other in ({"a": first["a"]}, first | {"b": torch.arange(3)}):
        with pytest.raises(ValueError, match=r"group b has 2 channels in one permutation and (None|3) in the other"):
            partial.fixed_points(first, other)


@pytest.fixture(scope="module")
def three_layers():
    network = build("mlp", 1, hidden=(6, 5, 4))
    return network, permutation.discover(network, pictures(2))


def test_groups_are_taken_from_the_second_permutation_way_by_way(three_layers):
    _, spec = three_layers
    zeros, ones = ({group: torch.full((size,), value) for group, size in spec.groups.items()} for value in (0, 1))
    one, two, three = spec.groups
    taken = {
        way: [(name, [order[0].item() for order in found.values()]) for name, found in each]
        for way in partial.WAYS
        for each in [partial.layerwise(spec, zeros, ones, way)]
    }
    assert taken == {
        "bottom-up": [(one, [1, 0, 0]), (two, [1, 1, 0]), (three, [1, 1, 1])],
        "top-down": [(three, [0, 0, 1]), (two, [0, 1, 1]), (one, [1, 1, 1])],
        "put-in": [(one, [1, 0, 0]), (two, [0, 1, 0]), (three, [0, 0, 1])],
        "leave-out": [(one, [0, 1, 1]), (two, [1, 0, 1]), (three, [1, 1, 0])],
    }


@pytest.mark.parametrize("way", partial.WAYS)
def test_a_composed_permutation_is_the_product_group_by_group(three_layers, way):
    network, spec = three_layers
    tensors, generator = draw(network, 0), torch.Generator().manual_seed(0)
    p, q = permutation.random(spec, generator), permutation.random(spec, generator)
    product, straight = permutation.compose(p, q), permutation.identity(spec)
    after_p = permutation.apply(spec, p, tensors)
    parts = zip(partial.layerwise(spec, p, product, way), partial.layerwise(spec, straight, q, way), strict=True)
    for (name, found), (same, part_of_q) in parts:
        assert name == same
        once, twice = permutation.apply(spec, found, tensors), permutation.apply(spec, part_of_q, after_p)
        assert all(torch.equal(once[key], twice[key]) for key in tensors)
    whole = permutation.apply(spec, q, after_p)
    assert all(torch.equal(permutation.apply(spec, product, tensors)[key], whole[key]) for key in tensors)


def test_unknown_ways_and_other_networks_are_named(three_layers):
    _, spec = three_layers
    straight = permutation.identity(spec)
    group = next(iter(spec.groups))
    with pytest.raises(ValueError, match="'sideways' is unknown: expected bottom-up, top-down, put-in, leave-out"):
        next(partial.layerwise(spec, straight, straight, "sideways"))
    with pytest.raises(ValueError, match=f"group {group} has 6 channels in one permutation and 3 in the other"):
        next(partial.layerwise(spec, straight, straight | {group: torch.arange(3)}, "put-in"))
