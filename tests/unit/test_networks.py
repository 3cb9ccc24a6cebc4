"""Networks: their sizes are those of the papers, their seeds reproducible, their normalization inside."""

from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn

from modeconn import dispatch, networks
from modeconn.networks import googlenet, layers, tinyten, vgg

COLOUR = {"shape": (3, 32, 32), "classes": 10, "mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.243, 0.261]}
GREY = {"shape": (1, 16, 16), "classes": 10, "mean": [0.3], "std": [0.4]}
VGG = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
RESNET18 = {"family": "torchvision", "model": "resnet18"}
OURS = [family for family in dispatch.FAMILIES if family not in ("torchvision", "file")]


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("family", "classes", "count"),
    [
        ("tinyten", 10, 86_778),  # 0.09 M, Tatro et al. 2020
        ("resnet20", 10, 272_474),  # 0.27 M, He et al. 2016
        ("resnet32", 10, 466_906),  # 0.47 M, Tatro et al. 2020
        ("googlenet", 100, 10_237_388),  # 10.24 M, Tatro et al. 2020, whose count is that for 100 classes
        ("googlenet", 10, 10_237_388 - 90 * 3 * 1025),  # three classifiers of 1,024 inputs
        # 13 convolutions with bias and normalization, one linear layer.
        ("vgg16", 10, sum(9 * i * o + 3 * o for i, o in pairwise(VGG)) + 512 * 10 + 10),
    ],
)
def test_families_have_the_published_number_of_parameters(family, classes, count):
    assert parameters(networks.build({"family": family}, **{**COLOUR, "classes": classes})) == count


def test_an_mlp_has_the_layers_it_is_told():
    network = networks.build({"family": "mlp", "hidden": [20, 30], "width": 2}, **GREY)
    shapes = [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(40, 256), (60, 40), (10, 60)]


