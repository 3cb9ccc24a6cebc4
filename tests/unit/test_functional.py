"""A network as a function of one vector: the same numbers as the plain module, which is not changed."""

import pytest
import torch

from modeconn import artifacts, networks
from modeconn.datasets import channels_last
from modeconn.folding import Folded
from modeconn.functional import PIECE, Functional

SEEDS = (1, 2, 3)


@pytest.fixture
def population(tiny_network):
    return [tiny_network(seed, dtype=torch.float64) for seed in SEEDS]


@pytest.fixture
def images():
    return torch.rand(len(SEEDS), 6, 1, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def states(population):
    return [{name: t.clone() for name, t in network.state_dict().items()} for network in population]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def test_pack_and_unpack_are_inverse(population):
    state = population[0].state_dict()
    functional = Functional(population[1])
    vector, buffers = functional.pack(state)
    assert vector.shape == (sum(p.numel() for p in population[0].parameters()),)
    assert_same(functional.unpack(vector) | buffers, state)


@pytest.mark.parametrize(("norm", "limit"), [("layer", 2**22), ("batch", 2**20)])
def test_networks_are_computed_together_as_far_as_their_outputs_are_known(norm, limit):
    """Perceptrons' widest outputs are known; with batch normalization they are computed as any other network."""
    facts = {"shape": (1, 4, 4), "classes": 3, "mean": [0.5], "std": [0.5]}
    functional = Functional(networks.build({"family": "mlp", "hidden": [64, 32], "norm": norm, "width": 1}, **facts))
    assert functional.together(512) == limit // (64 * 512)
    assert functional.together(2**22) == 1
    convolving = networks.build({"family": "tinyten", "width": 0.25, "norm": "batch"}, **facts | {"shape": (1, 12, 12)})
    assert Functional(convolving).together(8) == 1


def test_stack_and_named_are_inverse(population):
    functional = Functional(population[0])
    vectors, buffers = functional.stack(states(population))
    named = functional.named(vectors, buffers)
    for lane, network in enumerate(population):
        assert_same({name: tensor[lane] for name, tensor in named.items()}, network.state_dict())


@pytest.mark.parametrize("attacked", [False, True])
def test_evaluation_goes_in_pieces_that_nobody_sees(tiny_network, attacked, monkeypatch):
    functional = Functional(tiny_network(1))
    vectors, buffers = functional.stack([tiny_network(1).state_dict()])
    images = torch.rand(1, 2 * PIECE + 7, 1, 12, 12, requires_grad=attacked)
    sizes, folds = [], []
    for mode in ("_training", "_evaluation"):
        compute = getattr(functional, mode)
        monkeypatch.setattr(functional, mode, lambda *of, compute=compute: sizes.append(len(of[-1])) or compute(*of))
    fold = Folded.tensors
    monkeypatch.setattr(Folded, "tensors", lambda *of: folds.append(of) or fold(*of))
    pieces = functional(vectors, buffers, images)
    assert sizes == [PIECE, PIECE, 7] and len(folds) == 1
    monkeypatch.setattr("modeconn.functional.PIECE", 1000)
    whole = functional(vectors, buffers, images)
    assert sizes[3:] == [2 * PIECE + 7]
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)
    if attacked:
        gradients = [torch.autograd.grad(logits.square().sum(), images)[0] for logits in (pieces, whole)]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


def test_unpacked_parameters_are_views(population):
    functional = Functional(population[0])
    vector, _ = functional.pack(population[0].state_dict())
    functional.unpack(vector)["network.dense.bias"].fill_(7)
    assert (vector == 7).sum() == 3


def test_a_batch_of_one_image_that_cannot_be_normalized_says_what_to_do(one_line):
    """A multilayer perceptron's layers have one value a channel and image."""
    of_points = {"shape": (2, 1, 1), "classes": 2, "mean": [0.5] * 2, "std": [0.2] * 2}
    functional = Functional(networks.build({"family": "mlp", "hidden": [8], "norm": "batch"}, **of_points))
    vectors, buffers = functional.stack([functional.network.state_dict()])
    functional(vectors, buffers, torch.rand(1, 2, 2, 1, 1), train=True)
    with one_line(ValueError, "batch of one image", "change the batch"):
        functional(vectors, buffers, torch.rand(1, 1, 2, 1, 1), train=True)


