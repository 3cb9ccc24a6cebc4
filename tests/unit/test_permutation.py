"""Permutation specs: found for real architectures, proved, applied, and refused where they are wrong.

Every count of groups below is derived from the architecture, so that a walk that pins more than it must
fails here although nothing that it says is wrong.
"""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torchvision.models.inception import BasicConv2d
from torchvision.models.swin_transformer import SwinTransformer, SwinTransformerBlockV2

from modeconn import networks, permutation
from modeconn.matching.weight import match_weights
from modeconn.permutation.proof import prove, verify
from modeconn.permutation.verdict import report


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def state(network):
    """All tensors by name, also those that a state dict leaves out."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


# --- torchvision's architectures ---


def vgg11_bn():
    """With 2x2 instead of 7x7 cells under the classifier: the same groups in a twelfth of the memory."""
    network = torchvision.models.vgg11_bn(weights=None, init_weights=False)
    network.avgpool = nn.AdaptiveAvgPool2d(2)
    network.classifier[0] = nn.Linear(512 * 2 * 2, 4096)
    return network


def inception_v3():
    """With a 1x1 instead of a 5x5 kernel in the auxiliary head, which otherwise needs 299 pixels."""
    network = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True)
    network.AuxLogits.conv1 = BasicConv2d(128, 768, kernel_size=1)
    return network


def googlenet():
    return torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True)


def small_transformer():
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=48
    )


# Channels of GoogLeNet's inception blocks: 1x1; reduction, 3x3; reduction, second 3x3; after the pool.
GOOGLENET_BLOCKS = [
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
]
INCEPTION_BLOCKS = [
    *((64, 48, 64, 64, 96, 96, pool) for pool in (32, 64, 64)),  # 5b, 5c, 5d
    (384, 64, 96, 96),  # 6a
    *((192, c, c, 192, c, c, c, c, 192, 192) for c in (128, 160, 160, 192)),  # 6b .. 6e
    (192, 320, 192, 192, 192, 192),  # 7a
    *([(320, 384, 384, 384, 448, 384, 384, 384, 192)] * 2),  # 7b, 7c
]
# name: (builder, pixels, groups, channels of all groups)
ARCHITECTURES = {
    # A stage's additions tie all that is added: one stream a stage (the stem is the first stage's), and in each of the
    # 8 blocks the convolution between.
    "resnet18": (torchvision.models.resnet18, 32, 4 + 8, (64 + 128 + 256 + 512) * (1 + 2)),
    # The first stage projects too, so the stem is on its own; 3 + 4 + 6 + 3 blocks have two convolutions between.
    "resnet50": (
        torchvision.models.resnet50,
        32,
        1 + 4 + 2 * 16,
        64 + (256 + 512 + 1024 + 2048) + 2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512),
    ),
    # Concatenation ties nothing: each of 3 + 9 * 6 convolutions is a group; two auxiliary heads with a
    # convolution and a hidden linear layer each.
    "googlenet": (googlenet, 32, 3 + 9 * 6 + 2 * 2, 64 + 64 + 192 + sum(map(sum, GOOGLENET_BLOCKS)) + 2 * (128 + 1024)),
    # Each of 94 convolutions, and the two of the auxiliary head.
    "inception_v3": (
        inception_v3,
        107,
        94 + 2,
        32 + 32 + 64 + 80 + 192 + sum(map(sum, INCEPTION_BLOCKS)) + 128 + 768,
    ),
    # Stem, 58 dense layers with a bottleneck (128) and a growth (32) convolution, three transitions.
    "densenet121": (torchvision.models.densenet121, 32, 1 + 2 * 58 + 3, 64 + 58 * (128 + 32) + 128 + 256 + 512),
    # Stem and last layer; 16 expansions, six times the 16, 24, 32 ... channels that they expand, shared by their
    # depthwise convolutions; 7 stages of linear bottlenecks with one stream each.
    # The first depthwise one belongs to the stem.
    "mobilenet_v2": (
        torchvision.models.mobilenet_v2,
        32,
        1 + 16 + 7 + 1,
        32 + 6 * (16 + 2 * 24 + 3 * 32 + 4 * 64 + 3 * 96 + 3 * 160) + (16 + 24 + 32 + 64 + 96 + 160 + 320) + 1280,
    ),
    # Stem and 8 fire modules with squeeze and two expansions; the last convolution is the output.
    "squeezenet1_1": (
        torchvision.models.squeezenet1_1,
        32,
        1 + 8 * 3,
        64 + sum(2 * (squeeze + 8 * squeeze) for squeeze in (16, 32, 48, 64)),
    ),
    # 8 convolutions and two hidden linear layers.
    "vgg11_bn": (vgg11_bn, 32, 8 + 2, 64 + 128 + 2 * 256 + 4 * 512 + 2 * 4096),
    # As vit_b_16, smaller. The stream, and in each of 3 layers the heads, units of queries and keys, those of values,
    # and a perceptron's hidden layer.
    "vision transformer": (small_transformer, 32, 1 + 3 * 4, 32 + 3 * (2 + 32 + 32 + 48)),
}


@cache
def architecture(name):
    """(network, example, spec), built once for all tests, which leave them as they are."""
    build, pixels, *_ = ARCHITECTURES[name]
    network = build() if build.__module__ == __name__ else build(weights=None)
    example = torch.rand(2, 3, pixels, pixels, generator=seeded())
    return network, example, permutation.discover(network, example)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_all_its_groups_and_they_are_proved(name):
    network, example, spec = architecture(name)
    assert (len(spec.groups), sum(spec.groups.values())) == ARCHITECTURES[name][2:]
    proof = verify(network, spec, example, seeded())
    assert proof.invariance < 1e-5
    assert list(proof.reactions) == list(spec.groups)
    assert min(proof.reactions.values()) > 1e-2


def test_residual_streams_are_named_after_their_first_layer_and_read_after_each_addition():
    _, _, spec = architecture("resnet18")
    assert list(spec.groups)[:5] == ["conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.conv2"]
    assert spec.sites["conv1"] == tuple(
        permutation.Site(node, dim=1, offset=0, size=64) for node in ("relu", "layer1_0_relu_1", "layer1_1_relu_1")
    )
    assert [site.node for site in spec.sites["layer1.0.conv1"]] == ["layer1_0_relu"]
    # Before the nonlinearities: what normalization returns and, on the stream, sums.
    assert [site.node for site in spec.pre_sites["conv1"]] == ["bn1", "add", "add_1"]
    assert [site.node for site in spec.pre_sites["layer1.0.conv1"]] == ["layer1_0_bn1"]
    writers = {axis.tensor for axis in spec.axes if axis.output and axis.segments[0].group == "layer2.0.conv2"}
    assert {tensor for tensor in writers if tensor.endswith("weight")} == {
        *("layer2.0.conv2.weight", "layer2.0.bn2.weight", "layer2.0.downsample.0.weight"),
        *("layer2.0.downsample.1.weight", "layer2.1.conv2.weight", "layer2.1.bn2.weight"),
    }
    assert {"layer2.0.bn2.bias", "layer2.0.bn2.running_mean", "layer2.0.bn2.running_var"} <= writers


def test_dense_blocks_have_slices_of_concatenated_activations():
    _, _, spec = architecture("densenet121")
    third = "features.denseblock1.denselayer3.conv2"  # behind 64 channels of the stem and 32 of each layer before
    later = [f"features_denseblock1_denselayer{layer}_relu1" for layer in (4, 5, 6)] + ["features_transition1_relu"]
    assert spec.sites[third] == tuple(permutation.Site(node, 1, 64 + 2 * 32, 32) for node in later)


def test_linear_bottlenecks_are_read_where_nothing_but_they_is_left():
    _, _, spec = architecture("mobilenet_v2")
    assert [site.node for site in spec.sites["features.1.conv.1"]] == ["features_1_conv_2"]  # batch normalization
    assert [site.node for site in spec.sites["features.2.conv.2"]] == ["add"]  # stage of two blocks, one addition
    hidden = [site.node for site in spec.sites["features.2.conv.0.0"]]
    assert hidden == ["features_2_conv_0_2", "features_2_conv_1_2"]  # ReLU6 before and after the depthwise convolution


def test_flattened_channels_are_repeated():
    _, _, spec = architecture("vgg11_bn")
    (axis,) = [axis for axis in spec.axes if (axis.tensor, axis.dim) == ("classifier.0.weight", 1)]
    assert axis == permutation.Axis(
        "classifier.0.weight", 1, (permutation.Segment("features.25", 512, repeat=4),), output=False
    )


def test_groups_of_auxiliary_heads_are_read_in_the_train_graph():
    _, _, spec = architecture("googlenet")
    heads = ["aux1.conv.conv", "aux1.fc1", "aux2.conv.conv", "aux2.fc1"]
    for sites in (spec.sites, spec.pre_sites):
        assert {group: len(places) for group, places in sites.items() if places[0].training} == dict.fromkeys(heads, 1)
        assert all(site.training == (group in heads) for group, places in sites.items() for site in places)
    assert list(spec.groups)[-4:] == heads
    (axis,) = [axis for axis in spec.axes if (axis.tensor, axis.dim) == ("aux1.fc1.weight", 1)]
    assert axis.segments == (permutation.Segment("aux1.conv.conv", 128, repeat=16),)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121", "mobilenet_v2"])
def test_captured_activations_follow_the_permutation(name):
    """At permuted weights, each site shows the old values gathered: slices, in-place ReLU and additions included."""
    network, example, spec = architecture(name)
    tensors = {name: tensor.double() for name, tensor in state(network).items()}
    drawn = permutation.random(spec, seeded(1))
    everywhere = [(group, site) for group, sites in spec.sites.items() for site in sites]
    for training in (False, True):
        sites = [(group, site) for group, site in everywhere if site.training == training]
        assert bool(sites) == (not training or name == "googlenet")
        captured = permutation.capture(network, [site.node for _, site in sites], example, training)
        with torch.no_grad():
            before, output = functional_call(captured, tensors, (example.double(),))
            after, same_output = functional_call(captured, permutation.apply(spec, drawn, tensors), (example.double(),))
            expected = functional_call(copy.deepcopy(network).eval(), tensors, (example.double(),))
        # In the train graph too, with the statistics of evaluation; there auxiliary logits follow.
        assert torch.equal(output[0] if isinstance(output, tuple) else output, expected)
        torch.testing.assert_close(same_output, output)
        for (group, site), old, new in zip(sites, before, after, strict=True):
            old, new = (value.narrow(site.dim, site.offset, site.size) for value in (old, new))
            torch.testing.assert_close(new, old.index_select(site.dim, drawn[group]))


# --- our own networks ---

# (groups, channels) at width 1/2 on images of 16 pixels.
FAMILIES = {
    "tinyten": ({}, 8, 2 * 8 + 3 * 16 + 3 * 32),  # eight convolutions
    "resnet20": ({}, 3 + 9, (8 + 16 + 32) * (1 + 3)),  # a stream a stage, a convolution inside each of nine blocks
    "resnet32": ({}, 3 + 15, (8 + 16 + 32) * (1 + 5)),
    "googlenet": (
        {},
        3 + 9 * 6 + 2 * 2,
        (64 + 64 + 192 + sum(map(sum, GOOGLENET_BLOCKS)) + 2 * (128 + 1024)) // 2,
    ),
    "vgg16": ({}, 13, 2 * 32 + 2 * 64 + 3 * 128 + 6 * 256),
    "mlp": ({"hidden": [24, 48]}, 2, 12 + 24),
}


@cache
def family(name, norm):
    network = networks.build(
        {"family": name, "norm": norm, "width": 0.5, **FAMILIES[name][0]},
        shape=(3, 16, 16),
        classes=10,
        mean=[0.4, 0.5, 0.6],
        std=[0.2, 0.3, 0.2],
    )
    example = torch.rand(2, 3, 16, 16, generator=seeded())
    return network, example, permutation.discover(network, example)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("name", FAMILIES)
def test_our_families_have_all_their_groups_and_they_are_proved(name, norm):
    network, example, spec = family(name, norm)
    assert (len(spec.groups), sum(spec.groups.values())) == FAMILIES[name][1:]
    proof = verify(network, spec, example, seeded())
    assert proof.invariance < 1e-5 and min(proof.reactions.values()) > 1e-2


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_logits_stay_within_float32_rounding(norm):
    network, example, spec = family("resnet20", norm)
    network = copy.deepcopy(network).eval()
    logits = network(example)
    network.load_state_dict(permutation.apply(spec, permutation.random(spec, seeded()), network.state_dict()))
    assert (network(example) - logits).abs().max() < 1e-5 * logits.abs().max()


def test_normalization_statistics_and_biases_move_with_their_channels():
    _, _, spec = family("tinyten", "batch")
    written = {axis.tensor for axis in spec.axes if axis.output and axis.segments[0].group == "network.layers.2.conv"}
    assert written == {
        f"network.layers.2.{tensor}"
        for tensor in ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    }
    read = [axis for axis in spec.axes if not axis.output and axis.segments[0].group == "network.layers.2.conv"]
    assert [(axis.tensor, axis.dim) for axis in read] == [("network.layers.3.conv.weight", 1)]


# --- permutations ---


def assert_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_permutations_form_a_group():
    network, _, spec = architecture("googlenet")
    tensors = network.state_dict()
    first, second = permutation.random(spec, seeded(1)), permutation.random(spec, seeded(2))
    once = permutation.apply(spec, first, tensors)
    assert_equal(permutation.apply(spec, permutation.invert(first), once), tensors)
    assert_equal(
        permutation.apply(spec, permutation.compose(first, second), tensors), permutation.apply(spec, second, once)
    )
    assert_equal(permutation.compose(first, permutation.invert(first)), permutation.identity(spec))
    assert_equal(permutation.apply(spec, permutation.identity(spec), tensors), tensors)
    assert_equal(permutation.random(spec, seeded(1)), first)
    assert {group: len(indices) for group, indices in first.items()} == spec.groups
    moved = {name for name in tensors if not torch.equal(once[name], tensors[name])}
    assert {"conv1.conv.weight", "aux2.fc2.weight", "inception5b.branch1.conv.weight"} <= moved


def test_apply_gathers():
    """w_new[i] = w[permutation[i]] on the rows of one layer and the columns of the next."""
    network, _, spec = family("mlp", "none")
    tensors = network.state_dict()
    drawn = permutation.random(spec, seeded())
    first, second = drawn["network.layers.0.linear"], drawn["network.layers.1.linear"]
    permuted = permutation.apply(spec, drawn, tensors)
    weight = "network.layers.1.linear.weight"
    assert torch.equal(permuted[weight], tensors[weight][second][:, first])
    assert torch.equal(permuted["network.dense.weight"], tensors["network.dense.weight"][:, second])
    assert permuted["network.dense.bias"] is tensors["network.dense.bias"]


def test_apply_takes_any_tensors_by_name():
    _, _, spec = family("mlp", "none")
    mask, other = torch.arange(24 * 12).view(24, 12), torch.zeros(3)
    drawn = permutation.random(spec, seeded())
    given = {"network.layers.1.linear.weight": mask, "mean": other}
    permuted = permutation.apply(spec, drawn, given)
    assert permuted.keys() == given.keys() and permuted["mean"] is other
    assert (
        permuted["network.layers.1.linear.weight"][0, 0]
        == mask[drawn["network.layers.1.linear"][0], drawn["network.layers.0.linear"][0]]
    )


@pytest.mark.parametrize(
    "indices", [None, torch.arange(11), torch.zeros(12, dtype=torch.int64), torch.arange(12.0), torch.arange(1, 13)]
)
def test_apply_refuses_what_is_no_permutation_of_a_group(indices):
    network, _, spec = family("mlp", "none")
    wrong = permutation.identity(spec) | {"network.layers.0.linear": indices}
    if indices is None:
        del wrong["network.layers.0.linear"]
    with pytest.raises(
        ValueError, match=r"group network\.layers\.0\.linear, tensor network\.layers\.0\.linear\.weight"
    ):
        permutation.apply(spec, wrong, network.state_dict())


def test_apply_refuses_tensors_of_another_network():
    network, _, spec = family("mlp", "none")
    tensors = network.state_dict()
    wider = tensors | {"network.dense.weight": torch.zeros(10, 25)}
    with pytest.raises(ValueError, match=r"network\.dense\.weight.*\(10, 25\).*axis 1.*24.*network\.layers\.1\.linear"):
        permutation.apply(spec, permutation.identity(spec), wider)
    unwrapped = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
    with pytest.raises(ValueError, match="another network"):
        permutation.apply(spec, permutation.identity(spec), unwrapped)


# --- what the walk understands, and what it pins ---


def net(forward, **modules):
    """A network of some modules and a forward function (modules, images) -> output."""

    class Net(nn.Module):
        def forward(self, images):
            return forward(self, images)

    network = Net()
    for name, module in modules.items():
        if isinstance(module, nn.Parameter | nn.Module):
            setattr(network, name, module)
        else:
            network.register_buffer(name, module)
    return network


def conv(inputs, outputs, **arguments):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **arguments)


linear = nn.functional.linear


def pooled(images):
    return images.mean((2, 3))


class Moved(nn.LayerNorm):
    """Normalizes the second axis."""

    def forward(self, images):
        return super().forward(images.transpose(1, -1)).transpose(1, -1)


class Shared(nn.Module):
    """One module under two names, called twice, and one weight in two modules."""

    def __init__(self):
        super().__init__()
        self.open, self.twice, self.other = conv(3, 6), conv(6, 6), conv(6, 6)
        self.again = self.twice
        self.other.weight = self.twice.weight
        self.dense = nn.Linear(6, 4)

    def forward(self, images):
        images = self.again(self.twice(self.open(images).relu()).relu()).relu()
        return self.dense(pooled(self.other(images).relu()))


RULES = {
    "chain": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu()).sigmoid())),
        {"a": conv(3, 6), "b": conv(6, 8), "dense": nn.Linear(8, 4)},
        {"a": 6, "b": 8},
    ),
    "one-dimensional convolution": (
        lambda m, x: m.dense(m.b(m.a(x.flatten(2)).relu()).flatten(1)),
        {"a": nn.Conv1d(3, 6, 3), "b": nn.Conv1d(6, 5, 3), "dense": nn.Linear(5 * 60, 4)},
        {"a": 6, "b": 5},
    ),
    "grouped convolution": (
        lambda m, x: m.dense(pooled(m.d(m.c(m.b(m.a(x).relu()).relu()).relu()).relu())),
        {"a": conv(3, 6), "b": conv(6, 6, groups=2), "c": conv(6, 8), "d": conv(8, 6), "dense": nn.Linear(6, 4)},
        {"a.blocks": 2, "a": 6, "b": 6, "c": 8, "d": 6},
    ),
    "depthwise convolution": (
        lambda m, x: m.dense(pooled(m.n(m.b(m.a(x).relu())).relu())),
        {"a": conv(3, 6), "b": conv(6, 6, groups=6), "n": nn.BatchNorm2d(6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "depthwise convolution with a multiplier": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu()).relu())),
        {"a": conv(3, 6), "b": conv(6, 12, groups=6), "dense": nn.Linear(12, 4)},
        {"a": 6, "b": 12},
    ),
    "depthwise convolution of the input": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu()).relu())),
        {"a": conv(3, 3, groups=3), "b": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"b": 6},
    ),
    "addition of the input": (
        lambda m, x: m.dense(pooled(m.b((m.a(x) + x).relu()).relu())),
        {"a": conv(3, 3), "b": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"b": 6},
    ),
    "addition in place": (
        lambda m, x: m.dense(pooled(m.a(x).relu_().add_(m.b(x)))),
        {"a": conv(3, 6), "b": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "squeeze and excitation": (
        lambda m, x: m.dense(
            pooled((y := m.a(x).relu()) * m.up(m.down(y.mean((2, 3), keepdim=True)).relu()).sigmoid())
        ),
        {"a": conv(3, 8), "down": nn.Conv2d(8, 4, 1), "up": nn.Conv2d(4, 8, 1), "dense": nn.Linear(8, 4)},
        {"a": 8, "down": 4},
    ),
    "spatial attention": (  # a mean over channels, and a factor that is the same for all channels
        lambda m, x: m.dense(pooled((y := m.a(x).relu()) * m.map(y.mean(1, keepdim=True)).sigmoid())),
        {"a": conv(3, 8), "map": conv(1, 1), "dense": nn.Linear(8, 4)},
        {"a": 8},
    ),
    "vector broadcast along another axis": (
        lambda m, x: m.dense(pooled(m.a(x).relu() * m.b(pooled(x)).relu().sum(0, keepdim=True))),
        {"a": nn.Conv2d(3, 8, 3), "b": nn.Linear(3, 6), "dense": nn.Linear(8, 4)},
        {},
    ),
    "concatenation and flatten": (
        lambda m, x: m.dense(torch.cat([m.a(x).relu(), x, m.b(x).relu()], 1).flatten(1)),
        {"a": conv(3, 6), "b": conv(3, 4), "dense": nn.Linear((6 + 3 + 4) * 64, 4)},
        {"a": 6, "b": 4},
    ),
    "concatenation along another axis": (
        lambda m, x: m.dense(pooled(torch.cat([m.a(x), m.b(x)], dim=2).relu())),
        {"a": conv(3, 6), "b": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "equal segmentations": (
        lambda m, x: m.dense(pooled(torch.cat([m.a(x), m.b(x)], 1) + torch.cat([m.c(x), x], 1))),
        {"a": conv(3, 6), "b": conv(3, 3), "c": conv(3, 6), "dense": nn.Linear(9, 4)},
        {"a": 6},
    ),
    "mismatched segmentations": (
        lambda m, x: m.dense(pooled(m.d((torch.cat([m.a(x), m.b(x)], 1) + m.c(x)).relu()).relu())),
        {"a": conv(3, 6), "b": conv(3, 2), "c": conv(3, 8), "d": conv(8, 5), "dense": nn.Linear(5, 4)},
        {"a": 6, "b": 2, "d": 5},
    ),
    "slices of channels": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu()[:, :4]).relu())),
        {"a": conv(3, 6), "b": conv(4, 5), "dense": nn.Linear(5, 4)},
        {"a[0:4]": 4, "b": 5},
    ),
    "an unknown function": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).cumsum(1)).relu())),
        {"a": conv(3, 6), "b": conv(6, 5), "dense": nn.Linear(5, 4)},
        {"b": 5},
    ),
    "an unknown module": (
        lambda m, x: m.dense(pooled(m.b(m.n(m.a(x))).relu())),
        {"a": conv(3, 6), "n": nn.LocalResponseNorm(3, alpha=1.0), "b": conv(6, 5), "dense": nn.Linear(5, 4)},
        {"b": 5},
    ),
    "a parameter used directly": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu() * m.scale).relu())),
        {"a": conv(3, 6), "scale": nn.Parameter(torch.rand(6, 1, 1)), "b": conv(6, 5), "dense": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "views of parameters, and functions of them": (
        lambda m, x: m.dense(
            pooled(m.a(x).relu() * m.scale.view(1, -1, 1, 1).sigmoid() + (1 + m.shift)[None, :, None, None])
        ),
        {
            "a": conv(3, 6),
            "scale": nn.Parameter(torch.rand(6)),
            "shift": nn.Parameter(torch.rand(6)),
            "dense": nn.Linear(6, 4),
        },
        {"a": 6},
    ),
    "a parameter for each channel and position": (
        lambda m, x: m.dense(pooled(m.a(x).relu() * m.scale + m.everywhere)),
        {
            "a": conv(3, 6),
            "scale": nn.Parameter(torch.rand(6, 8, 8)),
            "everywhere": nn.Parameter(torch.rand(8, 1)),
            "dense": nn.Linear(6, 4),
        },
        {"a": 6},
    ),
    "a parameter changed in an order": (
        lambda m, x: m.dense(pooled(m.a(x).relu()) * m.scale.cumsum(0)),
        {"a": conv(3, 6), "scale": nn.Parameter(torch.rand(6)), "dense": nn.Linear(6, 4)},
        {},
    ),
    "functional layers": (
        lambda m, x: m.dense(linear(linear(pooled(x), m.w, m.b).relu(), weight=m.v.t(), bias=None).relu()),
        {
            "w": nn.Parameter(torch.rand(6, 3)),
            "b": nn.Parameter(torch.rand(6)),
            "v": nn.Parameter(torch.rand(6, 5)),
            "dense": nn.Linear(5, 4),
        },
        {"w": 6, "v": 5},
    ),
    "products of matrices": (
        lambda m, x: m.dense((torch.matmul((x.flatten(2).mT @ m.w).relu(), m.v) + m.b).relu().mean(1)),
        {
            "w": nn.Parameter(torch.rand(3, 6)),
            "v": nn.Parameter(torch.rand(6, 5)),
            "b": nn.Parameter(torch.rand(5)),
            "dense": nn.Linear(5, 4),
        },
        {"w": 6, "v": 5},
    ),
    "einsum": (
        lambda m, x: m.dense(
            torch.einsum("...c,ck->...k", torch.einsum("nchw,kc->nhwk", x, m.w).relu(), m.v).relu().mean((1, 2))
        ),
        {"w": nn.Parameter(torch.rand(6, 3)), "v": nn.Parameter(torch.rand(6, 5)), "dense": nn.Linear(5, 4)},
        {"w": 6, "v": 5},
    ),
    "a layer's weight used again": (
        lambda m, x: m.dense(linear(m.a(pooled(x)).relu(), m.b.weight, m.b.bias).relu()),
        {"a": nn.Linear(3, 6), "b": nn.Linear(6, 5), "dense": nn.Linear(5, 4)},
        {"a": 6, "b.weight": 5},
    ),
    "a product with several matrices": (
        lambda m, x: m.dense(torch.einsum("nc,ck,kj->nj", m.a(pooled(x)).relu(), m.v, m.w).relu()),
        {
            "a": nn.Linear(3, 6),
            "v": nn.Parameter(torch.rand(6, 7)),
            "w": nn.Parameter(torch.rand(7, 5)),
            "dense": nn.Linear(5, 4),
        },
        {},
    ),
    "a matrix for each head": (
        lambda m, x: m.dense(torch.einsum("nc,hck->nhk", m.a(pooled(x)).relu(), m.w).relu().sum(1)),
        {"a": nn.Linear(3, 6), "w": nn.Parameter(torch.rand(2, 6, 5)), "dense": nn.Linear(5, 4)},
        {},
    ),
    "functional convolution and normalization": (
        lambda m, x: m.dense(
            nn.functional.layer_norm(
                pooled(nn.functional.conv2d(m.a(x).relu(), m.w, m.b, padding=1)), (5,), m.scale, m.shift
            ).relu()
        ),
        {
            "a": conv(3, 6),
            "w": nn.Parameter(torch.rand(5, 6, 3, 3)),
            "b": nn.Parameter(torch.rand(5)),
            "scale": nn.Parameter(torch.rand(5)),
            "shift": nn.Parameter(torch.rand(5)),
            "dense": nn.Linear(5, 4),
        },
        {"a": 6, "w": 5},
    ),
    "a shuffle and two halves": (
        lambda m, x: m.dense(pooled(torch.cat([m.b((y := m.s(m.a(x)).relu().chunk(2, 1))[0]).relu(), y[1]], 1))),
        {"a": conv(3, 8), "s": nn.ChannelShuffle(2), "b": conv(4, 5), "dense": nn.Linear(9, 4)},
        {"a[0:2]": 2, "a[2:4]": 2, "a[4:6]": 2, "a[6:8]": 2, "b": 5},
    ),
    "functional PReLU": (
        lambda m, x: m.dense(pooled(nn.functional.prelu(m.a(x), m.slope))),
        {"a": conv(3, 6), "slope": nn.Parameter(torch.rand(6)), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "a buffer used directly": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu() / (1 + m.scale)).relu())),
        {"a": conv(3, 6), "scale": torch.rand(6, 1, 1), "b": conv(6, 5), "dense": nn.Linear(5, 4)},
        {"b": 5},
    ),
    "parametrized layers": (  # their weights are computed from parameters of other names
        lambda m, x: m.dense(pooled(m.c(m.b(m.a(x).relu()).relu()).relu())),
        {
            "a": weight_norm(conv(3, 6)),
            "b": weight_norm(conv(6, 5), dim=1),
            "c": spectral_norm(conv(5, 7)),
            "dense": spectral_norm(nn.Linear(7, 4)),
        },
        {"a": 6, "b": 5, "c": 7},
    ),
    "a layer of orthogonal weights": (
        lambda m, x: m.dense(pooled(m.c(m.b(m.a(x).relu()).relu()).relu())),
        {"a": conv(3, 6), "b": orthogonal(nn.Conv2d(6, 5, 1)), "c": conv(5, 7), "dense": nn.Linear(7, 4)},
        {"c": 7},
    ),
    "group normalization": (
        lambda m, x: m.dense(pooled(m.two(m.b(m.one(m.a(x)).relu())).relu())),
        {
            "a": conv(3, 6),
            "one": nn.GroupNorm(1, 6),
            "b": conv(6, 8),
            "two": nn.GroupNorm(2, 8),
            "dense": nn.Linear(8, 4),
        },
        {"a": 6, "b.blocks": 2, "b": 8},
    ),
    "PReLU and instance normalization": (
        lambda m, x: m.dense(pooled(m.q(m.b(m.p(m.a(x))).relu()) ** 2)),
        {
            "a": conv(3, 6),
            "p": nn.PReLU(6),
            "b": conv(6, 5),
            "q": nn.InstanceNorm2d(5, affine=True),
            "dense": nn.Linear(5, 4),
        },
        {"a": 6, "b": 5},
    ),
    "layer normalization of an axis that a subclass moves": (  # 8 channels of 8x8: sizes alone do not tell the axis
        lambda m, x: m.dense(pooled(m.n(m.a(x)).relu())),
        {"a": conv(3, 8), "n": Moved(8), "dense": nn.Linear(8, 4)},
        {"a": 8},
    ),
    "layer normalization of another axis": (
        lambda m, x: m.dense(pooled(m.n(m.a(x)).relu())),
        {"a": conv(3, 8), "n": nn.LayerNorm(8), "dense": nn.Linear(8, 4)},
        {},
    ),
    "layer normalization of whole images": (
        lambda m, x: m.dense(pooled(m.n(m.a(x)).relu())),
        {"a": conv(3, 6), "n": nn.LayerNorm([6, 8, 8]), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "channels moved to the end": (
        lambda m, x: m.dense(m.n(m.b(m.a(x).permute(0, 2, 3, 1)).relu()).mean((1, 2))),
        {"a": conv(3, 6), "b": nn.Linear(6, 5), "n": nn.LayerNorm(5), "dense": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "view by computed sizes": (
        lambda m, x: m.dense((y := m.a(x).relu()).view(y.size(0), -1)),
        {"a": conv(3, 6), "dense": nn.Linear(6 * 64, 4)},
        {"a": 6},
    ),
    "channels split by a view": (
        lambda m, x: m.dense(m.a(x).relu().view(-1, 2, 3 * 64).sum(1)),
        {"a": conv(3, 6), "dense": nn.Linear(3 * 64, 4)},
        {},
    ),
    "strided slices of positions": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu()[:, :, ::2, ::2]).relu())),
        {"a": conv(3, 6), "b": conv(6, 5), "dense": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "an ellipsis and a new axis": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu()[..., 1:, :][:, None].squeeze(1)).relu())),
        {"a": conv(3, 6), "b": conv(6, 5), "dense": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "one position": (
        lambda m, x: m.dense(m.a(x.flatten(2).mT).relu()[:, 0]),
        {"a": nn.Linear(3, 6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "one channel": (
        lambda m, x: m.dense(m.a(x).relu()[:, 0].flatten(1)),
        {"a": conv(3, 6), "dense": nn.Linear(64, 4)},
        {},
    ),
    "channels in an order of their own": (
        lambda m, x: m.dense(pooled(m.a(x).relu()[:, [1, 0, 2, 3, 4, 5]])),
        {"a": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "concatenation by keyword": (
        lambda m, x: m.dense(pooled(torch.cat(tensors=[m.a(x).relu(), m.b(x).relu()], dim=1))),
        {"a": conv(3, 6), "b": conv(3, 8), "dense": nn.Linear(14, 4)},
        {"a": 6, "b": 8},
    ),
    "a stack that is summed": (
        lambda m, x: m.dense(pooled(torch.stack([m.a(x).relu(), m.b(x).relu()]).sum(0))),
        {"a": conv(3, 6), "b": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "a stack along a last axis": (
        lambda m, x: m.dense(pooled(torch.stack(tensors=[m.a(x).relu(), m.b(x).relu()], dim=-1).amax(-1))),
        {"a": conv(3, 6), "b": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "resizing and padding": (
        lambda m, x: m.dense(pooled(m.b(nn.functional.pad(m.up(m.a(x).relu()), (1, 0, 1, 0))).relu())),
        {"a": conv(3, 6), "up": nn.Upsample(scale_factor=2), "b": conv(6, 5), "dense": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "padding of channels": (
        lambda m, x: m.dense(pooled(m.b(nn.functional.pad(m.a(x), (0, 0, 0, 0, 1, 0))).relu())),
        {"a": conv(3, 6), "b": conv(7, 5), "dense": nn.Linear(5, 4)},
        {"b": 5},
    ),
    "pooling of the channels": (  # a sequence axis and a channel axis change places
        lambda m, x: m.dense(nn.functional.max_pool1d(m.a(x).relu().flatten(2).transpose(1, 2), 2).mean(1)),
        {"a": conv(3, 6), "dense": nn.Linear(3, 4)},
        {},
    ),
    "functional dropout": (
        lambda m, x: m.dense(nn.functional.dropout(pooled(m.a(x).relu()), 0.5, m.training)),
        {"a": conv(3, 6), "dense": nn.Linear(6, 4)},
        {"a": 6},
    ),
    "a group of one": (
        lambda m, x: m.dense(pooled(m.b(m.a(x).relu()).relu())),
        {"a": conv(3, 1), "b": conv(1, 5), "dense": nn.Linear(5, 4)},
        {"b": 5},
    ),
    "a branch of train mode": (
        lambda m, x: (
            (m.dense(pooled(y := m.a(x).relu())), m.head(pooled(m.b(y))))
            if m.training
            else m.dense(pooled(m.a(x).relu()))
        ),
        {"a": conv(3, 6), "dense": nn.Linear(6, 4), "b": conv(6, 5), "head": nn.Linear(5, 4)},
        {"a": 6, "b": 5},
    ),
    "a constraint of train mode alone": (  # the flip only exists there, and pins
        lambda m, x: m.dense(pooled(m.a(x).relu() + (m.a(x).flip(1) if m.training else 0))),
        {"a": conv(3, 6), "dense": nn.Linear(6, 4)},
        {},
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule):
    forward, modules, groups = RULES[rule]
    network, example = net(forward, **modules), torch.rand(2, 3, 8, 8, generator=seeded())
    spec = permutation.discover(network, example)
    assert spec.groups == groups
    verify(network, spec, example, seeded())


def test_concatenation_and_flatten_give_segments_with_repeats():
    forward, modules, _ = RULES["concatenation and flatten"]
    spec = permutation.discover(net(forward, **modules), torch.rand(2, 3, 8, 8))
    (axis,) = [axis for axis in spec.axes if not axis.output]
    segments = tuple(permutation.Segment(group, size, 64) for group, size in (("a", 6), (None, 3), ("b", 4)))
    assert axis == permutation.Axis("dense.weight", 1, segments, output=False)


def test_shared_modules_and_weights_have_one_group_under_all_names():
    network, example = Shared(), torch.rand(2, 3, 8, 8)
    spec = permutation.discover(network, example)
    assert spec.groups == {"open": 6}
    verify(network, spec, example, seeded())
    carrying = {(axis.tensor, axis.dim) for axis in spec.axes}
    assert {(f"{name}.weight", dim) for name in ("twice", "again", "other") for dim in (0, 1)} <= carrying
    permuted = permutation.apply(spec, permutation.random(spec, seeded()), network.state_dict())
    logits = network(example)
    network.load_state_dict(permuted)  # holds the shared weight three times: must agree
    assert torch.equal(permuted["twice.weight"], permuted["again.weight"])
    torch.testing.assert_close(network(example), logits)


# --- errors ---


def test_an_untraceable_network_is_one_line_with_the_modules_name():
    class Branch(nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    network = nn.Sequential(conv(3, 6), nn.Sequential(nn.ReLU(), Branch()))
    with pytest.raises(
        ValueError, match=r"^1\.1 \(Branch\): torch\.fx cannot trace .* eval mode: .*control flow"
    ) as error:
        permutation.discover(network, torch.rand(2, 3, 8, 8))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"^Branch: "):
        permutation.discover(Branch(), torch.rand(2, 3, 8, 8))


def test_a_parameter_that_is_never_used_is_named():
    network = net(lambda m, x: m.dense(pooled(m.a(x))), a=conv(3, 6), dense=nn.Linear(6, 4), idle=nn.Linear(6, 4))
    with pytest.raises(ValueError, match=r"Net: parameter idle\.weight takes no part"):
        permutation.discover(network, torch.rand(2, 3, 8, 8))


def test_an_example_that_does_not_fit_is_told():
    network, *_ = family("tinyten", "batch")
    with pytest.raises(ValueError, match=r"Normalized does not run on an example of shape \(2, 4, 16, 16\): .*size"):
        permutation.discover(network, torch.rand(2, 4, 16, 16))


def test_capture_refuses_unknown_nodes():
    network, example, _ = family("tinyten", "batch")
    for training, mode in ((False, "eval"), (True, "train")):
        with pytest.raises(ValueError, match=f"Normalized has no node nowhere in its graph in {mode} mode"):
            permutation.capture(network, ["network_layers_0_relu", "nowhere"], example, training)


# --- what is pinned, and how much is free ---

# Rule -> what is pinned and a word of the reason.
PINNED = {
    "chain": {},
    "addition of the input": {"a": "add (node add) ties it to pinned channels"},
    "grouped convolution": {},
    "mismatched segmentations": {},
    "slices of channels": {"a[4:6]": "nothing reads this part"},
    "an unknown function": {"a": "cumsum (node cumsum) is not understood"},
    "an unknown module": {"a": "LocalResponseNorm n is not understood"},
    "a parameter used directly": {},
    "a buffer used directly": {"a": "truediv (node truediv) ties it"},
    "a parameter changed in an order": {
        "a": "mul (node mul) ties it",
        "scale": "a tensor without a layer, used by cumsum (node cumsum)",
    },
    "a matrix for each head": {
        "a": "einsum (node einsum) is not understood",
        "w": "a tensor without a layer, used by einsum (node einsum)",
    },
    "padding of channels": {"a": "pad (node pad) is not understood"},
    "layer normalization of another axis": dict.fromkeys(("a", "n.weight", "n.bias"), "LayerNorm normalizes another"),
    "a constraint of train mode alone": {"a": "add (node add) ties it to pinned channels"},
}


@pytest.mark.parametrize("rule", PINNED)
def test_what_is_pinned_is_said(rule):
    forward, modules, _ = RULES[rule]
    spec = permutation.discover(net(forward, **modules), torch.rand(2, 3, 8, 8))
    assert spec.pinned.keys() == PINNED[rule].keys()
    assert all(word in spec.pinned[name] for name, word in PINNED[rule].items())


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("name", FAMILIES)
def test_of_our_families_nothing_is_pinned(name, norm):
    assert family(name, norm)[2].pinned == {}


def test_freedom_counts_the_parameters_that_move():
    network = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4))
    spec = permutation.discover(network, torch.rand(2, 3))
    assert permutation.freedom(spec, network) == 1 - 4 / (3 * 6 + 6 + 6 * 4 + 4)  # all but the last bias
    pinned = permutation.pin(spec, ["0"], "a reason")
    assert permutation.freedom(pinned, network) == 0
    assert (pinned.groups, pinned.axes, pinned.pinned) == ({}, (), {"0": "a reason"})
    forward, modules, _ = RULES["concatenation and flatten"]
    network = net(forward, **modules)
    spec = permutation.discover(network, torch.rand(2, 3, 8, 8))
    kept = 4 * 3 * 64 + 4  # of 13 channels that the last layer reads three are the images'
    total = sum(parameter.numel() for parameter in network.parameters())
    assert permutation.freedom(spec, network) == pytest.approx(1 - kept / total)


def test_prove_pins_what_no_output_feels_and_says_so():
    network = net(
        lambda m, x: m.dense(pooled(m.a(x).relu())) + 1e-9 * m.dead(pooled(m.b(x).relu())),
        a=conv(3, 6),
        b=conv(3, 9),
        dense=nn.Linear(6, 4),
        dead=nn.Linear(9, 4),
    )
    example = torch.rand(2, 3, 8, 8)
    spec, proof = prove(network, permutation.discover(network, example), example, seeded())
    assert spec.groups == {"a": 6} and spec.sites.keys() == {"a"} and proof.reactions.keys() == {"a", "b"}
    assert "no output reacts" in spec.pinned["b"]
    assert {axis.tensor for axis in spec.axes} == {"a.weight", "a.bias", "dense.weight"}
    warning, line = report(spec, network).splitlines()
    assert warning == (
        "WARNING: only 1 groups of neurons may be permuted, 6 of 15 hidden channels, with 39.3% of the parameters"
    )
    assert line.startswith("  pinned: b (no output reacts")


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: pooled(x) @ m.w, "it has no hidden layer"),
        (lambda m, x: linear(pooled(x), m.w.flip(0).T), "w (a tensor without a layer, used by flip"),
        (
            lambda m, x: torch.einsum("nc,ck,k->nk", pooled(x), m.w, m.w[0]),
            "w (a tensor without a layer, used by getitem",
        ),
        (lambda m, x: (pooled(x) * m.w.cumsum(1)[:, 0]).repeat(1, 2), "w (a tensor without a layer, used by cumsum"),
    ],
)
def test_a_network_without_any_group_is_an_error_with_the_reasons(forward, reason, one_line):
    network, example = net(forward, w=nn.Parameter(torch.rand(3, 4))), torch.rand(2, 3, 8, 8)
    with one_line(ValueError, "Net has no neurons that may be permuted: ", reason):
        prove(network, permutation.discover(network, example), example, seeded())


@pytest.mark.parametrize("rule", ["views of parameters, and functions of them", "functional layers", "einsum"])
def test_known_permutations_of_own_parameters_are_recovered_and_change_no_logits(rule):
    forward, modules, _ = RULES[rule]
    network, example = net(forward, **modules), torch.rand(2, 3, 8, 8, generator=seeded())
    spec = permutation.discover(network, example)
    tensors = dict(network.named_parameters())
    permuted = permutation.apply(spec, permutation.random(spec, seeded(1)), tensors)
    assert not any(torch.equal(permuted[name], tensors[name]) for name in modules if name in tensors)
    torch.testing.assert_close(functional_call(network, permuted, (example,)), network(example))
    assert_equal(permutation.apply(spec, match_weights(spec, tensors, permuted, list(tensors)), permuted), tensors)


class Encoder(nn.Module):
    """A sequence model as people write it: the positions of an image are its tokens."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, batch_first=True)
        self.embed, self.encoder, self.dense = nn.Linear(3, 16), nn.TransformerEncoder(layer, 1), nn.Linear(16, 4)

    def forward(self, images):
        return self.dense(self.encoder(self.embed(images.flatten(2).mT)).mean(1))


