"""Auxiliary heads and dropout: a small GoogLeNet passes every phase like all other networks."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from test_optimization import Forgetful, StoppedAt
from torch.func import functional_call

from modeconn import attacks, classification, curves, datasets, networks, optimization, permutation, resume
from modeconn.batchnorm import recalibrate
from modeconn.functional import Functional
from modeconn.matching import activation, weight
from modeconn.permutation.proof import verify

ATTACK = {"epsilon": 0.1, "step": 0.03, "steps": 2, "random_start": True}
OPTIMIZER = {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def googlenet(tiny_dataset):
    """seed -> a GoogLeNet of an eighth of the channels, in float64, every tensor drawn so that all channels live."""

    def make(seed=0):
        network = networks.of({"family": "googlenet", "width": 0.125}, tiny_dataset, seed).double()
        rng = seeded(seed)
        for name, tensor in network.state_dict().items():
            noise = torch.randn(tensor.shape, generator=rng, dtype=torch.float64)
            if tensor.ndim > 1:
                tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("bias", "weight", "running_var")):
                tensor.copy_(1 + 0.5 * noise.tanh())
        return network

    return make


@pytest.fixture(scope="module")
def found(googlenet, tiny_dataset):
    network = googlenet()
    return network, permutation.discover(network, tiny_dataset.example().double())


def batch_of(dataset, seed=1, step=0, lanes=1):
    """The batch `step` of an epoch, in float64."""
    seeds = list(range(seed, seed + lanes))
    images, labels, generators = next(datasets.batches(dataset, seeds, 0, step, 16, {"shift": 1}))
    return images.double(), labels, generators


def packed(functional, *several):
    vectors, buffers = functional.stack(network.state_dict() for network in several)
    return vectors, {name: buffer.clone() for name, buffer in buffers.items()}


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network


# --- permutations ---


def test_permuting_changes_neither_logits_nor_auxiliary_logits(found, googlenet, tiny_dataset):
    _, spec = found
    network = without_dropout(googlenet())
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = permutation.random(spec, seeded(1))
    permuted = permutation.apply(spec, drawn, tensors)
    moved = [name for name in tensors if not torch.equal(tensors[name], permuted[name])]
    assert {f"network.heads.{name}.{layer}.weight" for name in ("4a", "4d") for layer in (3, 6)} <= set(moved)
    images = tiny_dataset.example(8).double()
    for mode, outputs in ((True, 3), (False, 1)):
        network.train(mode)
        before, after = (functional_call(network, state, (images,)) for state in (tensors, permuted))
        assert len(before if mode else (before,)) == outputs
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_the_spec_is_proved(found, tiny_dataset):
    network, spec = found
    assert len(spec.groups) == 3 + 9 * 6 + 2 * 2
    proof = verify(network, spec, tiny_dataset.example(), seeded())
    assert proof.invariance < 1e-5 and min(proof.reactions.values()) > 1e-2


def test_matching_recovers_a_known_permutation(found, tiny_dataset):
    network, spec = found
    functional, images = Functional(network), tiny_dataset.example(44).double()
    vectors, _ = packed(functional, network)
    statistics = recalibrate(functional, vectors, [images[None]])  # with others some channels would be zero throughout
    tensors = functional.unpack(vectors[0]) | {name: buffer[0] for name, buffer in statistics.items()}
    for head in ("4a", "4d"):  # so that each of the 128 hidden neurons fires on some of the 44 images
        tensors[f"network.heads.{head}.3.bias"] = tensors[f"network.heads.{head}.3.bias"] + 3
    drawn = permutation.random(spec, seeded(2))
    permuted = permutation.apply(spec, drawn, tensors)
    expected = permutation.invert(drawn)
    correlations = activation.correlate(network, spec, tensors, permuted, [images])
    by_activation = activation.match_correlations(spec, correlations)
    by_weight = weight.match_weights(spec, tensors, permuted, Functional(network).shapes)
    heads = [group for group in spec.groups if ".heads." in group]
    assert len(heads) == 4
    for group, order in expected.items():
        assert torch.equal(by_weight[group], order), group
        assert torch.equal(by_activation[group], order), group
    # The heads are measured after all that eval mode computes.
    assert [c.group for c in correlations[-5:]] == [*heads, activation.LOGITS]
    restored = permutation.apply(spec, by_activation, permuted)
    assert all(torch.equal(restored[name], tensor) for name, tensor in tensors.items())


def test_matching_heads_leaves_the_rest_as_it_is(found, googlenet, tiny_dataset):
    """Without the heads' sites only the eval graph is computed: the same correlations, bit by bit, but theirs."""
    network, spec = found
    a, b = (googlenet(seed).state_dict() for seed in (1, 2))
    images = tiny_dataset.example(8).double()
    evaluated = {group: [site for site in sites if not site.training] for group, sites in spec.sites.items()}
    without = activation.correlate(network, dataclasses.replace(spec, sites=evaluated), a, b, [images])
    complete = activation.correlate(network, spec, a, b, [images])
    assert len(complete) == len(without) + 4
    for one, other in zip([*complete[:-5], complete[-1]], without, strict=True):
        assert (
            one.group == other.group and torch.equal(one.matrix, other.matrix) and torch.equal(one.inner, other.inner)
        )


