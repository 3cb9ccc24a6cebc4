"""Folding changes the calls in a network, not its outputs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune
from torch.utils._python_dispatch import TorchDispatchMode

from modeconn import networks
from modeconn.folding import FoldedConvolution, folded
from modeconn.functional import Functional

FAMILIES = ["tinyten", "resnet20", "googlenet", "vgg16", "mlp", {"family": "torchvision", "model": "resnet18"}]


def drawn(module, seed=0):
    """The module with weights and statistics drawn at random, in float64."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 2) if name.endswith("running_var") else (-0.4, 0.6)
            tensor.uniform_(low, high, generator=rng)
    return module.double().eval()


def evaluated(network, images):
    found = folded(network)
    return found(found.tensors(network.state_dict()), images)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_folded_network_computes_what_the_network_does(family):
    network = family if isinstance(family, dict) else {"family": family, "width": 1 if family == "mlp" else 0.25}
    built = drawn(networks.build(network, shape=(3, 32, 32), classes=5, mean=[0.4] * 3, std=[0.2] * 3))
    found = folded(built)
    # All but those of auxiliary heads, which evaluation does not compute.
    norms = [name for name, part in built.named_modules() if isinstance(part, nn.BatchNorm2d) and "heads" not in name]
    assert [norm for norm, _ in found.convolutions.values()] == norms
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    expected = built(images)
    torch.testing.assert_close(found(found.tensors(before), images), expected, rtol=1e-9, atol=1e-9)
    assert not built.training and not any(isinstance(part, FoldedConvolution) for part in built.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


class Calls(TorchDispatchMode):
    """Counts the operations that rectify what a convolution writes."""

    rectifying = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        self.rectifying += operation is torch.ops.mkldnn._convolution_pointwise.default
        return operation(*arguments, **(options or {}))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["tinyten", "resnet20", "vgg16"])
def test_without_gradients_convolutions_rectify_what_they_write_to_the_same_bits(family, precision):
    network = {"family": family, "width": 0.25, "precision": precision}
    built = drawn(networks.build(network, shape=(3, 32, 32), classes=5, mean=[0.4] * 3, std=[0.2] * 3)).float()
    functional = Functional(built)
    vectors, buffers = functional.stack([built.state_dict()])
    images = torch.rand(1, 5, 3, 32, 32)
    expected = functional(vectors, buffers, images)
    with torch.no_grad(), Calls() as calls:
        found = functional(vectors, buffers, images)
    # In ResNet-20 those that open a block, and the first; the others are rectified after the sum.
    all_of_them = {"tinyten": 8, "resnet20": 10, "vgg16": 13}[family]
    known = precision == "float32" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert calls.rectifying == (all_of_them if known else 0)
    assert torch.equal(found, expected)


def test_a_cpu_with_bfloat16_leaves_rectifying_to_onednn(monkeypatch):
    """Also where this one has none: what oneDNN would be asked is computed in its place."""
    asked = []

    def pointwise(images, weight, bias, padding, stride, dilation, groups, *what):
        asked.append((images.dtype, weight.dtype, bias.dtype, *what))
        return F.relu(F.conv2d(images, weight, bias, stride, padding, dilation, groups))

    network = {"family": "tinyten", "width": 0.25, "precision": "bfloat16"}
    built = drawn(networks.build(network, shape=(3, 32, 32), classes=5, mean=[0.4] * 3, std=[0.2] * 3)).float()
    functional = Functional(built)
    vectors, buffers = functional.stack([built.state_dict()])
    images = torch.rand(1, 5, 3, 32, 32)
    expected = functional(vectors, buffers, images)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", pointwise)
    with torch.no_grad():
        found = functional(vectors, buffers, images)
    assert asked == 8 * [(*3 * [torch.bfloat16], "relu", [], "")]
    assert torch.equal(found, expected)


def test_a_cpu_without_bfloat16_rectifies_by_itself(monkeypatch):
    network = {"family": "tinyten", "width": 0.25, "precision": "bfloat16"}
    built = drawn(networks.build(network, shape=(3, 32, 32), classes=5, mean=[0.4] * 3, std=[0.2] * 3)).float()
    functional = Functional(built)
    vectors, buffers = functional.stack([built.state_dict()])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with torch.no_grad(), Calls() as calls:
        functional(vectors, buffers, torch.rand(1, 5, 3, 32, 32))
    assert calls.rectifying == 0


class Branching(nn.Module):
    """Convolutions that stay as they are.

    One that two layers read, one whose normalization keeps no statistics, one padded by reflection, one that is called
    twice, two that share their weights, two whose normalizations do.
    """

    def __init__(self):
        super().__init__()
        self.shared, self.unkept, self.again = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.reflected = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.tied, self.tie = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.tie.weight = self.tied.weight
        unkept = nn.BatchNorm2d(4, track_running_stats=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), unkept, *(nn.BatchNorm2d(4) for _ in range(5))])
        self.alike = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)])
        self.alike[3].weight = self.alike[1].weight
        self.relu = nn.ReLU()

    def forward(self, images):
        shared = self.shared(images)
        values = self.relu(self.norms[0](shared)) + shared
        values = self.norms[2](self.reflected(self.norms[1](self.unkept(values))))
        values = self.norms[4](self.again(self.norms[3](self.again(values))))
        values = self.norms[6](self.tie(self.norms[5](self.tied(values))))
        for layer in self.alike:
            values = layer(values)
        return values.sum((2, 3))


