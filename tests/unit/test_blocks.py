"""Groups in blocks (heads of attention, groups of a convolution), and channels that are split and shuffled."""

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

from modeconn import permutation
from modeconn.matching import assign_blocks
from modeconn.matching.activation import correlate, match_correlations
from modeconn.matching.weight import match_weights
from modeconn.permutation.proof import prove


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Tokens(nn.Module):
    """A transformer's layer as people write it: a class token, a table of positions, heads with a temperature each."""

    def __init__(self, attend):
        super().__init__()
        self.attend = attend
        self.embed, self.dense = nn.Linear(3, 12), nn.Linear(12, 4)
        self.token, self.places = nn.Parameter(torch.rand(1, 1, 12)), nn.Parameter(torch.rand(1, 17, 12))
        self.temperature = nn.Parameter(torch.rand(3, 1, 1))
        self.norm, self.qkv, self.proj = nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, images):
        x = self.embed(images.flatten(2).mT)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.dense((x + self.proj(self.attend(self, self.norm(x)))).mean(1))


def heads_of(values):
    return values.unflatten(-1, (3, 4)).transpose(1, 2)


def by_hand(m, x):
    images, tokens, width = x.shape
    q, k, v = m.qkv(x).reshape(images, tokens, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
    weights = (q @ k.transpose(-2, -1) * m.temperature).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(images, tokens, width)


def by_einsum(m, x):
    q, k, v = m.qkv(x).chunk(3, -1)
    weights = torch.einsum("B H I D, B H J D -> B H I J", heads_of(q), heads_of(k)) * m.temperature
    return torch.einsum("bhij,bhjd->bihd", weights.softmax(-1), heads_of(v)).flatten(2)


def by_function(m, x):
    q, k, v = m.qkv(x).split(12, -1)
    mixed = nn.functional.scaled_dot_product_attention(heads_of(q) * m.temperature, heads_of(k), heads_of(v))
    return mixed.transpose(1, 2).flatten(2)


def talking(m, x):
    """Units are compared over the heads."""
    q, k, v = m.qkv(x).chunk(3, -1)
    weights = (heads_of(q) @ heads_of(k).mT * m.temperature).softmax(1) + heads_of(v).softmax(1).sum()
    return (weights @ heads_of(v)).transpose(1, 2).flatten(2)


def same_units(m, x):
    """All heads share a scale of their units."""
    q, k, v = m.qkv(x).chunk(3, -1)
    weights = (heads_of(q) * m.temperature.view(-1).repeat(2)[:4] @ heads_of(k).mT).softmax(-1)
    return (weights @ heads_of(v)).transpose(1, 2).flatten(2)


class Encoder(nn.Module):
    def __init__(self, **arguments):
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, nhead=3, dim_feedforward=10, **arguments)
        self.embed, self.encoder, self.dense = nn.Linear(3, 12), nn.TransformerEncoder(layer, 2), nn.Linear(12, 4)

    def forward(self, images):
        return self.dense(self.encoder(self.embed(images.flatten(2).mT)).mean(1))


def grouped():
    layers = [nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 1, groups=4), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


def swin(**arguments):
    sizes = {"patch_size": [4, 4], "embed_dim": 24, "depths": [2, 1], "num_heads": [2, 4], "window_size": [4, 4]}
    return SwinTransformer(**sizes, num_classes=10, **arguments)


ATTENTION = {"embed": 12, "qkv[0:12].blocks": 3, "qkv[0:12]": 12, "qkv[24:36]": 12}
# name: (builder, pixels, groups or their number, channels of one that is in blocks)
NETWORKS = {
    "grouped convolution": (grouped, 4, {"0.blocks": 4, "0": 12, "2": 8, "4": 6}),
    "attention by hand": (lambda: Tokens(by_hand), 4, ATTENTION),
    "attention by einsum": (lambda: Tokens(by_einsum), 4, ATTENTION),
    "attention by torch's function": (lambda: Tokens(by_function), 4, ATTENTION),
    # In each layer heads, queries with keys, values, and the hidden layer.
    "encoder": (lambda: Encoder(batch_first=True), 4, 1 + 2 * 4),
    "encoder, normalization first, positions first": (lambda: Encoder(norm_first=True), 4, 1 + 2 * 4),
    # The stem; a stage's stream, and in its one block the groups' blocks, what they read and what they write.
    "resnext": (lambda: torchvision.models.ResNet(Bottleneck, [1] * 4, 10, groups=4, width_per_group=8), 32, 1 + 4 * 4),
    "shufflenet": (lambda: torchvision.models.ShuffleNetV2([2, 2, 2], [24, 16, 32, 64, 64], 10), 32, 23),
    # Two streams; in each of 3 blocks heads, queries with keys, values, and the hidden layer.
    "swin": (swin, 32, 2 + 3 * 4),
    # The heads are named by the layer that makes their biases, which has a hidden layer.
    "swin_v2": (lambda: swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), 32, 2 + 3 * 5),
}