def recurrent():
    class Last(nn.Module):
        """The state after the last position."""

        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(5, 6, batch_first=True)

        def forward(self, values):
            return self.lstm(values)[0][:, -1]

    return nn.Sequential(nn.Flatten(2), nn.Linear(64, 5), Last(), nn.Linear(6, 4))


def rotations():
    layers = [orthogonal(nn.Linear(*sizes)) for sizes in ((3, 8), (8, 4))]
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), layers[0], nn.ReLU(), layers[1])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (rotations, ["2.parametrizations.weight.original (ParametrizedLinear 2 is not understood"]),
        (recurrent, ["1, 2.lstm.weight_ih_l0", "(LSTM 2.lstm is not understood: test_permutation.py, line "]),
    ],
)
def test_modules_that_no_rule_knows_leave_no_group_and_are_named(build, words, one_line):
    network, example = build(), torch.rand(2, 3, 8, 8)
    with one_line(ValueError, "has no neurons that may be permuted: ", *words):
        prove(network, permutation.discover(network, example), example, seeded())


def test_a_network_of_two_inputs_is_refused_in_one_line(one_line):
    class Two(nn.Linear):
        def forward(self, images, others):
            return super().forward(images + others)

    with one_line(ValueError, "Two takes images, others: a network here takes images alone"):
        permutation.discover(Two(3, 4), torch.rand(2, 3))