def test_what_cannot_be_folded_stays():
    built, images = drawn(Branching()), torch.rand(4, 3, 8, 8, dtype=torch.float64)
    assert not folded(built).convolutions
    assert torch.equal(evaluated(built, images), built(images))


class Twice(nn.Module):
    """A normalized convolution that two layers read: the activation must not overwrite it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, images):
        normalized = self.norm(self.conv(images))
        return (self.relu(normalized) + 3 * normalized).sum((2, 3))


def test_a_value_that_is_read_twice_is_not_overwritten():
    built, images = drawn(Twice()), torch.rand(4, 3, 8, 8, dtype=torch.float64)
    assert len(folded(built).convolutions) == 1
    torch.testing.assert_close(evaluated(built, images), built(images), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layer", ["conv", "norm"])
def test_a_pruned_layer_computes_with_the_weights_that_it_is_given(layer):
    """Its weight is made of a parameter and a mask by a hook: what is folded would be another network's."""
    first, second = drawn(Twice(), 1), drawn(Twice(), 2)
    for built in (first, second):
        prune.l1_unstructured(getattr(built, layer), "weight", amount=0.5)
    functional, images = Functional(first), torch.rand(1, 4, 3, 8, 8, dtype=torch.float64)
    vectors, buffers = functional.stack([second.state_dict()])
    torch.testing.assert_close(functional(vectors, buffers, images)[0], second(images[0]), rtol=1e-10, atol=1e-10)


class Again(Twice):
    """A normalization that is called twice: folded into the convolution it would be gone where it is called again."""

    def forward(self, images):
        return self.norm(self.relu(self.norm(self.conv(images)))).sum((2, 3))


class Shared(Twice):
    """One normalization behind two convolutions."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return (self.norm(self.conv(images)) + self.norm(self.other(images))).sum((2, 3))


@pytest.mark.parametrize("network", [Again, Shared])
def test_a_normalization_that_is_called_twice_is_not_folded(network):
    built, images = drawn(network()), torch.rand(4, 3, 8, 8, dtype=torch.float64)
    assert folded(built).convolutions == {}
    torch.testing.assert_close(evaluated(built, images), built(images), rtol=1e-10, atol=1e-10)


class Unread(Twice):
    def forward(self, images):
        self.norm(self.conv(images))
        return images.sum((2, 3))


def test_a_convolution_that_nobody_reads_is_no_error():
    built, images = drawn(Unread()), torch.rand(4, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(evaluated(built, images), built(images))


class Untraceable(nn.Module):
    """Two names for one weight, too, of which a function of the network wants one."""

    def __init__(self):
        super().__init__()
        self.dense, self.other = nn.Linear(3, 2), nn.Linear(3, 2)
        self.other.weight = self.dense.weight

    def forward(self, images):
        features = images.flatten(1)
        return self.dense(features) if features.sum() > 0 else self.other(-features)


def test_a_network_that_cannot_be_traced_is_left_as_it_is():
    built = Untraceable()
    found = folded(built)
    assert found.module is built and found.names == ["dense.weight", "dense.bias", "other.bias"]
    assert built.training
    functional, images = Functional(built), torch.rand(5, 3, 1, 1)
    vectors, buffers = functional.stack([built.state_dict()])
    assert torch.equal(functional(vectors, buffers, images[None])[0], built(images))


def test_gradients_with_respect_to_images_are_those_of_the_network():
    built = drawn(networks.build({"family": "tinyten"}, shape=(3, 16, 16), classes=5, mean=[0.4] * 3, std=[0.2] * 3))
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(built(images).square().sum(), images)
    (found,) = torch.autograd.grad(evaluated(built, images).square().sum(), images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_computes_nearly_the_same_and_keeps_float32_outside(lanes, train):
    arguments = {"shape": (3, 16, 16), "classes": 5, "mean": [0.4] * 3, "std": [0.2] * 3}
    exact, reduced = (
        Functional(networks.build({"family": "tinyten", "precision": precision}, **arguments))
        for precision in ("float32", "bfloat16")
    )
    vectors, buffers = exact.stack([exact.network.state_dict()] * lanes)
    images = torch.rand(lanes, 16, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    copies = {name: b.clone() for name, b in buffers.items()}
    vectors.requires_grad_(True)
    expected, found = exact(vectors, buffers, images, train), reduced(vectors, copies, images, train)
    error = (found - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.05  # bfloat16 has 8 bits
    (gradient,) = torch.autograd.grad(found.square().sum(), vectors)
    assert {t.dtype for t in (found, gradient, *copies.values()) if t.is_floating_point()} == {torch.float32}
    if train:
        for name, buffer in buffers.items():
            torch.testing.assert_close(copies[name], buffer, rtol=0.05, atol=0.05)