@pytest.mark.parametrize(
    ("family", "channels"),
    [
        ("tinyten", [8, 8, 16, 16, 16, 32, 32, 32]),
        ("resnet20", [8] * 7 + [16] * 2 + [16] * 5 + [32] * 2 + [32] * 5),
        ("vgg16", [count // 2 for count in VGG[1:]]),
        (
            "googlenet",
            [32, 32, 96, 64, 64, *(count // 2 for block in googlenet.BLOCKS.values() for count in block)],
        ),
    ],
)
def test_width_scales_every_convolution(family, channels):
    network = networks.build({"family": family, "width": 0.5}, **COLOUR)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert sorted(layer.out_channels for layer in convolutions) == sorted(channels)


@pytest.mark.parametrize("family", ["tinyten", "resnet20", "googlenet", "vgg16", "mlp"])
@pytest.mark.parametrize(("norm", "kinds"), [("batch", nn.modules.batchnorm._BatchNorm), ("layer", nn.LayerNorm)])
def test_the_norm_is_the_one_asked_for(family, norm, kinds):
    every = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)
    found = [m for m in networks.build({"family": family, "norm": norm}, **GREY).modules() if isinstance(m, every)]
    assert found
    assert all(isinstance(layer, kinds) for layer in found)
    without = networks.build({"family": family, "norm": "none"}, **GREY)
    assert not any(isinstance(layer, every) for layer in without.modules())


@pytest.mark.parametrize("family", OURS)
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_every_family_classifies(family, norm):
    network = networks.build({"family": family, "norm": norm}, **GREY)
    outputs = network(torch.rand(4, 1, 16, 16))
    assert isinstance(outputs, tuple) == (family == "googlenet")
    for logits in outputs if isinstance(outputs, tuple) else (outputs,):
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


@pytest.mark.parametrize("network", [*({"family": family} for family in OURS), RESNET18], ids=str)
def test_the_seed_decides_the_weights_and_nothing_else(network):
    def built(seed):
        return networks.build(network, **GREY, seed=seed).state_dict()

    torch.manual_seed(0)
    untouched = torch.rand(3)
    torch.manual_seed(0)
    first = built(7)
    assert torch.equal(torch.rand(3), untouched)
    again, other = built(7), built(8)
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = [name for name, tensor in first.items() if tensor.ndim > 1]
    assert weights
    assert not any(torch.equal(first[name], other[name]) for name in weights)


@pytest.mark.parametrize("family", ["mlp", "tinyten"])
@pytest.mark.parametrize("kind", ["kaiming_normal", "kaiming_uniform"])
def test_an_initialization_draws_weights_of_the_variance_of_he_et_al(family, kind):
    def built(seed, initialization):
        return networks.build({"family": family}, **COLOUR, seed=seed, initialization=initialization).state_dict()

    own, drawn, again, other = built(7, "default"), built(7, kind), built(7, kind), built(8, kind)
    for name, tensor in drawn.items():
        assert torch.equal(tensor, again[name])
        if tensor.ndim < 2:  # biases and normalization
            assert torch.equal(tensor, own[name])
            continue
        assert not torch.equal(tensor, other[name])
        inputs = tensor[0].numel()
        # Six standard errors of the variance's estimate; a normal draw's is the larger.
        assert tensor.var().item() == pytest.approx(2 / inputs, rel=6 * (2 / tensor.numel()) ** 0.5)
        if kind == "kaiming_uniform":
            assert tensor.abs().max() <= (6 / inputs) ** 0.5
        elif tensor.numel() > 10_000:
            assert tensor.abs().max() > (6 / inputs) ** 0.5


def test_without_an_initialization_the_family_draws():
    # The first numbers of torch's own generator, seeded by 7, in the order of layers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected = [nn.Linear(256, 20), nn.Linear(20, 10)]
    network = networks.build({"family": "mlp", "hidden": [20], "norm": "none"}, **GREY, seed=7)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    for layer, like in zip(layers, expected, strict=True):
        assert torch.equal(layer.weight, like.weight)
        assert torch.equal(layer.bias, like.bias)


LEAST = {"tinyten": tinyten.TinyTen, "googlenet": googlenet.GoogLeNet, "vgg16": vgg.VGG16}


@pytest.mark.parametrize("family", LEAST)
def test_images_that_are_too_small_are_refused(family, one_line):
    least = LEAST[family].LEAST_SIZE
    with one_line(ValueError, family, f"{least - 1}x{least + 4}", f"{least}x{least}", "size"):
        networks.build({"family": family}, **{**GREY, "shape": (1, least - 1, least + 4)})


@pytest.mark.parametrize("family", LEAST)
def test_the_least_size_is_enough(family):
    size = LEAST[family].LEAST_SIZE
    network = networks.build({"family": family}, **{**GREY, "shape": (1, size, size)})
    outputs = network(torch.rand(2, 1, size, size))
    assert all(logits.isfinite().all() for logits in outputs)


@pytest.mark.parametrize("family", ["googlenet", "vgg16"])
def test_one_pixel_less_would_not_do(family):
    size = LEAST[family].LEAST_SIZE - 1
    with pytest.raises(RuntimeError, match="too small"):
        LEAST[family](channels=1)(torch.rand(2, 1, size, size))


def test_googlenet_is_torchvisions_without_early_strides_and_poolings():
    """The definition of Tatro et al. 2020: the stem's stride is 1, the first and the last pooling are gone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = torchvision.models.googlenet(weights=None, init_weights=False, num_classes=10)
    expected.conv1.conv.stride = (1, 1)
    expected.maxpool1 = expected.maxpool4 = nn.Identity()
    network = googlenet.GoogLeNet(classes=10)
    tensors = [t + 0.1 * torch.rand_like(t) if t.is_floating_point() else t for t in expected.state_dict().values()]
    for each in (expected, network):  # both in the order of the graph
        each.load_state_dict(dict(zip(each.state_dict(), tensors, strict=True)))
        for module in each.modules():
            if isinstance(module, nn.Dropout):
                module.inplace, module.p = False, 0
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.eval()(images), expected.eval()(images))
    logits, second, first = expected.train()(images)
    torch.testing.assert_close(network.train()(images), (logits, first, second))
    assert not torch.allclose(logits, first) and not torch.allclose(first, second)
    dropouts = [m.p for m in googlenet.GoogLeNet().modules() if isinstance(m, nn.Dropout)]
    assert sorted(dropouts) == [0.2, 0.7, 0.7]


def test_googlenet_takes_larger_images_and_starts_as_published():
    network = networks.build({"family": "googlenet"}, **{**COLOUR, "shape": (3, 64, 64), "classes": 200})
    assert [logits.shape for logits in network(torch.rand(2, 3, 64, 64))] == [(2, 200)] * 3
    assert network.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 200)
    weight = network.network.blocks["4a"].branches[1][1].conv.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert network.auxiliary_weight == 0.3


# --- torchvision's ---


def test_torchvisions_classifiers_are_known_without_importing_it():
    assert dispatch.torchvision_models() == set(torchvision.models.list_models(module=torchvision.models))


@pytest.mark.parametrize("model", ["resnet18", "squeezenet1_1", "regnet_y_400mf"])
def test_torchvisions_networks_go_by_their_names(model):
    network = networks.build({"family": "torchvision", "model": model}, **COLOUR, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torchvision.models.get_model(model, weights=None, num_classes=10)
    assert network.network.state_dict().keys() == expected.state_dict().keys()
    assert all(
        torch.equal(tensor, network.network.state_dict()[name]) for name, tensor in expected.state_dict().items()
    )
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(COLOUR[key]).view(-1, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(network.eval()(images), expected.eval()((images - mean) / std))


def test_torchvisions_networks_see_grey_images_as_equal_channels():
    network = networks.build(RESNET18, **GREY).eval()
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(network(images), network(images.expand(-1, 3, -1, -1)))
    assert network.mean.flatten().tolist() == pytest.approx([0.3] * 3)


def test_torchvisions_auxiliary_heads_come_after_the_logits():
    network = networks.build({"family": "torchvision", "model": "googlenet"}, **COLOUR)
    logits, *auxiliary = network(torch.rand(2, 3, 32, 32))
    assert [logits.shape, *(head.shape for head in auxiliary)] == [(2, 10)] * 3
    assert network.auxiliary_weight == 0.3


@pytest.mark.parametrize("model", ["inception_v3", "vit_b_16"])
def test_images_that_do_not_suit_torchvisions_network_are_refused(model, one_line):
    with one_line(ValueError, "torchvision", model, "32x32", "size"):
        networks.build({"family": "torchvision", "model": model}, **COLOUR)


def test_unknown_models_are_refused_with_those_that_sound_alike(one_line):
    with one_line(ValueError, "'resnet81'", "resnet18"):
        networks.build({**RESNET18, "model": "resnet81"}, **COLOUR)
    with one_line(ValueError, "'xyz'", "resnet18"):
        networks.build({**RESNET18, "model": "xyz"}, **COLOUR)


def test_images_of_two_channels_are_refused_where_three_are_needed(one_line):
    with one_line(ValueError, "torchvision", "2 channels", "3"):
        networks.build(RESNET18, shape=(2, 32, 32), classes=10, mean=[0.5] * 2, std=[0.5] * 2)


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