def test_rounding_does_not_grow_in_a_network_of_many_residual_blocks():
    network = torchvision.models.efficientnet_v2_s().eval()
    example = torch.rand(2, 3, 64, 64)
    spec = permutation.discover(network, example)
    spec = permutation.pin(spec, list(spec.groups)[2:], "for speed")
    assert verify(network, spec, example, seeded(2)).invariance < 1e-8


def test_an_embedding_is_proved_on_integers():
    network = nn.Sequential(nn.Embedding(20, 8), nn.Flatten(), nn.Linear(40, 12), nn.ReLU(), nn.Linear(12, 4))
    example = torch.randint(0, 20, (2, 5))
    spec, _ = prove(network, permutation.discover(network, example), example, seeded())
    assert spec.groups == {"0": 8, "2": 12} and spec.pinned == {}


def test_attention_by_weights_without_layers_does_not_hide_the_layers_beside_it():
    """torchvision's swin_v2, smaller: weights as initialized are lost behind biases that are drawn anew."""
    network = SwinTransformer(
        patch_size=[4, 4],
        embed_dim=24,
        depths=[2],
        num_heads=[2],
        window_size=[8, 8],
        num_classes=10,
        block=SwinTransformerBlockV2,
    )
    example = torch.rand(2, 3, 32, 32)
    spec = permutation.discover(network, example)
    layers = ("attn.cpb_mlp.0", "attn.cpb_mlp.2", "attn.qkv.weight[0:24]", "attn.qkv.weight[48:72]", "mlp.0")
    assert spec.groups.keys() == {"features.0.0", *(f"features.1.{b}.{layer}" for b in range(2) for layer in layers)}
    verify(network, spec, example, seeded())  # raises where one does not react


