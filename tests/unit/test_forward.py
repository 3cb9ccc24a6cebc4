"""Networks as users write them are computed unchanged or refused in one line."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from modeconn import permutation
from modeconn.folding import folded
from modeconn.forward import takes_channels_last
from modeconn.functional import Functional
from modeconn.matching import activation


class Net(nn.Module):
    """Two convolutions with a normalization between; `head` makes the output of their features (N, 8, 6, 6)."""

    def __init__(self, head=None, features=8):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3)
        self.dense = nn.Linear(features, 4)
        self.head = head or dense

    def forward(self, images):
        return self.head(self, self.second(self.norm(self.first(images)).relu()).relu())


def viewed(net, hidden):
    return net.dense(hidden.view(hidden.size(0), -1))


def in_bfloat16(net, hidden):
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.dense(hidden.mean((2, 3)))
    return logits.float()


def without_gradients(net, hidden):
    with torch.no_grad():
        features = hidden.mean((2, 3))
    return net.dense(features)


@pytest.fixture
def images():
    return torch.rand(4, 3, 8, 8)


def evaluated(network, images):
    functional = Functional(network)
    return functional(*functional.stack([network.state_dict()]), images[None])[0]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_a_network_that_takes_a_view_computes_as_the_module(images, train, channels_last):
    network = Net(viewed, features=8 * 36)
    functional = Functional(copy.deepcopy(network))
    vectors, buffers = functional.stack([network.state_dict()])
    vectors.requires_grad_(True)
    given = images.to(memory_format=torch.channels_last) if channels_last else images
    logits = functional(vectors, buffers, given[None], train=train)
    torch.testing.assert_close(logits[0], network.train(train)(images), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits.square().sum(), vectors)
    expected = torch.autograd.grad(network(images).square().sum(), list(network.parameters()))
    torch.testing.assert_close(gradient[0], torch.cat([g.flatten() for g in expected]), rtol=1e-4, atol=1e-4)


def test_a_network_that_takes_a_view_is_matched_on_images_with_the_channels_last(images):
    network = Net(viewed, features=8 * 36).eval()
    given = images.to(memory_format=torch.channels_last)
    spec = permutation.discover(network, given)
    assert spec.groups == {"first": 6, "second": 8}
    moved = permutation.apply(spec, permutation.random(spec, torch.Generator().manual_seed(1)), network.state_dict())
    correlations = activation.correlate(network, spec, network.state_dict(), moved, [given])
    found = activation.match_correlations(spec, correlations)
    torch.testing.assert_close(permutation.apply(spec, found, moved), dict(network.state_dict()))


def test_only_what_takes_a_view_or_cannot_be_traced_has_contiguous_images(tiny_network):
    assert takes_channels_last(tiny_network()) and takes_channels_last(Net())
    assert not takes_channels_last(Net(viewed))
    assert not takes_channels_last(Net(lambda net, hidden: dense(net, hidden) if hidden.sum() else None))
    in_training = Net(lambda net, hidden: viewed(net, hidden) if net.training else dense(net, hidden))
    assert not takes_channels_last(in_training.eval()) and not in_training.training


@pytest.mark.parametrize("how", ["weight_norm", "prune", "spectral_norm"])
def test_layers_that_compute_their_weights_stay_as_they_are(images, how):
    network = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weight_norm's successor
        if how == "prune":
            prune.random_unstructured(network.second, "weight", 0.5)
        else:
            getattr(nn.utils, how)(network.second)
    network(images)  # after a step, what is computed has a graph of gradients
    network.eval()
    assert permutation.discover(network, images).groups == {}
    with torch.no_grad():
        torch.testing.assert_close(evaluated(network, images), network(images), rtol=0, atol=1e-5)


def dense(net, hidden):
    return net.dense(hidden.mean((2, 3)))


OUTPUTS = {
    "a dict": lambda net, hidden: {"out": dense(net, hidden)},
    "a list of tensors of shapes (2, 4)": lambda net, hidden: [dense(net, hidden)],
    "a tuple of tensors of shapes (2, 4), (2, 8)": lambda net, hidden: (dense(net, hidden), hidden.mean((2, 3))),
    "a tensor of shape (2,)": lambda net, hidden: dense(net, hidden).amax(1),
    "a tensor of shape (2, 4, 6)": lambda net, hidden: net.dense(hidden.mean(3).mT).mT,
}


@pytest.mark.parametrize("described", OUTPUTS)
def test_an_output_that_is_no_logits_is_named(images, described, one_line):
    network = Net(OUTPUTS[described]).eval()
    with one_line(ValueError, described, "in eval mode", "(N, classes)"):
        permutation.discover(network, images[:2])
    with one_line(ValueError, described, "in eval mode", "(N, classes)"):
        evaluated(network, images[:2])
    functional = Functional(network)
    with one_line(ValueError, described, "in train mode", "(N, classes)"):
        functional(*functional.stack([network.state_dict()]), images[None, :2], train=True)


@pytest.mark.parametrize("head", [in_bfloat16, without_gradients])
def test_contexts_that_a_graph_does_not_keep_are_kept_or_refused(images, head, one_line):
    network = Net(head).eval()
    with one_line(ValueError, "autocast or without gradients", "eval mode"):
        permutation.discover(network, images)
    assert torch.equal(evaluated(network, images), network(images))
    vector = torch.nn.utils.parameters_to_vector(network.parameters()).detach().requires_grad_(True)
    functional = Functional(network)
    _, buffers = functional.stack([network.state_dict()])
    (gradient,) = torch.autograd.grad(functional(vector[None], buffers, images[None]).sum(), vector)
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in gradients(network, images)]))


def gradients(network, images):
    return torch.autograd.grad(
        network(images).sum(), list(network.parameters()), allow_unused=True, materialize_grads=True
    )


@pytest.mark.parametrize("part", ["", "first", "norm"])
def test_hooks_compute_in_every_mode(images, part):
    network = Net().eval()
    network.get_submodule(part).register_forward_hook(lambda module, inputs, output: 2 * output)
    assert folded(network).convolutions == {}
    torch.testing.assert_close(evaluated(network, images), network(images))


def test_a_network_whose_graph_computes_otherwise_is_refused(images, one_line):
    network = Net()
    network.register_forward_hook(lambda module, inputs, output: 2 * output)
    with one_line(ValueError, "Net: in eval mode it computes other logits than its graph", "hooks"):
        permutation.discover(network, images)
    network = Net()
    network.register_forward_pre_hook(lambda module, inputs: (inputs[0] + module.training,))
    with one_line(ValueError, "Net: in train mode it computes other logits than its graph"):
        permutation.discover(network, images)
    network = Net()
    network.register_forward_hook(lambda module, inputs, output: None)  # looks on
    assert permutation.discover(network, images).groups == {"first": 6, "second": 8}


def test_wrappers_and_torchscript_are_named(images, one_line):
    parts = nn.Sequential(torch.jit.trace(Net().eval(), images))
    for build in (Functional, lambda network: permutation.discover(network, images)):
        with one_line(ValueError, "the network is a DataParallel", ".module"):
            build(nn.DataParallel(Net()))
        with one_line(ValueError, "0 is TorchScript"):
            build(parts)


def test_a_network_of_two_inputs_is_told(images, one_line):
    class Two(Net):
        def forward(self, images, features):
            return super().forward(images)

    for build in (Functional, lambda network: permutation.discover(network, images)):
        with one_line(ValueError, "Two takes images, features: a network here takes images alone"):
            build(Two())
