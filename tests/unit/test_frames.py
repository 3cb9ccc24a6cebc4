"""Frames of many networks: against brute force, on permuted copies, and never worse step by step."""

from itertools import permutations as orders
from itertools import product

import pytest
import torch

from modeconn import networks, permutation
from modeconn.matching import frames, gains, weight

METHODS = [frames.first, frames.mean, frames.cycle]


def specified(hidden, norm="none", classes=3):
    """A specification, and the names of the parameters."""
    values = {"family": "mlp", "hidden": hidden, "norm": norm}
    network = networks.build(values, shape=(2, 1, 1), classes=classes, mean=[0.0] * 2, std=[1.0] * 2)
    spec = permutation.discover(network, torch.rand(2, 2, 1, 1))
    return network, spec, [name for name, _ in network.named_parameters()]


def drawn(network, count, seed=0):
    """Tensors of `count` networks, name -> (count, ...), of random numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(count, *tensor.shape, generator=generator) for name, tensor in network.state_dict().items()
    }


def copies(spec, tensors, count, seed=1):
    """The first of these networks, permuted at random `count` times; the first copy is the network itself."""
    generator = torch.Generator().manual_seed(seed)
    original = {name: stack[0] for name, stack in tensors.items()}
    permuted = [original] + [
        permutation.apply(spec, permutation.random(spec, generator), original) for _ in range(count - 1)
    ]
    return {name: torch.stack([one[name] for one in permuted]) for name in original}


def all_frames(spec, count):
    """Every frame of one hidden layer in which the first network's row is the identity."""
    ((group, size),) = spec.groups.items()
    every = list(orders(range(size)))
    for rows in product(every, repeat=count - 1):
        yield {group: torch.tensor([range(size), *rows])}


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_of_two_networks_every_frame_is_the_best_there_is(size):
    network, spec, names = specified([size])
    for seed in range(3):
        tensors = drawn(network, 2, seed)
        best = max(frames.objective(spec, tensors, names, frame) for frame in all_frames(spec, 2))
        for method in METHODS:
            frame = method(spec, tensors, names)
            assert frames.objective(spec, tensors, names, frame) == pytest.approx(best, rel=1e-12)


def test_each_network_is_matched_to_the_first_as_well_as_can_be():
    network, spec, names = specified([5])
    tensors = drawn(network, 4)
    frame = frames.first(spec, tensors, names)
    ((group, found),) = frame.items()
    assert found[0].tolist() == [0, 1, 2, 3, 4]
    for lane in (1, 2, 3):
        pair = {name: stack[[0, lane]] for name, stack in tensors.items()}
        best = max(all_frames(spec, 2), key=lambda candidate: frames.objective(spec, pair, names, candidate))
        assert torch.equal(found[lane], best[group][1])


def test_no_frame_of_three_networks_is_better_than_brute_force_and_cycle_is_near():
    network, spec, names = specified([4])
    reached = []
    for seed in range(8):
        tensors = drawn(network, 3, seed)
        best = max(frames.objective(spec, tensors, names, frame) for frame in all_frames(spec, 3))
        values = [frames.objective(spec, tensors, names, method(spec, tensors, names)) for method in METHODS]
        assert max(values) <= best * (1 + 1e-12)
        assert values[2] >= max(values) * (1 - 1e-12)
        reached.append(values[2] / best)
    assert min(reached) > 0.9
    assert sum(share > 1 - 1e-9 for share in reached) >= 4