# --- verify can fail ---


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_verify_catches_each_axis_that_is_forgotten(norm):
    network, example, spec = family("tinyten", norm)
    assert len(spec.axes) == 8 * (3 + {"batch": 4, "layer": 2}[norm])  # weight, bias and the next weight; normalization
    for forgotten in spec.axes:
        axes = tuple(axis for axis in spec.axes if axis != forgotten)
        with pytest.raises(ValueError, match=r"^Normalized: the permutation spec is wrong"):
            verify(network, replace(spec, axes=axes), example, seeded())


def test_verify_names_the_group_that_is_wrong():
    network, example, spec = family("resnet20", "batch")
    wrong = next(axis for axis in spec.axes if axis.tensor == "network.stages.1.1.first.norm.running_var")
    axes = tuple(axis for axis in spec.axes if axis != wrong)
    with pytest.raises(ValueError, match=r"wrong: .* group network\.stages\.1\.1\.first\.conv$"):
        verify(network, replace(spec, axes=axes), example, seeded())


def test_verify_catches_an_auxiliary_head_that_is_forgotten():
    network, example, spec = architecture("googlenet")
    axes = tuple(axis for axis in spec.axes if (axis.tensor, axis.dim) != ("aux2.fc1.weight", 1))
    with pytest.raises(ValueError, match=r"GoogLeNet: the permutation spec is wrong: .* group aux2\.conv\.conv$"):
        verify(network, replace(spec, axes=axes), example, seeded())


