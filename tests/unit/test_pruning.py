"""Masks counted by hand, moved with their neurons, and kept to in training."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from modeconn import networks, optimization, permutation, pruning
from modeconn.functional import Functional
from modeconn.optimizers import adamw, sgd

OUTPUT = "network.dense.weight"
SGD = {"method": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
ADAMW = {"method": "adamw", "learning_rate": 0.01, "momentum": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.1}


@pytest.fixture(scope="module")
def resnet():
    return networks.build(
        {"family": "resnet20", "width": 0.25, "norm": "layer"},
        shape=(3, 16, 16),
        classes=10,
        mean=[0.5] * 3,
        std=[0.25] * 3,
    )


def draw(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_weights_of_layers_are_pruned_and_nothing_else(resnet):
    names = pruning.prunable(resnet)
    assert len(names) == 1 + 9 * 2 + 2 + 1 and all(resnet.state_dict()[name].ndim > 1 for name in names)
    assert pruning.prunable(resnet, [OUTPUT]) == [name for name in names if name != OUTPUT]
    assert pruning.prunable(nn.Linear(2, 2)) == ["weight"]
    with pytest.raises(
        ValueError, match=r"cannot exclude network\.dense\.bias from pruning: the weights of layers are"
    ):
        pruning.prunable(resnet, ["network.dense.bias"])
    with pytest.raises(ValueError, match="Linear has no weights to prune: all of 1 are excluded"):
        pruning.prunable(nn.Linear(2, 2), ["weight"])


def test_the_smallest_of_all_layers_go_first_and_of_equals_the_first():
    tensors = {"a": torch.tensor([[3.0, -1.0], [0.0, 5.0]]), "b": torch.tensor([[-1.0, 1.0, 4.0, 0.5]])}
    mask = pruning.full(tensors, ["a", "b"])
    mask = pruning.prune(tensors, mask, 0.25)  # 2 of 8: 0 and 0.5
    assert mask["a"].tolist() == [[True, True], [False, True]] and mask["b"].tolist() == [[True, True, True, False]]
    mask = pruning.prune(tensors, mask, 0.2)  # 2 of 6: 1.2 rounded up, and two of three ones
    assert mask["a"].tolist() == [[True, False], [False, True]] and mask["b"].tolist() == [[False, True, True, False]]
    # What is pruned stays so, however large it becomes.
    mask = pruning.prune({"a": 9 - tensors["a"], "b": tensors["b"]}, mask, 0.5)
    assert mask["a"].tolist() == [[True, False], [False, False]] and mask["b"].tolist() == [[False, False, True, False]]
    assert pruning.remaining(mask) == 2


def test_every_level_keeps_exactly_four_fifths(resnet):
    names = pruning.prunable(resnet, [OUTPUT])
    mask = pruning.full(resnet.state_dict(), names)
    left = pruning.remaining(mask)
    # 4, 8 and 16 channels: the stem, six, five and five convolutions between equals, and what widens.
    assert left == 9 * (3 * 4 + 6 * 16 + 5 * 64 + 5 * 256 + 4 * 8 + 8 * 16) + 4 * 8 + 8 * 16 == 16972
    for level in range(20):
        smaller = pruning.prune(draw(resnet, seed=level), mask, 0.2)
        left = left * 4 // 5  # a fifth, rounded up, is pruned
        assert pruning.remaining(smaller) == left
        assert all(not (smaller[name] & ~mask[name]).any() for name in names)
        mask = smaller
    assert abs(left / 16972 - 0.8**20) < 1e-3


def test_a_fraction_is_the_decimal_number_that_it_is_written_as():
    """0.55 x 100 is above 55 in floating point."""
    assert math.ceil(0.55 * 100) == 56
    tensors = {"a": torch.arange(100.0)[None]}
    mask = pruning.prune(tensors, pruning.full(tensors, ["a"]), 0.55)
    assert pruning.remaining(mask) == 45
    everything = pruning.full(tensors, ["a"])
    assert same(pruning.prune(tensors, everything, 0), everything)
    assert pruning.remaining(pruning.prune(tensors, everything, 1)) == 0
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.2"):
        pruning.prune(tensors, everything, 1.2)


def test_one_shot_keeps_the_largest_of_all_as_many_as_the_mask():
    tensors = {"a": torch.tensor([[1.0, 2.0, 3.0]]), "b": torch.tensor([[6.0, -5.0, 4.0]])}
    mask = {"a": torch.tensor([[True, True, True]]), "b": torch.tensor([[False, False, False]])}
    found = pruning.one_shot(tensors, mask)
    assert not found["a"].any() and found["b"].all()


def test_random_masks_keep_as_many_weights(resnet):
    names, tensors = pruning.prunable(resnet, [OUTPUT]), draw(resnet)
    tensors[names[0]] *= 10  # so that layers differ in what is left of them
    mask = pruning.prune(tensors, pruning.full(tensors, names), 0.7)
    counts = {name: int(kept.sum()) for name, kept in mask.items()}
    by_layer, overall = (pruning.random(mask, torch.Generator().manual_seed(0), by_layer=b) for b in (True, False))
    assert {name: int(kept.sum()) for name, kept in by_layer.items()} == counts
    assert pruning.remaining(overall) == pruning.remaining(mask) == 16972 - math.ceil(0.7 * 16972)
    assert counts[names[0]] > 0.9 * mask[names[0]].numel()
    assert 0.15 < overall[names[0]].double().mean() < 0.45
    assert not same(by_layer, mask) and list(overall) == list(mask)
    assert same(pruning.random(mask, torch.Generator().manual_seed(0), by_layer=True), by_layer)


def test_a_mask_moves_with_its_neurons(resnet):
    names, tensors = pruning.prunable(resnet, [OUTPUT]), draw(resnet)
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    spec = permutation.discover(resnet, images[:2])
    drawn = permutation.random(spec, torch.Generator().manual_seed(0))
    mask = pruning.prune(tensors, pruning.full(tensors, names), 0.8)
    moved, permuted = (permutation.apply(spec, drawn, of) for of in (mask, tensors))
    # Pruning and permuting may change places; as magnitudes differ, masks by magnitude too.
    sparse = pruning.apply(mask, tensors)
    assert same(pruning.apply(moved, permuted), permutation.apply(spec, drawn, sparse))
    assert same(pruning.prune(permuted, pruning.full(permuted, names), 0.8), moved)
    before, after = (
        functional_call(resnet.eval(), state, (images,)) for state in (sparse, pruning.apply(moved, permuted))
    )
    scale = before.abs().max().item()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5 * scale)
    # The mask as it was, on the permuted weights, is another network.
    other = functional_call(resnet, pruning.apply(mask, permuted), (images,))
    assert (other - before).abs().max() > 0.1 * scale


def test_rewinding_keeps_the_bytes_of_what_is_kept(resnet):
    names, end, early = pruning.prunable(resnet), draw(resnet, 1), draw(resnet, 2)
    mask = pruning.prune(end, pruning.full(end, names), 0.2)
    rewound = pruning.apply(mask, early)
    assert list(rewound) == list(early)
    for name, tensor in early.items():
        kept = mask.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(rewound[name][kept], tensor[kept]) and not rewound[name][~kept].any()


def test_the_mask_of_a_vector_is_that_of_its_state_dict(resnet):
    functional, tensors = Functional(resnet), draw(resnet)
    names = pruning.prunable(resnet, [OUTPUT])
    mask = pruning.prune(tensors, pruning.full(tensors, names), 0.8)
    kept = pruning.vector(mask, functional.shapes)
    assert int((~kept).sum()) == math.ceil(0.8 * 16972)
    vectors, _ = functional.stack([tensors, draw(resnet, 1)])
    sparse, _ = functional.stack([pruning.apply(mask, each) for each in (tensors, draw(resnet, 1))])
    assert torch.equal(vectors.masked_fill(~kept, 0), sparse)


def test_what_does_not_fit_a_mask_is_named():
    mask = {"a": torch.ones(2, 3, dtype=torch.bool)}
    message = r"tensor a: its mask has shape \(2, 3\), the network {}: take this network's mask"
    for tensors, found in (({"a": torch.ones(3, 2)}, r"\(3, 2\)"), ({"b": torch.ones(2, 3)}, "nothing")):
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        for call in (
            lambda tensors=tensors: pruning.apply(mask, tensors),
            lambda tensors=tensors: pruning.prune(tensors, mask, 0.5),
            lambda tensors=tensors: pruning.one_shot(tensors, mask),
            lambda shapes=shapes: pruning.vector(mask, shapes),
        ):
            with pytest.raises(ValueError, match=message.format(found)):
                call()
    with pytest.raises(ValueError, match="tensor a is not finite"):
        pruning.prune({"a": torch.full((2, 3), torch.nan)}, mask, 0.5)


class Forgetful:
    """A state that keeps nothing, but lets the test look at each step's tensors."""

    def __init__(self, seen):
        self.seen = seen

    def load(self):
        return None

    def offer(self, snapshot):
        self.seen.append({name: tensor.clone() for name, tensor in snapshot()[0].items() if tensor.ndim > 1})