@pytest.mark.parametrize(("hidden", "norm"), [([7], "none"), ([6, 5, 4], "layer")])
@pytest.mark.parametrize("method", [frames.first, frames.cycle])
def test_permuted_copies_are_brought_together_exactly(method, hidden, norm):
    network, spec, names = specified(hidden, norm)
    tensors = copies(spec, drawn(network, 1), 6)
    frame = method(spec, tensors, names)
    for stack in frames.apply(spec, frame, tensors).values():
        assert torch.equal(stack, stack[:1].expand_as(stack))
    # Every one is the first one, so the way from k to l is known, and each cycle ends where it began.
    for to, lane in product(range(6), repeat=2):
        one, other = ({name: stack[k] for name, stack in tensors.items()} for k in (to, lane))
        moved = permutation.apply(spec, frames.between(frame, to, lane), other)
        assert all(torch.equal(moved[name], one[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_the_way_around_a_cycle_is_the_identity(method):
    network, spec, names = specified([6, 5])
    frame = method(spec, drawn(network, 4), names)
    for around in product(range(4), repeat=3):
        way = permutation.identity(spec)
        for lane, to in zip(around, (*around[1:], around[0])):
            way = permutation.compose(way, frames.between(frame, to, lane))
        assert all(torch.equal(way[group], torch.arange(size)) for group, size in spec.groups.items())


def test_every_step_raises_the_objective(monkeypatch):
    network, spec, names = specified([6, 5], "layer")
    tensors = drawn(network, 5)
    reached = []
    move = frames._Ascent._move

    def watched(ascent, lanes, group):
        def value():
            frame = {g: torch.stack([p[g] for p in ascent.permutations]) for g in spec.groups}
            return frames.objective(spec, tensors, names, frame)

        before = value()
        gained = move(ascent, lanes, group)
        assert value() > before if gained else value() == before
        # The sum that steps are measured by stays that of the networks in the frame.
        whole = ascent._sum(range(5), ascent.total)
        assert all(torch.allclose(ascent.total[name], whole[name], rtol=1e-12, atol=1e-12) for name in whole)
        reached.append(gained)
        return gained

    monkeypatch.setattr(frames._Ascent, "_move", watched)
    frames.cycle(spec, tensors, names)
    assert any(reached) and not all(reached)


@pytest.mark.parametrize("seed", range(4))
def test_cycle_is_never_below_the_others(seed):
    network, spec, names = specified([8, 6])
    tensors = drawn(network, 6, seed)
    of_first, of_mean = (method(spec, tensors, names, seed) for method in (frames.first, frames.mean))
    found = frames.cycle(spec, tensors, names, seed)
    assert all(
        torch.equal(found[group], again)
        for group, again in frames.cycle(spec, tensors, names, seed, [of_first, of_mean]).items()
    )
    values = [frames.objective(spec, tensors, names, frame) for frame in (of_first, of_mean, found)]
    assert values[2] >= max(values[:2])


def test_networks_that_gain_nothing_alone_gain_together():
    """Two kinds of three equal networks. Their units have inner products of 18 within a kind, of 9 across.

    One network alone that changes the order of its two units gains 3 * 2 * 9 and loses 2 * 2 * 18.
    """
    _, spec, _ = specified([2], classes=4)
    ((group, _),) = spec.groups.items()
    units, rest = 3 * torch.eye(2), torch.zeros(2, 2)
    read = [torch.cat([units, rest]), torch.cat([rest, units.flip(1)])]
    tensors = {
        f"{group}.weight": torch.stack([units] * 3 + [units.flip(0)] * 3),
        "network.dense.weight": torch.stack([read[0]] * 3 + [read[1]] * 3),
    }
    stuck = {group: torch.tensor([[0, 1]] * 6)}
    assert frames.objective(spec, tensors, tensors, stuck) == 2 * 3 * 2 * 18
    assert torch.equal(frames.mean(spec, tensors, tensors)[group], stuck[group])
    found = frames.cycle(spec, tensors, tensors, starts=[stuck])
    assert frames.objective(spec, tensors, tensors, found) == 2 * 3 * 2 * 18 + 9 * 2 * 9


def test_the_objective_is_the_sum_over_pairs():
    network, spec, names = specified([4])
    tensors = drawn(network, 5)
    frame = frames.first(spec, tensors, names)
    aligned = frames.apply(spec, frame, tensors)
    expected = sum(
        (aligned[name][k].double() * aligned[name][m].double()).sum().item()
        for name in names
        for m in range(5)
        for k in range(m)
    )
    assert frames.objective(spec, tensors, names, frame) == pytest.approx(expected, rel=1e-12)


def test_what_is_no_stack_of_networks_is_refused(one_line):
    network, spec, names = specified([4])
    tensors = drawn(network, 3)
    bias = names[1]
    for method in METHODS:
        with one_line(ValueError, f"{names[0]} 3", f"{bias} 2"):
            method(spec, tensors | {bias: tensors[bias][:2]}, names)
        with one_line(ValueError, f"{bias} 0"):
            method(spec, {name: stack for name, stack in tensors.items() if name != bias}, names)
        with one_line(ValueError, bias, "network 1", "diverged"):
            broken = tensors[bias].clone()
            broken[1, 0] = torch.nan
            method(spec, tensors | {bias: broken}, names)


# Layer normalization in the weights


def test_gains_in_weights_by_hand():
    tensors = {
        "layers.0.linear.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "layers.0.linear.bias": torch.tensor([5.0, 6.0]),
        "layers.0.norm.weight": torch.tensor([2.0, 10.0]),
        "layers.0.norm.bias": torch.tensor([0.5, 0.25]),
        "dense.weight": torch.tensor([[1.0, 1.0]]),
    }
    found = gains.in_weights(tensors)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "layers.0.linear.weight": [[2, 4], [30, 40]],
        "layers.0.linear.bias": [10.5, 60.25],
        "dense.weight": [[1, 1]],
    }
    stacked = gains.in_weights({name: torch.stack([tensor, 2 * tensor]) for name, tensor in tensors.items()})
    assert torch.equal(stacked["layers.0.linear.weight"][1], 4 * found["layers.0.linear.weight"])


def test_gains_in_weights_are_matched_as_the_networks_are():
    network, spec, _ = specified([9, 8, 7], "layer")
    one = {name: stack[0] for name, stack in drawn(network, 1).items()}
    order = permutation.random(spec, torch.Generator().manual_seed(3))
    other = permutation.apply(spec, order, one)
    a, b = gains.in_weights(one), gains.in_weights(other)
    found = weight.match_weights(spec, a, b, list(a))
    assert all(torch.equal(found[group], back) for group, back in permutation.invert(order).items())


def test_batch_normalization_has_no_gain_of_its_own(one_line):
    network, *_ = specified([4], "batch")
    with one_line(ValueError, "network.layers.0.norm.weight", "norm: layer"):
        gains.in_weights(network.state_dict())
