"""Networks as classifiers: loss, accuracy and attacks on populations, against plain loops over plain modules."""

import pytest
import torch
import torch.nn.functional as F

from modeconn import attacks, classification, datasets, networks
from modeconn.functional import Functional
from modeconn.randomness import generator

ATTACK = {"epsilon": 0.1, "step": 0.03, "steps": 3, "random_start": True}


@pytest.fixture
def population(tiny_network):
    return [tiny_network(seed) for seed in (1, 2)]


@pytest.fixture
def functional(tiny_network):
    return Functional(tiny_network(0))


@pytest.fixture
def batch(tiny_dataset):
    return next(datasets.batches(tiny_dataset, [1, 2], 0, 0, 20, {"shift": 1}))


def stacked(functional, population):
    return functional.stack(network.state_dict() for network in population)


def test_cross_entropy_and_correct_answers_of_each_lane():
    logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [2.0, 0.0]]])
    entropies, correct = classification.measure(logits, torch.tensor([[0, 0], [0, 1]]))
    log = torch.tensor([2.0, 1 + torch.e**-2, 1 + torch.e**2]).log()
    torch.testing.assert_close(entropies, torch.stack([log[0], (log[1] + log[2]) / 2]))
    assert correct.tolist() == [2, 1]


@pytest.mark.parametrize("lanes, count", [(1, 1), (3, 5), (50, 256), (7, 1171)])
@pytest.mark.parametrize("classes", [2, 7, 10, 15, 16])
def test_losses_have_the_bits_of_torchs_own_whatever_the_layout(lanes, count, classes, monkeypatch):
    monkeypatch.setattr(classification, "MANY", 0)
    drawing = generator("logits", lanes, count, classes)
    logits = torch.randn(lanes, count, classes, generator=drawing).mul_(9).requires_grad_()
    labels = torch.randint(classes, (lanes, count), generator=drawing)
    of_each = [F.cross_entropy(lane, target, reduction="none") for lane, target in zip(logits, labels)]
    expected = torch.stack(of_each).mean(1)
    found = classification.cross_entropies(logits, labels)
    assert found.equal(expected)
    shares = torch.rand(lanes, generator=drawing)
    gradients = []
    for losses in (found, expected):
        logits.register_hook(gradients.append)  # as they arrive
        torch.autograd.grad((losses * shares).sum(), logits)
    assert gradients[0].equal(gradients[-1])
    assert gradients[0].is_contiguous()


def test_training_has_the_same_bits_however_losses_are_computed(tiny_dataset, monkeypatch):
    """Sums over gradients, a bias's say, have other bits in another layout."""
    network = {"family": "mlp", "hidden": [32, 32], "norm": "layer", "width": 1}
    functional = Functional(networks.of(network, tiny_dataset))
    vectors, buffers = functional.stack(networks.of(network, tiny_dataset, seed).state_dict() for seed in (1, 2, 3))
    vectors.requires_grad_()
    batch = next(datasets.batches(tiny_dataset, [1, 2, 3], 0, 0, 64, {}))
    gradients = []
    for many in (0, 2**40):
        monkeypatch.setattr(classification, "MANY", many)
        losses, *_ = classification.training_loss(functional, vectors, buffers, batch, None)
        gradients += torch.autograd.grad(losses.sum(), vectors)
    assert gradients[0].equal(gradients[1])


@pytest.mark.parametrize("batch", [7, 20, 64])
def test_evaluation_equals_a_plain_loop(functional, population, tiny_dataset, batch):
    images, labels = tiny_dataset.split("test")
    losses, accuracies = classification.evaluate(functional, *stacked(functional, population), images, labels, batch)
    for network, loss, accuracy in zip(population, losses, accuracies):
        total = correct = 0
        for image, label in zip(images, labels):
            logits = network.eval()(image[None] / 255)[0]
            total += F.cross_entropy(logits, label).item()
            correct += int(logits.argmax() == label)
        assert loss.item() == pytest.approx(total / len(labels), rel=1e-5)
        assert accuracy.item() == correct / len(labels)
    # Networks and figures that could not be told apart would prove little.
    assert losses[0] != losses[1]
    assert 0 < accuracies.min() < 1