def test_heads_are_measured_by_the_statistics_of_evaluation(found, googlenet, tiny_dataset):
    network, spec = found
    tensors = googlenet(1).state_dict()
    images = tiny_dataset.example(8).double()
    plain = googlenet(1).eval()
    captured = permutation.capture(network, [site.node for site in spec.sites["network.heads.4d.3"]], images, True)
    ((hidden,), _) = functional_call(captured, tensors, (images,))
    kept = []
    plain.network.blocks["4d"].register_forward_hook(lambda module, inputs, output: kept.append(output))
    plain(images)
    assert torch.equal(hidden, plain.network.heads["4d"][:5](kept[0]))


# --- outputs and losses ---


def test_outputs_and_statistics_are_those_of_the_plain_module(googlenet, tiny_dataset):
    functional = Functional(googlenet(0))
    plain = googlenet(1)
    vectors, buffers = packed(functional, plain)
    images, _, _ = batch_of(tiny_dataset)
    torch.manual_seed(3)
    outputs = functional.outputs(vectors, buffers, images, train=True)
    torch.manual_seed(3)
    expected = plain.train()(images[0])
    assert len(outputs) == 3
    for output, of in zip(outputs, expected, strict=True):
        assert torch.equal(output[0], of)
    state = plain.state_dict()
    assert all(torch.equal(buffer[0], state[name]) for name, buffer in buffers.items())
    assert buffers["network.heads.4d.1.norm.num_batches_tracked"].tolist() == [1]
    (logits,) = functional.outputs(vectors, buffers, images)
    # In evaluation normalization is folded into the convolutions: equal up to rounding.
    torch.testing.assert_close(logits[0], plain.eval()(images[0]), rtol=1e-5, atol=1e-6)
    assert torch.equal(functional(vectors, buffers, images), logits)


def expected_loss(outputs, labels, reduction="mean"):
    """Tatro et al. 2020: cross-entropy + 0.3 that of each auxiliary head."""
    logits, first, second = (F.cross_entropy(output, labels, reduction=reduction) for output in outputs)
    return logits + 0.3 * first + 0.3 * second


@pytest.mark.parametrize("attack", [None, ATTACK])
def test_the_loss_counts_the_heads_by_the_networks_weight(googlenet, tiny_dataset, attack):
    functional, plain = (Functional(without_dropout(googlenet(0))), without_dropout(googlenet(1)))
    vectors, buffers = packed(functional, plain)
    vectors.requires_grad_(True)
    images, labels, generators = batch_of(tiny_dataset)
    losses, entropies, correct = classification.objective_of(functional, vectors, buffers, attack)(
        (images, labels, generators)
    )
    losses.sum().backward()
    inputs = images[0]
    plain.train()
    if attack:
        _, _, generators = batch_of(tiny_dataset)
        crafting = without_dropout(googlenet(1)).train()
        start = attacks.random_start(images, attack["epsilon"], generators)[0]
        inputs = attacks.pgd(
            lambda candidates: expected_loss(crafting(candidates), labels[0], "sum"),
            inputs,
            start=start,
            **{key: attack[key] for key in ("epsilon", "step", "steps")},
        )
    outputs = plain(inputs)
    loss = expected_loss(outputs, labels[0])
    loss.backward()
    torch.testing.assert_close(losses[0], loss)
    torch.testing.assert_close(entropies[0], F.cross_entropy(outputs[0], labels[0]).detach())
    assert losses[0] > 1.3 * entropies[0]
    assert correct[0] == (outputs[0].argmax(1) == labels[0]).sum()
    gradient = torch.cat([parameter.grad.flatten() for parameter in plain.parameters()])
    torch.testing.assert_close(vectors.grad[0], gradient)
    # Statistics follow the batch once, however often an attack ran the network.
    assert all(torch.equal(b[0], plain.state_dict()[name]) for name, b in buffers.items() if name.endswith("tracked"))