def test_held_weights_go_back_to_zero_whatever_moved_them():
    variable = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    hold = pruning.hold([variable], [torch.tensor([True, False, True])])
    assert variable.tolist() == [[1.0, 0.0, 3.0]]
    (gradient,) = torch.autograd.grad((variable + 1).square().sum(), variable)
    assert gradient.tolist() == [[4.0, 0.0, 8.0]]
    variable.data += 1
    hold(0.1)
    assert variable.tolist() == [[2.0, 0.0, 4.0]]


@pytest.mark.parametrize("settings", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_pruned_weights_and_their_momentum_stay_zero(settings):
    """Two networks with masks of their own; the kept weights move as those of a network that has no others."""
    network = networks.build(
        {"family": "mlp", "hidden": (16, 16)}, shape=(1, 4, 4), classes=3, mean=[0.5], std=[0.25], seed=1
    )
    functional, generator = Functional(network), torch.Generator().manual_seed(0)
    images, labels = torch.rand(2, 32, 1, 4, 4, generator=generator), torch.randint(3, (2, 32), generator=generator)
    start = torch.stack([functional.pack(network.state_dict())[0]] * 2)
    masks = [pruning.full(network.state_dict(), pruning.prunable(network))] * 2
    masks = [pruning.random(pruning.prune(draw(network), m, 0.6), generator, by_layer=True) for m in masks]
    kept = torch.stack([pruning.vector(mask, functional.shapes) for mask in masks])
    assert (kept[0] != kept[1]).any()

    def loss(vectors):
        logits = functional(vectors, {}, images, train=True)
        return nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)

    variable = start.clone().requires_grad_(True)
    hold = pruning.hold([variable], [kept])
    assert torch.equal(variable.detach(), start.masked_fill(~kept, 0))

    def objective(batch):
        losses = loss(variable)
        return losses, losses.detach(), torch.zeros(2)

    seen = []
    optimization.minimize(
        objective,
        [variable],
        lambda epoch, step: [(images, labels, None)] * (20 - step),
        {"epochs": 1, "schedule": "constant", "optimizer": settings},
        lanes=["seed 1", "seed 2"],
        report=lambda row: None,
        state=Forgetful(seen),
        after_step=hold,
    )
    assert len(seen) == 20
    remembered = {"sgd": ["momentum 0"], "adamw": ["mean 0", "square 0"]}[settings["method"]]
    for before, after in itertools.pairwise(seen):
        for name in ["variable 0", *remembered]:
            assert not after[name][~kept].any() and after[name][kept].any(), name
        assert not torch.equal(before["variable 0"], after["variable 0"])

    # By torch's update of the kept weights alone, in a vector without the others.
    for lane in range(2):
        own = start[lane][kept[lane]].clone().requires_grad_(True)
        optimizer = {"sgd": sgd, "adamw": adamw}[settings["method"]]
        state = optimizer.state([own])
        for _ in range(20):
            whole = start.masked_fill(~kept, 0).index_put((torch.tensor(lane), kept[lane].nonzero()[:, 0]), own)
            gradients = torch.autograd.grad(loss(whole)[lane], own)
            optimizer.step([own], gradients, state, settings["learning_rate"], settings["momentum"], settings)
        torch.testing.assert_close(variable.detach()[lane][kept[lane]], own.detach())