def test_evaluation_leaves_statistics_and_gradients_alone(functional, population, tiny_dataset):
    vectors, buffers = stacked(functional, population)
    before = {name: b.clone() for name, b in buffers.items()}
    classification.evaluate(functional, vectors, buffers, *tiny_dataset.split("test"), 20, attack=ATTACK)
    assert all(torch.equal(buffers[name], before[name]) for name in before)
    assert not vectors.requires_grad


def test_an_attack_raises_the_loss_and_its_seed_decides_the_figures(functional, population, tiny_dataset):
    def loss(attack, seed=0):
        packed = stacked(functional, population)
        return classification.evaluate(functional, *packed, *tiny_dataset.split("test"), 7, attack, seed)[0]

    attacked = loss(ATTACK)
    assert (attacked > loss(None)).all()
    assert torch.equal(attacked, loss(ATTACK))
    assert not torch.equal(attacked, loss(ATTACK, seed=1))


def test_random_starts_are_the_same_for_every_network_and_new_in_every_batch(functional, population, tiny_dataset):
    packed = stacked(functional, [population[0]] * 2)
    images, labels = (part[:1].expand(20, *part.shape[1:]) for part in tiny_dataset.split("test"))
    loss, _ = classification.evaluate(functional, *packed, images, labels, 5, ATTACK)
    torch.testing.assert_close(loss[0], loss[1])
    # The same image four times over: with new starts the parts of the evaluation differ.
    first, _ = classification.evaluate(functional, *packed, images[:5], labels[:5], 5, ATTACK)
    assert not torch.isclose(loss[0], first[0], rtol=1e-6)


def losses_and_answers(network, images, labels):
    with torch.no_grad():
        logits = network.eval()(images)
    return F.cross_entropy(logits, labels, reduction="none"), logits.argmax(1) == labels


def restarted(network, images, labels, attack, rng):
    """Losses and answers of every attempt, by a loop over restarts with one plain module: (R, N) each."""
    objective = lambda x: F.cross_entropy(network(x), labels, reduction="sum")  # noqa: E731
    keys = {key: attack[key] for key in ("epsilon", "step", "steps")}
    images = images.float() / 255
    tried = []
    for _ in range(attack["restarts"]):
        noise = torch.empty_like(images).uniform_(-attack["epsilon"], attack["epsilon"], generator=rng)
        tried.append(attacks.pgd(objective, images, start=noise, **keys))
    return torch.stack(tried), *map(torch.stack, zip(*(losses_and_answers(network, x, labels) for x in tried)))


def test_of_several_restarts_the_worst_counts_for_each_image(functional, population, tiny_dataset):
    images, labels = tiny_dataset.split("test")
    attack = ATTACK | {"restarts": 4, "steps": 1, "step": 0.01}
    found = classification.evaluate(functional, *stacked(functional, population), images, labels, 20, attack)
    alone = classification.evaluate(
        functional, *stacked(functional, population), images, labels, 20, attack | {"restarts": 1}
    )
    for lane, network in enumerate(population):
        network.eval()
        rng = generator("evaluation", 0, 0)
        _, losses, right = restarted(network, images, labels, attack, rng)
        assert found[0][lane].item() == pytest.approx(losses.max(0).values.mean().item(), rel=1e-3)
        assert found[1][lane].item() == right.all(0).double().mean()
        assert alone[0][lane].item() == pytest.approx(losses[0].mean().item(), rel=1e-3)
    assert (found[0] > alone[0]).all() and (found[1] <= alone[1]).all()
    same = classification.evaluate(functional, *stacked(functional, population), images, labels, 20, ATTACK)
    once = ATTACK | {"restarts": 1}
    again = classification.evaluate(functional, *stacked(functional, population), images, labels, 20, once)
    assert torch.equal(torch.stack(same), torch.stack(again))