def test_verify_catches_groups_that_should_be_tied():
    forward, modules, _ = RULES["addition in place"]
    network, example = net(forward, **modules), torch.rand(2, 3, 8, 8)
    spec = permutation.discover(network, example)
    untied = tuple(
        replace(axis, segments=(permutation.Segment("b", 6),)) if axis.tensor.startswith("b.") else axis
        for axis in spec.axes
    )
    spec = replace(spec, groups={"a": 6, "b": 6}, axes=untied)
    with pytest.raises(ValueError, match="Net: the permutation spec is wrong"):
        verify(network, spec, example, seeded())


def test_verify_does_not_call_valid_what_no_output_feels():
    network = net(
        lambda m, x: m.dense(pooled(m.a(x).relu())) + 1e-9 * m.dead(pooled(m.b(x).relu())),
        a=conv(3, 6),
        b=conv(3, 5),
        dense=nn.Linear(6, 4),
        dead=nn.Linear(5, 4),
    )
    example = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"^Net: the permutation spec cannot be verified: no output reacts to b$"):
        verify(network, permutation.discover(network, example), example, seeded())


def test_verify_does_not_depend_on_weights_that_hide_mistakes():
    """Zero layers and zero biases, as some initializations have them: every axis would pass, or none would react."""
    network, example, spec = family("tinyten", "batch")
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    proof = verify(network, spec, example, seeded())
    assert min(proof.reactions.values()) > 1e-2