def test_a_curve_is_trained_on_the_same_loss(googlenet, tiny_dataset):
    functional = Functional(without_dropout(googlenet(0)))
    ends, _ = packed(functional, googlenet(1), googlenet(2))
    bends = curves.midpoints(*ends, 1)[None].requires_grad_(True)
    images, labels, generators = batch_of(tiny_dataset)
    objective = curves.objective_of(functional, ends[None], bends, {"kind": "bezier", "weight_decay": 0.1}, None)
    losses, entropies, _ = objective((images, labels, generators))
    losses.sum().backward()
    t = torch.rand((), generator=batch_of(tiny_dataset)[2][0]).item()
    bend = bends.detach().clone().requires_grad_(True)
    point = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * bend[0, 0] + t**2 * ends[1]
    outputs = functional_call(functional.network.train(), functional.unpack(point), (images[0],))
    loss = expected_loss(outputs, labels[0]) + 0.05 * point.square().sum()
    loss.backward()
    torch.testing.assert_close(losses[0], loss)
    torch.testing.assert_close(entropies[0], F.cross_entropy(outputs[0], labels[0]).detach())
    torch.testing.assert_close(bends.grad, bend.grad)


def test_a_network_with_heads_has_to_say_what_they_count(googlenet, tiny_dataset):
    network = googlenet().network.double()
    vectors, buffers = packed(functional := Functional(network), network)
    assert classification.training_loss(functional, vectors, buffers, batch_of(tiny_dataset), None)
    plain = torch.nn.Sequential(network)
    vectors, buffers = packed(functional := Functional(plain), plain)
    with pytest.raises(AttributeError, match="auxiliary_weight"):
        classification.training_loss(functional, vectors, buffers, batch_of(tiny_dataset), None)


# --- dropout ---


def test_what_dropout_draws_is_a_function_of_the_batch(googlenet, tiny_dataset):
    functional = Functional(googlenet(0))
    vectors, _ = packed(functional, googlenet(1))
    images, labels, _ = batch_of(tiny_dataset)

    def loss(seed, step):
        _, _, generators = batch_of(tiny_dataset, seed, step)
        torch.rand(7)  # whoever else draws
        buffers = functional.initial_buffers(1)
        return classification.training_loss(functional, vectors, buffers, (images, labels, generators), None)[0]

    assert torch.equal(loss(1, 0), loss(1, 0))
    assert not torch.equal(loss(1, 0), loss(1, 1))
    assert not torch.equal(loss(1, 0), loss(2, 0))


@pytest.fixture
def train(tiny_dataset):
    def train(state, epochs=2, attack=None):
        network = networks.of({"family": "googlenet", "width": 0.125}, tiny_dataset, 1)
        functional = Functional(network)
        vectors, buffers = packed(functional, network)
        vectors.requires_grad_(True)
        history = optimization.minimize(
            classification.objective_of(functional, vectors, buffers, attack),
            [vectors],
            lambda epoch, first: datasets.batches(tiny_dataset, [1], epoch, first, 16, {"shift": 1}),
            {"epochs": epochs, "schedule": "constant", "optimizer": OPTIMIZER},
            lanes=["seed 1"],
            report=lambda row: None,
            state=state,
            buffers=buffers,
        )
        return vectors.detach(), buffers, history

    return train


def test_training_lowers_the_loss(train):
    _, buffers, history = train(Forgetful(), epochs=6)
    assert history[-1]["loss"][0] < 0.8 * history[0]["loss"][0]
    assert buffers["network.heads.4a.1.norm.num_batches_tracked"].tolist() == [6 * 3]


@pytest.mark.parametrize("attack", [None, ATTACK])
def test_a_stopped_run_draws_what_a_whole_one_does(train, tmp_path, attack):
    whole = train(Forgetful(), attack=attack)
    with pytest.raises(resume.Stopped), StoppedAt(tmp_path / "networks", 4) as state:
        train(state, attack=attack)
    torch.manual_seed(123)
    with resume.State(tmp_path / "networks", "identity") as state:
        again = train(state, attack=attack)
        assert state.resumed
    assert torch.equal(again[0], whole[0])
    assert all(torch.equal(again[1][name], whole[1][name]) for name in whole[1])
    assert again[2] == whole[2]


def test_a_population_with_dropout_is_refused(googlenet, tiny_dataset, one_line):
    functional = Functional(googlenet(0))
    vectors, buffers = packed(functional, googlenet(1), googlenet(2))
    batch = batch_of(tiny_dataset, lanes=2)
    with one_line(ValueError, "dropout", "population to 1"):
        classification.training_loss(functional, vectors, buffers, batch, None)


def test_evaluation_takes_many_at_once_and_draws_nothing(googlenet, tiny_dataset):
    population = [googlenet(1), googlenet(2)]
    functional = Functional(googlenet(0))
    vectors, buffers = packed(functional, *population)
    images = tiny_dataset.example(8).double()
    logits = functional(vectors, buffers, images.expand(2, *images.shape))
    for lane, network in enumerate(population):
        torch.testing.assert_close(logits[lane], network.eval()(images))