def test_training_takes_the_attempt_of_the_highest_loss(functional, population, tiny_dataset):
    images, labels = tiny_dataset.split("test")
    attack = ATTACK | {"restarts": 3, "steps": 1, "step": 0.01}
    inputs = (images.float() / 255).expand(2, *images.shape)
    found = classification.attacked(
        functional,
        *stacked(functional, population),
        inputs,
        labels.expand(2, -1),
        attack,
        [generator("here", lane) for lane in range(2)],
        train=False,
    )
    for lane, network in enumerate(population):
        tried, losses, _ = restarted(network.eval(), images, labels, attack, generator("here", lane))
        expected = torch.stack([tried[attempt, image] for image, attempt in enumerate(losses.argmax(0).tolist())])
        # Where a gradient is all but zero its sign is a matter of rounding.
        assert (found[lane] - expected).abs().gt(1e-6).float().mean() < 0.01
        assert len(set(losses.argmax(0).tolist())) == 3


def test_features_are_not_attacked(functional, population, one_line):
    """They lie where they like, an attack keeps within [0, 1]."""
    points, labels = torch.randn(4, 2, 1, 1), torch.zeros(4, dtype=torch.long)
    attack = {"epsilon": 0.1, "step": 0.1, "steps": 1, "random_start": False}
    with one_line(ValueError, "features", "leave the attack out"):
        classification.evaluate(functional, *stacked(functional, population), points, labels, 4, attack)


def test_no_attack_leaves_the_images(functional, population, batch):
    images, labels, generators = batch
    found = classification.attacked(
        functional, *stacked(functional, population), images, labels, None, generators, True
    )
    assert found is images


@pytest.mark.parametrize("train", [False, True])
def test_attacked_images_are_those_of_each_network_alone(functional, population, batch, train):
    images, labels, generators = batch
    vectors, buffers = stacked(functional, population)
    before = {name: b.clone() for name, b in buffers.items()}
    states = [g.get_state() for g in generators]
    found = classification.attacked(functional, vectors, buffers, images, labels, ATTACK, generators, train)
    assert all(torch.equal(buffers[name], before[name]) for name in before)
    for rng, state in zip(generators, states):
        rng.set_state(state)
    start = attacks.random_start(images, ATTACK["epsilon"], generators)
    for lane, network in enumerate(population):
        network.train(train)

        def objective(candidates, network=network, labels=labels[lane]):
            return F.cross_entropy(network(candidates), labels, reduction="sum")

        expected = attacks.pgd(objective, images[lane], epsilon=0.1, step=0.03, steps=3, start=start[lane])
        # Where a gradient is all but zero its sign is a matter of rounding.
        assert (found[lane] - expected).abs().gt(1e-6).float().mean() < 0.01
        assert (found[lane] - images[lane]).abs().max() > 0.05


@pytest.mark.parametrize("attack", [None, ATTACK])
def test_the_objective_is_the_loss_of_the_plain_networks(tiny_network, batch, attack):
    population = [tiny_network(seed, dtype=torch.float64) for seed in (1, 2)]
    functional = Functional(tiny_network(0, dtype=torch.float64))
    vectors, buffers = stacked(functional, population)
    vectors.requires_grad_(True)
    images, labels, generators = batch
    states = [g.get_state() for g in generators]
    losses, entropies, correct = classification.objective_of(functional, vectors, buffers, attack)(batch)
    losses.sum().backward()
    assert torch.equal(losses.detach(), entropies)
    assert not entropies.requires_grad
    for lane, network in enumerate(population):
        generators[lane].set_state(states[lane])
        alone = [part[lane : lane + 1] for part in (images, labels)]
        packed = stacked(functional, [network])
        inputs = classification.attacked(functional, *packed, *alone, attack, [generators[lane]], True)[0]
        logits = network.train()(inputs)
        loss = F.cross_entropy(logits, labels[lane])
        loss.backward()
        torch.testing.assert_close(losses[lane], loss)
        assert correct[lane] == (logits.argmax(1) == labels[lane]).sum()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
        torch.testing.assert_close(vectors.grad[lane], gradient)
        # Statistics follow each batch once, however many steps an attack takes.
        for name, buffer in buffers.items():
            torch.testing.assert_close(buffer[lane], network.state_dict()[name])
