"""Networks: their sizes are those of the papers, their seeds reproducible, their normalization inside."""

import pytest
import torch
from torch import nn

from modeconn import dispatch, networks
from modeconn.networks import layers, tinyten

COLOUR = {"shape": (3, 32, 32), "classes": 10, "mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.243, 0.261]}
GREY = {"shape": (1, 16, 16), "classes": 10, "mean": [0.3], "std": [0.4]}


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("family", "count"),
    [
        ("tinyten", 86_778),  # 0.09 M, Tatro et al. 2020
        ("resnet20", 272_474),  # 0.27 M, He et al. 2016
        ("resnet32", 466_906),  # 0.47 M, Tatro et al. 2020
    ],
)
def test_families_have_the_published_number_of_parameters(family, count):
    assert parameters(networks.build({"family": family}, **COLOUR)) == count


def test_an_mlp_has_the_layers_it_is_told():
    network = networks.build({"family": "mlp", "hidden": [20, 30], "width": 2}, **GREY)
    shapes = [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(40, 256), (60, 40), (10, 60)]


@pytest.mark.parametrize(
    ("family", "channels"),
    [
        ("tinyten", [8, 8, 16, 16, 16, 32, 32, 32]),
        ("resnet20", [8] * 7 + [16] * 2 + [16] * 5 + [32] * 2 + [32] * 5),
    ],
)
def test_width_scales_every_convolution(family, channels):
    network = networks.build({"family": family, "width": 0.5}, **COLOUR)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert sorted(layer.out_channels for layer in convolutions) == sorted(channels)


@pytest.mark.parametrize("family", ["tinyten", "resnet20", "mlp"])
@pytest.mark.parametrize(("norm", "kinds"), [("batch", nn.modules.batchnorm._BatchNorm), ("layer", nn.LayerNorm)])
def test_the_norm_is_the_one_asked_for(family, norm, kinds):
    every = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)
    found = [m for m in networks.build({"family": family, "norm": norm}, **GREY).modules() if isinstance(m, every)]
    assert found
    assert all(isinstance(layer, kinds) for layer in found)
    without = networks.build({"family": family, "norm": "none"}, **GREY)
    assert not any(isinstance(layer, every) for layer in without.modules())


@pytest.mark.parametrize("family", dispatch.FAMILIES)
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_every_family_classifies(family, norm):
    network = networks.build({"family": family, "norm": norm}, **GREY)
    logits = network(torch.rand(4, 1, 16, 16))
    assert logits.shape == (4, 10)
    assert logits.isfinite().all()
    assert logits.std(0).min() > 0


def test_tinyten_halves_the_image_twice_and_does_not_pad_at_the_end():
    network = networks.build({"family": "tinyten"}, **COLOUR).network
    sizes, images = [], torch.rand(1, 3, 32, 32)
    for layer in network.layers:
        images = layer(images)
        sizes.append(images.shape[-1])
    assert sizes == [32, 32, 16, 16, 16, 8, 6, 6]


def test_channel_norm_is_layer_norm_over_the_channels():
    norm = layers.ChannelNorm(5)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 6))
        norm.bias.copy_(torch.arange(5.0))
    images = torch.randn(3, 5, 4, 6)
    mean = images.mean(1, keepdim=True)
    variance = ((images - mean) ** 2).mean(1, keepdim=True)
    expected = (images - mean) / (variance + norm.eps) ** 0.5 * norm.weight.view(5, 1, 1) + norm.bias.view(5, 1, 1)
    torch.testing.assert_close(norm(images), expected)


def test_normalization_inside_equals_normalization_outside():
    network = networks.build({"family": "tinyten"}, **COLOUR).eval()
    images = torch.rand(4, 3, 32, 32)
    outside = images.clone()
    for channel in range(3):
        outside[:, channel] = (images[:, channel] - COLOUR["mean"][channel]) / COLOUR["std"][channel]
    torch.testing.assert_close(network(images), network.network(outside))


def test_the_state_is_that_of_the_network_alone():
    network = networks.build({"family": "resnet20"}, **COLOUR)
    assert list(network.state_dict()) == [f"network.{name}" for name in network.network.state_dict()]


@pytest.mark.parametrize("family", dispatch.FAMILIES)
def test_the_seed_decides_the_weights_and_nothing_else(family):
    def built(seed):
        return networks.build({"family": family}, **GREY, seed=seed).state_dict()

    torch.manual_seed(0)
    untouched = torch.rand(3)
    torch.manual_seed(0)
    first = built(7)
    assert torch.equal(torch.rand(3), untouched)
    again, other = built(7), built(8)
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = [name for name in first if name.endswith(("conv.weight", "linear.weight", "dense.weight"))]
    assert weights
    assert not any(torch.equal(first[name], other[name]) for name in weights)


def test_images_that_are_too_small_are_refused(one_line):
    with one_line(ValueError, "tinyten", "11x16", "12x12"):
        networks.build({"family": "tinyten"}, **{**GREY, "shape": (1, 11, 16)})


def test_the_least_size_is_enough():
    size = tinyten.TinyTen.LEAST_SIZE
    network = networks.build({"family": "tinyten"}, **{**GREY, "shape": (1, size, size)})
    assert network(torch.rand(2, 1, size, size)).isfinite().all()


def test_a_width_that_leaves_no_channel_is_refused(one_line):
    with one_line(ValueError, "width", "0.01"):
        networks.build({"family": "tinyten", "width": 0.01}, **GREY)


def test_a_network_of_a_data_set_fits_its_images(tiny_dataset):
    network = networks.of({"family": "mlp"}, tiny_dataset, seed=1)
    assert network(tiny_dataset.example(4)).shape == (4, 3)
    assert (network.mean.flatten().tolist(), network.std.flatten().tolist()) == (
        pytest.approx(tiny_dataset.mean),
        pytest.approx(tiny_dataset.std),
    )