# --- the caller's network ---


def test_the_network_and_the_random_state_are_left_as_they_were():
    network, example, _ = family("resnet20", "batch")
    network = copy.deepcopy(network).train()
    network.network.stem.norm.eval()  # one frozen layer: modes are per module
    network.network.dense.weight.requires_grad_(False)
    tensors = state(network)
    values = {name: tensor.clone() for name, tensor in tensors.items()}
    modes = [module.training for module in network.modules()]
    attributes = [set(module.__dict__) for module in network.modules()]
    random_state = torch.get_rng_state()

    spec = permutation.discover(network, example)
    permutation.capture(network, ["network_stem_relu"], example)(example)
    verify(network, spec, example, seeded())

    assert all(tensor is tensors[name] for name, tensor in state(network).items())
    assert_equal(state(network), values)
    assert [module.training for module in network.modules()] == modes
    assert [set(module.__dict__) for module in network.modules()] == attributes
    assert not network.network.dense.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)


def test_verify_is_a_function_of_its_generator():
    network, example, spec = family("mlp", "batch")
    proofs = [verify(network, spec, example, seeded(seed)) for seed in (1, 1, 2)]
    assert proofs[0] == proofs[1] != proofs[2]


# --- capture ---


def test_captured_values_are_safe_from_operations_in_place():
    network = net(
        lambda m, x: m.dense(pooled(m.relu(m.a(x)).add_(1).mul_(2))),
        a=conv(3, 6),
        relu=nn.ReLU(inplace=True),
        dense=nn.Linear(6, 4),
    )
    images = torch.rand(2, 3, 8, 8)
    (convolved, rectified, added), output = permutation.capture(network, ["a", "relu", "add_"], images)(images)
    assert torch.equal(convolved, network.a(images))
    assert torch.equal(rectified, network.a(images).relu())
    assert torch.equal(added, network.a(images).relu() + 1)
    assert torch.equal(output, network(images))


