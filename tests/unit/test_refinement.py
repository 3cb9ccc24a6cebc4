"""PAM: relaxed permutations against real ones, projections and decompositions against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_matching import NETWORKS, draw, pictures
from test_optimization import Forgetful, StoppedAt
from torch.func import functional_call

from modeconn import classification, curves, datasets, optimization, permutation, refinement, resume
from modeconn.functional import Functional
from modeconn.populations import Population

RECIPE = {"augmentation": {"shift": 1}, "attack": None}
ATTACK = {"epsilon": 0.1, "step": 0.05, "steps": 2, "random_start": True}
SETTINGS = {
    "epochs": 2,
    "batch": 16,
    "learning_rate": 0.05,
    "nu": 1000,
    "projections": 20,
    "terms": 11,
    "samples": 8,
    "seed": 0,
}


class Asked(Forgetful):
    """A state that keeps nothing and counts how often it is asked whether to stop."""

    count = 0

    def answer(self):
        self.count += 1


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def as_matrix(indices):
    return torch.eye(len(indices))[indices]


def matrices_of(order):
    return {group: as_matrix(indices) for group, indices in order.items()}


# --- relaxed permutations ---


@pytest.mark.parametrize("name", ["tinyten", "resnet20", "flattening", "concatenating"])
def test_matrices_of_permutations_do_what_the_permutations_do(name):
    network = NETWORKS[name]()
    spec = permutation.discover(network, pictures(2))
    tensors, order = draw(network, 1), permutation.random(spec, seeded())
    assert any("running" in name for name in tensors) == (name != "flattening")
    expected = permutation.apply(spec, order, tensors)
    found = refinement.mix(spec, matrices_of(order), tensors)
    assert found.keys() == expected.keys()
    for tensor in expected:
        assert torch.equal(found[tensor], expected[tensor]), tensor


def test_tensors_are_linear_in_each_matrix():
    network = NETWORKS["concatenating"]()
    spec = permutation.discover(network, pictures(2))
    tensors, identity = draw(network, 1), permutation.identity(spec)
    for group, size in spec.groups.items():
        orders = [torch.randperm(size, generator=seeded(seed)) for seed in (1, 2)]
        blend = 0.3 * as_matrix(orders[0]) + 0.7 * as_matrix(orders[1])
        found = refinement.mix(spec, matrices_of(identity) | {group: blend}, tensors)
        first, second = (permutation.apply(spec, identity | {group: order}, tensors) for order in orders)
        for name in tensors:
            torch.testing.assert_close(found[name], 0.3 * first[name] + 0.7 * second[name])


@pytest.mark.parametrize("size", [1, 7, 64])
def test_projecting_keeps_permutations(size):
    matrices = torch.stack([as_matrix(torch.randperm(size, generator=seeded(s))) for s in range(3)])
    projected = matrices.clone()
    refinement.project(projected, 20)
    torch.testing.assert_close(projected, matrices, rtol=0, atol=1e-6)


@pytest.mark.parametrize("times", [1, 20])
def test_rows_and_columns_sum_to_one_after_projecting(times):
    matrices = torch.randn(2, 3, 30, 30, generator=seeded())
    refinement.project(matrices, times)
    for axis in (-1, -2):
        torch.testing.assert_close(matrices.sum(axis), torch.ones(2, 3, 30), rtol=0, atol=1e-5)


# The paper's 20 rounds leave negative entries that the decomposition does not see; more rounds leave none.
@pytest.mark.parametrize(("times", "least"), [(20, -0.1 * refinement.LEAST_ENTRY), (200, -1e-6)])
def test_entries_are_hardly_negative_after_projecting_a_step_away_from_a_permutation(times, least):
    steps = 1e-3 * torch.randn(5, 32, 32, generator=seeded())
    matrices = torch.eye(32) + steps
    refinement.project(matrices, times)
    assert matrices.min() >= least
    # It has moved, and not back to where it was.
    assert (matrices - torch.eye(32)).abs().max() > 1e-3


def test_the_projection_is_to_the_nearest_matrix_with_sums_of_one():
    matrix = torch.rand(6, 6, generator=seeded(), dtype=torch.float64) + 0.5
    projected = matrix.clone()
    refinement.project(projected, 1)
    # The shortest change with which rows and columns sum to one, by least squares.
    sums = np.concatenate([np.kron(np.eye(6), np.ones(6)), np.kron(np.ones(6), np.eye(6))])
    change = np.linalg.lstsq(sums, 1 - sums @ matrix.flatten().numpy(), rcond=None)[0]
    np.testing.assert_allclose((projected - matrix).flatten().numpy(), change, atol=1e-12)


# --- training ---


@pytest.fixture(scope="module")
def trained(tiny_dataset, tiny_network):
    """Pair of a network that has learned the small data set, and itself."""
    network = tiny_network(1)
    functional = Functional(network)
    vectors, buffers = functional.stack([network.state_dict()])
    vectors.requires_grad_(True)
    optimization.minimize(
        classification.objective_of(functional, vectors, buffers, None),
        [vectors],
        lambda epoch, step: datasets.batches(tiny_dataset, [1], epoch, step, 16, {"shift": 1}),
        {
            "epochs": 15,
            "schedule": "constant",
            "optimizer": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0},
        },
        lanes=["seed 1"],
        report=lambda row: None,
        state=Forgetful(),
        buffers=buffers,
    )
    tensors = {name: tensor[0].detach() for name, tensor in functional.named(vectors, buffers).items()}
    return Population(tiny_dataset, functional, (tensors, tensors))


@pytest.fixture(scope="module")
def spec(trained):
    return trained.spec()


@pytest.fixture(scope="module")
def swapped(trained, spec):
    """The trained network and itself with two pairs of channels of each group exchanged."""
    orders = permutation.identity(spec)
    for order in orders.values():
        order[:4] = torch.tensor([1, 0, 3, 2])
    still = permutation.identity(trained.spec())
    return trained.permuted(permutation.stacked([still, still | orders]))


def relax(pair, spec, recipe=RECIPE, state=None, **changes):
    settings = SETTINGS | changes
    return refinement.relax(
        pair, spec, settings, recipe, lane="test", report=lambda row: None, state=state or Forgetful()
    )


def score(pair, second):
    ends = torch.stack([pair.functional.pack(tensors)[0] for tensors in (pair.members[0], second)])
    return refinement.score(pair.functional, ends, *pair.dataset.split("train"), 16, None)


def test_a_step_is_descent_then_proximal_then_projected(swapped, spec):
    rate, nu, size = 0.4, 2.0, 44
    matrices, history = relax(swapped, spec, epochs=1, batch=size, learning_rate=rate, nu=nu, projections=3)

    # Where all matrices are the identity, a group's gradient is a sum over its axes of products of channels.
    ((images, labels, (rng,)),) = datasets.batches(swapped.dataset, ["test"], 0, 0, size, RECIPE["augmentation"])
    t = torch.rand((), generator=rng).item()
    tensors = {}
    for name in swapped.functional.shapes:
        tensors[name] = ((1 - t) * swapped.members[0][name] + t * swapped.members[1][name]).requires_grad_(True)
    loss = F.cross_entropy(functional_call(swapped.functional.network.train(), tensors, (images[0],)), labels[0])
    loss.backward()
    gradients = {group: torch.zeros(n, n) for group, n in spec.groups.items()}
    for axis in spec.axes:
        if axis.tensor in tensors:
            (segment,) = axis.segments
            new, old = (
                tensor.movedim(axis.dim, 0).flatten(1) if tensor.ndim > 1 else tensor[:, None]
                for tensor in (tensors[axis.tensor].grad, swapped.members[1][axis.tensor])
            )
            gradients[segment.group] += t * new @ old.T
    assert history[0]["loss"][0] == pytest.approx(loss.item(), rel=1e-5)
    for group, gradient in gradients.items():
        identity = torch.eye(len(gradient))
        expected = (identity - rate * gradient + rate / nu * identity) / (1 + rate / nu)
        refinement.project(expected, 3)
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(matrices[group], expected, rtol=1e-3, atol=1e-5)


def test_training_lowers_the_loss_along_the_line(swapped, spec):
    matrices, history = relax(swapped, spec, epochs=40, learning_rate=0.2)
    losses = [row["loss"][0] for row in history]
    # One t a batch, three batches an epoch: only a mean over epochs says something.
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert score(swapped, refinement.mix(spec, matrices, swapped.members[1])) < 0.2 * score(swapped, swapped.members[1])


def test_without_learning_the_start_is_left_as_it_is(swapped, spec):
    matrices, _ = relax(swapped, spec, learning_rate=0)
    for group, matrix in matrices.items():
        assert torch.equal(matrix, torch.eye(spec.groups[group]))
    found = refinement.candidates(spec, matrices, SETTINGS)
    chosen, scores = refinement.choose(swapped, spec, found, 16, None, Asked())
    assert all(torch.equal(chosen[group], order) for group, order in permutation.identity(spec).items())
    assert len(scores) == 2 + SETTINGS["samples"] and len(set(scores.values())) == 1


def test_networks_are_left_as_they_are(swapped, spec):
    before = {name: tensor.clone() for name, tensor in swapped.members[1].items()}
    relax(swapped, spec)
    assert all(torch.equal(swapped.members[1][name], before[name]) for name in before)


def test_an_attack_raises_the_loss_that_is_trained_on(swapped, spec):
    clean, attacked = (relax(swapped, spec, RECIPE | {"attack": of}, epochs=1)[1] for of in (None, ATTACK))
    assert attacked[0]["loss"][0] > clean[0]["loss"][0]


# Epochs have three steps: within the first, its last, within the second.
@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_run_goes_on_with_the_same_bits(swapped, spec, tmp_path, step):
    whole, history = relax(swapped, spec)
    with pytest.raises(resume.Stopped), StoppedAt(tmp_path / "permutation", step) as state:
        relax(swapped, spec, state=state)
    with resume.State(tmp_path / "permutation", "identity") as state:
        found, again = relax(swapped, spec, state=state)
        assert state.resumed
    assert again == history
    assert all(torch.equal(found[group], whole[group]) for group in whole)


def test_a_run_that_is_stopped_while_candidates_are_scored_has_kept_its_training(swapped, spec, tmp_path):
    whole, _ = relax(swapped, spec)
    with pytest.raises(resume.Stopped), resume.State(tmp_path / "permutation", "identity") as state:
        matrices, _ = relax(swapped, spec, state=state)
        state._note(15, None)
        refinement.choose(swapped, spec, refinement.candidates(spec, matrices, SETTINGS), 16, None, state)
    with resume.State(tmp_path / "permutation", "identity") as state:
        found, _ = relax(swapped, spec, state=state)
        assert state.resumed
    assert all(torch.equal(found[group], whole[group]) for group in whole)


# --- rounding ---


def orders(size, count):
    return [torch.randperm(size, generator=seeded(seed)) for seed in range(count)]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_a_permutation_is_its_own_decomposition(size):
    (order,) = orders(size, 1)
    coefficients, terms = refinement.birkhoff(as_matrix(order), 11)
    assert coefficients.tolist() == [1]
    assert torch.equal(terms, order[None])
    assert torch.equal(refinement.nearest(as_matrix(order)), order)


def test_few_permutations_are_found_again_in_their_combination():
    weights = [0.5, 0.3, 0.15, 0.05]
    matrix = sum(w * as_matrix(order).double() for w, order in zip(weights, orders(20, 4)))
    coefficients, terms = refinement.birkhoff(matrix, 11)
    assert coefficients.sum().item() == pytest.approx(1)
    assert (coefficients.diff() <= 0).all()
    found = sum(c * as_matrix(order).double() for c, order in zip(coefficients, terms))
    torch.testing.assert_close(found, matrix, rtol=0, atol=1e-9)
    assert torch.equal(refinement.nearest(matrix), orders(20, 1)[0])


def test_only_the_largest_terms_are_kept_and_their_coefficients_sum_to_one():
    # Disjoint cycles, so that the decomposition is the only one.
    weights = [0.1, 0.4, 0.2, 0.3]
    cycles = [torch.arange(9).roll(shift) for shift in range(4)]
    matrix = sum(w * as_matrix(order).double() for w, order in zip(weights, cycles))
    coefficients, terms = refinement.birkhoff(matrix, 2)
    assert coefficients.tolist() == pytest.approx([4 / 7, 3 / 7])
    assert torch.equal(terms, torch.stack([cycles[1], cycles[3]]))


def test_a_positive_assignment_is_found_where_the_best_sum_has_a_zero():
    twentieths = [[14, 0, 0, 0, 6], [0, 14, 0, 0, 6], [0, 0, 5, 12, 3], [6, 6, 0, 8, 0], [0, 0, 15, 0, 5]]
    matrix = torch.tensor(twentieths, dtype=torch.float64) / 20
    assert matrix[range(5), refinement.nearest(matrix)].min() == 0
    coefficients, terms = refinement.birkhoff(matrix, 11)
    found = sum(c * as_matrix(order).double() for c, order in zip(coefficients, terms))
    torch.testing.assert_close(found, matrix, rtol=0, atol=1e-9)


def test_a_matrix_of_small_entries_only_has_the_nearest_permutation(monkeypatch):
    monkeypatch.setattr(refinement, "LEAST_ENTRY", 0.5)
    matrix = torch.full((4, 4), 0.2) + 0.2 * as_matrix(torch.tensor([2, 0, 3, 1]))
    coefficients, terms = refinement.birkhoff(matrix, 11)
    assert coefficients.tolist() == [1]
    assert terms.tolist() == [[2, 0, 3, 1]]


def test_samples_draw_each_group_for_itself_by_its_coefficients():
    groups = {"one": 4, "other": 6}
    spec = permutation.PermutationSpec(groups=groups, axes=(), sites={}, pre_sites={})
    cycles = {group: torch.arange(size).roll(1) for group, size in groups.items()}
    shares = {"one": 0.25, "other": 0.4}
    matrices = {
        group: (1 - shares[group]) * torch.eye(size) + shares[group] * as_matrix(cycles[group])
        for group, size in groups.items()
    }
    found = refinement.candidates(spec, matrices, SETTINGS | {"samples": 2000})
    assert list(found)[:3] == ["start", "nearest", "sample 1"] and len(found) == 2002
    samples = [found[f"sample {number}"] for number in range(1, 2001)]
    moved = {group: [torch.equal(s[group], cycles[group]) for s in samples] for group in groups}
    for group, share in shares.items():
        assert np.mean(moved[group]) == pytest.approx(share, abs=0.04)
    assert np.mean([a and b for a, b in zip(moved["one"], moved["other"])]) == pytest.approx(0.1, abs=0.03)
    # The same seed draws the same, another one something else.
    again, other = (refinement.candidates(spec, matrices, SETTINGS | {"seed": seed}) for seed in (0, 1))
    first = refinement.candidates(spec, matrices, SETTINGS)
    assert str(again) == str(first) and str(other) != str(first)


@pytest.mark.parametrize("attack", [None, ATTACK])
def test_a_score_is_the_cross_entropy_with_t_swept_over_the_batches(swapped, attack):
    images, labels = swapped.dataset.split("train")
    ends = swapped.vectors()
    found = refinement.score(swapped.functional, ends, images, labels, 20, attack)
    total = 0
    for t, part in zip((0, 0.5, 1), (slice(0, 20), slice(20, 40), slice(40, 44))):
        tensors = swapped.functional.unpack((1 - t) * ends[0] + t * ends[1])
        logits = functional_call(swapped.functional.network.train(), tensors, (images[part].float() / 255,))
        total += F.cross_entropy(logits, labels[part], reduction="sum").item()
    if attack is None:
        assert found == pytest.approx(total / 44, rel=1e-4)
    else:
        assert found > total / 44


@pytest.mark.parametrize("size", [22, 44])
def test_few_batches_are_scored_within_the_line(swapped, size):
    """At its ends the scores of all permutations are one."""
    images, labels = swapped.dataset.split("train")
    ends = swapped.vectors()
    count = 44 // size
    t = torch.linspace(0, 1, count + 2, dtype=torch.float64)[1:-1]
    expected = 0
    for value, part, of in zip(t, datasets.in_order(images, size), labels.split(size), strict=True):
        _, _, entropies, _ = curves.training_loss_at(
            swapped.functional, ends[None], "linear", value[None], (part, of[None], [seeded(1)]), None
        )
        expected += entropies.item() / count
    assert refinement.score(swapped.functional, ends, images, labels, size, None) == pytest.approx(expected)


def test_the_lowest_of_all_candidates_is_chosen_and_equal_ones_are_scored_once(trained, spec):
    """Also where a sample is better than the nearest permutation and the start better than both."""
    ranked = sorted(
        (permutation.random(spec, seeded(seed)) for seed in range(3)),
        key=lambda order: score(trained, permutation.apply(spec, order, trained.members[1])),
    )
    start = permutation.identity(spec)
    found = {"start": start, "nearest": ranked[2], "sample 1": ranked[0], "sample 2": ranked[2], "sample 3": ranked[0]}
    state = Asked()
    chosen, scores = refinement.choose(trained, spec, found, 16, None, state)
    assert scores["start"] < scores["sample 1"] < scores["nearest"]
    assert scores["nearest"] == scores["sample 2"] and scores["sample 1"] == scores["sample 3"]
    assert chosen is start
    assert state.count == 3
    del found["start"]
    assert refinement.choose(trained, spec, found, 16, None, Asked())[0] is ranked[0]
    for name, order in found.items():
        assert scores[name] == score(trained, permutation.apply(spec, order, trained.members[1]))


def test_candidates_are_scored_on_batches_of_all_classes(trained, spec, monkeypatch):
    """Also where files lie in the order of their classes."""
    order = torch.argsort(trained.dataset.train_labels, stable=True)
    images, labels = trained.dataset.train_images[order], trained.dataset.train_labels[order]
    by_class = replace(trained, dataset=replace(trained.dataset, train_images=images, train_labels=labels))
    seen = []
    monkeypatch.setattr(refinement, "score", lambda functional, ends, images, labels, *_: seen.append(labels) or 0.0)
    refinement.choose(by_class, spec, {"start": permutation.identity(spec)}, 16, None, Asked())
    assert [part.unique().tolist() for part in seen[0].split(16)] == [[0, 1, 2]] * 3


def test_the_result_is_never_worse_than_the_start_or_the_nearest_permutation(swapped, spec):
    matrices, _ = relax(swapped, spec, epochs=15, learning_rate=0.2)
    found = refinement.candidates(spec, matrices, SETTINGS)
    chosen, scores = refinement.choose(swapped, spec, found, 16, None, Asked())
    result = score(swapped, permutation.apply(spec, chosen, swapped.members[1]))
    assert result == min(scores.values()) <= min(scores["start"], scores["nearest"])
    # The training has found something to choose from.
    assert result < scores["start"]


def test_a_relaxation_holds_every_group_once(spec):
    relaxation = refinement.Relaxation(spec, "cpu")
    assert {group: len(matrix) for group, matrix in relaxation.matrices().items()} == spec.groups
    assert len(relaxation.variables) == len(set(spec.groups.values()))


@pytest.mark.parametrize("name", ["resnet20", "flattening"])
def test_any_network_is_trained_in_all_its_groups(tiny_dataset, name):
    """Nothing names an architecture: residual streams, repeats after a flatten."""
    network = NETWORKS[name]()
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=seeded(), dtype=torch.uint8)
    labels = torch.arange(8) % 5
    dataset = replace(tiny_dataset, train_images=images, train_labels=labels)
    pair = Population(dataset, Functional(network), (draw(network, 1), draw(network, 2)))
    spec = pair.spec()
    matrices, _ = relax(pair, spec, epochs=1, batch=8)
    moved = [not torch.equal(matrix, torch.eye(len(matrix))) for matrix in matrices.values()]
    assert all(moved) and len(moved) == len(spec.groups)