def case(name):
    """(network with weights that matter, images, spec, groups as expected)."""
    build, pixels, groups = NETWORKS[name]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        network = build().eval()
        for parameter in network.parameters():
            parameter.normal_(std=0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    images = torch.rand(2, 3, pixels, pixels, generator=seeded())
    return network, images, permutation.discover(network, images), groups


@pytest.mark.parametrize("name", NETWORKS)
def test_all_groups_are_found_and_proved(name):
    network, images, spec, groups = case(name)
    assert (spec.groups if isinstance(groups, dict) else len(spec.groups)) == groups
    kept, _ = prove(network, spec, images, seeded())
    assert kept == spec and not {reason for name, reason in spec.pinned.items() if name in spec.groups}
    assert permutation.freedom(spec, network) > 0.98


@pytest.mark.parametrize("name", NETWORKS)
def test_known_permutations_change_no_logits_and_are_recovered_exactly(name):
    network, images, spec, _ = case(name)
    tensors = network.state_dict()
    drawn = permutation.random(spec, seeded(5))
    permuted = permutation.apply(spec, drawn, tensors)
    expected = network(images)
    torch.testing.assert_close(functional_call(network, permuted, (images,)), expected, rtol=1e-4, atol=1e-5)
    found = match_weights(spec, tensors, permuted, [name for name, _ in network.named_parameters()])
    for group, order in permutation.invert(drawn).items():
        assert torch.equal(found[group], order), group


@pytest.mark.parametrize("name", ["grouped convolution", "attention by hand", "attention by torch's function"])
def test_activations_recover_heads_and_units(name):
    network, images, spec, _ = case(name)
    tensors = network.state_dict()
    drawn = permutation.random(spec, seeded(5))
    permuted = permutation.apply(spec, drawn, tensors)
    batches = [torch.randn(64, *images.shape[1:], generator=seeded(2))]
    found = match_correlations(spec, correlate(network, spec, tensors, permuted, batches))
    for group, order in permutation.invert(drawn).items():
        assert torch.equal(found[group], order), group


@pytest.mark.parametrize(
    ("attend", "free", "reason"),
    [
        (talking, {"embed", "qkv[0:4]", "qkv[4:8]", "qkv[8:12]"}, "softmax (node softmax_1) is not understood"),
        (same_units, {"embed", "qkv[24:28]", "qkv[28:32]", "qkv[32:36]"}, "a tensor without a layer, used by"),
    ],
)
def test_what_mixes_heads_or_their_units_is_pinned(attend, free, reason):
    network, images = Tokens(attend), torch.rand(2, 3, 4, 4)
    spec = permutation.discover(network, images)
    assert spec.groups.keys() == free and not spec.blocks
    assert any(reason in told for told in spec.pinned.values())
    prove(network, spec, images, seeded())


def test_channels_seen_at_different_places_are_pinned():
    class Diagonal(nn.Module):
        """Of 8 channels of 6 positions, every eighth entry: four channels' first, and others' third and fifth."""

        def __init__(self):
            super().__init__()
            self.open, self.dense = nn.Conv1d(3, 8, 1), nn.Linear(6, 4)

        def forward(self, images):
            return self.dense(self.open(images).relu().flatten(1)[:, ::8])

    spec = permutation.discover(Diagonal(), torch.rand(2, 3, 6))
    assert all(size < 3 for size in spec.groups.values())
    drawn, network, images = permutation.random(spec, seeded()), Diagonal(), torch.rand(2, 3, 6)
    permuted = permutation.apply(spec, drawn, network.state_dict())
    torch.testing.assert_close(functional_call(network, permuted, (images,)), network(images))


def test_grouped_weights_follow_their_blocks():
    """Worked by hand: two blocks of two channels change places, and in the new first one the channels do."""
    _, _, spec, _ = case("grouped convolution")
    axis = next(axis for axis in spec.axes if axis.blocks > 1)
    axis = permutation.Axis("w", 1, (permutation.Segment("in", 4),), output=False, blocks=axis.blocks // 2)
    small = permutation.PermutationSpec({"b": 2, "in": 4}, (axis,), {}, {}, blocks={"in": "b"})
    weight = torch.arange(4.0).view(2, 2)  # of each block's one output the two inputs
    order = {"b": torch.tensor([1, 0]), "in": torch.tensor([3, 2, 0, 1])}
    # The outputs are in place already: only the inputs of the first block change theirs.
    assert permutation.apply(small, order, {"w": weight})["w"].tolist() == [[1, 0], [2, 3]]
    _, whole = permutation.straightened(small, {"w": weight})
    assert whole["w"].tolist() == [[0, 1, 0, 0], [0, 0, 2, 3]]
    with pytest.raises(ValueError, match="group in: its permutation does not move whole blocks in the order of b"):
        permutation.apply(small, order | {"b": torch.tensor([0, 1])}, {"w": weight})


def test_permutations_of_blocks_form_a_group():
    _, _, spec, _ = case("attention by hand")
    first, second = (permutation.random(spec, seeded(seed)) for seed in range(2))
    tensors = {axis.tensor: torch.rand(12 if "bias" in axis.tensor else 36, 12) for axis in spec.axes}
    network, *_ = case("attention by hand")
    tensors = network.state_dict()
    once = permutation.apply(spec, permutation.compose(first, second), tensors)
    twice = permutation.apply(spec, second, permutation.apply(spec, first, tensors))
    back = permutation.apply(spec, permutation.invert(first), permutation.apply(spec, first, tensors))
    for name, tensor in tensors.items():
        assert torch.equal(once[name], twice[name]) and torch.equal(back[name], tensor)


def test_pinning_one_of_the_groups_with_blocks_pins_them_all():
    _, _, spec, _ = case("attention by hand")
    left = permutation.pin(spec, ["qkv[24:36]"], "a reason")
    assert left.groups == {"embed": 12} and left.blocks == {}
    assert [*left.pinned] == ["qkv[0:12].blocks", "qkv[0:12]", "qkv[24:36]"]


def test_blocks_are_assigned_by_what_the_best_order_within_makes_of_them():
    """Straight, each channel would meet one that is 1 like it; swapped and reordered within, each meets a 2."""
    units = torch.eye(4).numpy() + 2 * torch.eye(4)[[3, 2, 0, 1]].numpy()
    order, within = assign_blocks(torch.zeros(2, 2).numpy(), {"units": units})
    assert order.tolist() == [1, 0] and within["units"].tolist() == [3, 2, 0, 1]