@pytest.mark.parametrize("train", [False, True])
def test_one_lane_gives_the_logits_and_statistics_of_the_plain_module(tiny_network, train):
    plain, images = tiny_network(1).train(train), torch.rand(6, 1, 12, 12)
    functional = Functional(tiny_network(2))
    vectors, buffers = functional.stack(states([plain]))
    logits = functional(vectors, buffers, images[None], train=train)[0]
    if train:
        assert torch.equal(logits, plain(channels_last(images)))
    else:  # normalization is folded into the convolutions: equal up to rounding
        torch.testing.assert_close(logits, plain(images), rtol=1e-5, atol=1e-6)
    assert_same(functional.named(vectors, buffers), {name: t[None] for name, t in plain.state_dict().items()})


@pytest.mark.parametrize("how", ["_in_turn", "_at_once"])  # as on a CPU, and as on a GPU
@pytest.mark.parametrize("train", [False, True])
def test_lanes_give_the_logits_and_statistics_of_the_plain_modules(population, images, train, how, monkeypatch):
    functional = Functional(population[0])
    monkeypatch.setattr(functional, "_in_turn", getattr(functional, how))
    before = states(population)
    vectors, buffers = functional.stack(before)
    logits = functional(vectors, buffers, images, train=train)
    assert_same(population[0].state_dict(), before[0])
    for lane, network in enumerate(population):
        torch.testing.assert_close(logits[lane], network.train(train)(images[lane]), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close({name: b[lane] for name, b in buffers.items()}, dict(_buffers(network)))


def _buffers(network):
    return [(name, t) for name, t in network.state_dict().items() if "running" in name or "tracked" in name]


@pytest.mark.parametrize("how", ["_in_turn", "_at_once"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_training_moves_the_passed_buffers_and_leaves_the_network(population, images, lanes, how, monkeypatch):
    functional = Functional(population[0])
    monkeypatch.setattr(functional, "_in_turn", getattr(functional, how))
    before = states(population)[0]
    vectors, buffers = functional.stack(states(population[:lanes]))
    passed = {name: b.clone() for name, b in buffers.items()}
    functional(vectors.requires_grad_(True), buffers, images[:lanes], train=True).sum().backward()
    assert_same(population[0].state_dict(), before)
    assert all(parameter.grad is None for parameter in population[0].parameters())
    assert not any(torch.equal(buffers[name][lane], passed[name][lane]) for name in buffers for lane in range(lanes))


def test_evaluation_leaves_the_passed_buffers(population, images):
    functional = Functional(population[0])
    vectors, buffers = functional.stack(states(population))
    passed = {name: b.clone() for name, b in buffers.items()}
    functional(vectors, buffers, images, train=False)
    assert_same(buffers, passed)


def test_the_mode_is_that_of_the_call_whatever_the_call_before(population, images):
    functional = Functional(population[0])
    vectors, buffers = functional.stack(states(population))
    first = functional(vectors, buffers, images, train=False)
    trained = functional(vectors, {name: b.clone() for name, b in buffers.items()}, images, train=True)
    assert not torch.allclose(first, trained)
    assert torch.equal(functional(vectors, buffers, images, train=False), first)


def test_initial_buffers_are_copies_of_the_networks_own(tiny_network):
    functional = Functional(tiny_network(0))
    fresh = functional.initial_buffers(2)
    assert fresh.keys() == set(functional.buffer_names)
    own = functional.network.state_dict()
    before = {name: own[name].clone() for name in fresh}
    for name, buffer in fresh.items():
        assert torch.equal(buffer, own[name].expand_as(buffer))
        buffer[0] += 1
        assert torch.equal(buffer[1], own[name])
    assert_same({name: own[name] for name in fresh}, before)


@pytest.mark.parametrize("name", ["network.layers.2.conv.weight", "network.layers.0.norm.running_mean"])
def test_a_missing_tensor_is_named(population, one_line, name):
    functional, state = Functional(population[0]), states(population)[0]
    del state[name]
    with one_line(ValueError, name, "nothing"):
        functional.pack(state)


@pytest.mark.parametrize("name", ["network.layers.2.conv.weight", "network.layers.0.norm.running_mean"])
def test_a_misshapen_tensor_is_named_with_both_shapes(population, one_line, name):
    functional, state = Functional(population[0]), states(population)[0]
    needed = tuple(state[name].shape)
    state[name] = state[name].new_zeros(5, 1)
    with one_line(ValueError, name, needed, (5, 1)):
        functional.pack(state)


def test_a_compiled_network_computes_nearly_the_same(tiny_network):
    """Logits, gradients and statistics, up to rounding."""
    functional, images = Functional(tiny_network(1).double()), torch.rand(1, 6, 1, 12, 12, dtype=torch.float64)
    tiny = tiny_network(1).double()
    tiny.compiled = True
    compiled = Functional(tiny)
    for train in (True, False):
        results = []
        for candidate in (functional, compiled):
            vectors, buffers = candidate.stack([tiny.state_dict()])
            vectors.requires_grad_(True)
            logits = candidate(vectors, buffers, images, train)
            results.append((logits, *torch.autograd.grad(logits.square().sum(), vectors), buffers))
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    # `is not` would always hold: a method is bound anew each time.
    assert compiled._training != compiled._in_training and compiled._evaluation != compiled._in_evaluation


def test_without_a_compiler_a_network_is_computed_as_it_is(tiny_network, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    tiny = tiny_network(1)
    tiny.compiled = True
    functional = Functional(tiny)
    assert capsys.readouterr().out == "compile: there is no C++ compiler no-such-compiler here, so computing without\n"
    vectors, buffers = functional.stack([tiny.state_dict()])
    images = torch.rand(1, 6, 1, 12, 12)
    assert torch.equal(functional(vectors, buffers, images, True)[0], tiny.train()(channels_last(images[0])))
    # Bits are others than with one, so the artifact says so.
    assert artifacts.versions("cpu", {"family": "tinyten", "compile": True})["compiled"] == "no"
    assert "compiled" not in artifacts.versions("cpu", {"family": "tinyten"})


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_perceptrons_are_computed_at_once_as_by_vmap(norm, monkeypatch):
    """Of a narrow and a wide layer, for images of their own and for the same ones."""
    of_points = {"shape": (3, 2, 2), "classes": 4, "mean": [0.5] * 3, "std": [0.2] * 3}
    population = [
        networks.build({"family": "mlp", "hidden": [4, 32], "norm": norm}, **of_points, seed=s) for s in SEEDS
    ]
    functional = Functional(population[0])
    vectors, buffers = functional.stack(states(population))
    vectors.requires_grad_(True)
    own = torch.rand(3, 40, 3, 2, 2, generator=torch.Generator().manual_seed(1))

    def computed(images):
        logits = functional(vectors, buffers, images, train=True)
        evaluated = functional(vectors.detach(), buffers, images)
        return logits, evaluated, torch.autograd.grad(logits.square().sum(), vectors)[0]

    found = [computed(images) for images in (own, own[:1].expand_as(own))]
    assert functional._forward_lanes is not None
    monkeypatch.setattr(functional, "_forward_lanes", None)
    for (logits, evaluated, gradients), images in zip(found, (own, own[:1].expand_as(own))):
        by_vmap = computed(images)
        assert torch.equal(logits, by_vmap[0]) and torch.equal(evaluated, by_vmap[1])
        torch.testing.assert_close(gradients, by_vmap[2], rtol=1e-5, atol=1e-5)


def test_what_perceptrons_cannot_compute_at_once_is_left_to_vmap():
    of_points = {"shape": (2, 1, 1), "classes": 2, "mean": [0.5] * 2, "std": [0.2] * 2}
    for other in ({"norm": "batch"}, {"norm": "none", "precision": "bfloat16"}):
        network = networks.build({"family": "mlp", "hidden": [8], **other}, **of_points)
        assert Functional(network)._forward_lanes is None


def test_the_gradient_of_images_that_all_perceptrons_share_is_of_each():
    of_points = {"shape": (2, 1, 1), "classes": 2, "mean": [0.5] * 2, "std": [0.2] * 2}
    network = networks.build({"family": "mlp", "hidden": [8], "norm": "none"}, **of_points)
    functional = Functional(network)
    vectors, buffers = functional.stack([network.state_dict()] * 2)
    images = torch.rand(1, 5, 2, 1, 1).expand(2, -1, -1, -1, -1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(functional(vectors, buffers, images).sum(), images)
    assert gradient.abs().sum() > 0 and torch.equal(gradient[0], gradient[1])