def test_only_values_that_are_overwritten_are_copied():
    """A view shares its memory: what is done to it in place is done to the value before."""

    def forward(m, x):
        rectified = m.relu(m.a(x))
        return m.dense(pooled(rectified.view(rectified.shape).mul_(2)))

    network = net(forward, a=conv(3, 6), relu=nn.ReLU(), dense=nn.Linear(6, 4))
    images = torch.rand(2, 3, 8, 8)
    captured = permutation.capture(network, ["a", "relu", "mul_"], images)
    assert [node.args[0].name for node in captured.graph.nodes if node.target == "clone"] == ["relu"]
    (convolved, rectified, doubled), _ = captured(images)
    assert torch.equal(rectified, network.a(images).relu())
    assert torch.equal(doubled, 2 * rectified) and torch.equal(convolved, network.a(images))


def test_captured_network_shares_parameters_and_buffers():
    network, example, _ = family("tinyten", "batch")
    network = copy.deepcopy(network).eval()
    captured = permutation.capture(network, [], example)
    with torch.no_grad():
        network.network.layers[0].conv.weight.mul_(2)
        network.network.layers[0].norm.running_mean.add_(0.5)
        assert torch.equal(captured(example)[1], network(example))
        network.mean.add_(0.3)
        assert torch.equal(captured(example)[1], network(example))


def test_captured_network_takes_all_names_of_the_network():
    network, example, _ = family("tinyten", "batch")
    captured = permutation.capture(network, ["network_layers_0_relu"], example)
    assert captured.state_dict().keys() == network.state_dict().keys()
    other = {name: tensor + 0.1 for name, tensor in state(network).items()}
    expected = functional_call(copy.deepcopy(network).eval(), other, (example,))
    assert torch.equal(functional_call(captured, other, (example,))[1], expected)


def test_captured_network_takes_names_that_its_graph_does_not_use():
    network, example, _ = architecture("googlenet")
    _, logits = functional_call(permutation.capture(network, ["relu"], example), state(network), (example,))
    assert logits.shape == (2, 1000)
