"""Kept epochs, levels of pruning, masks of others and grids of permutations, by facts worked by hand."""

import copy
import signal
from itertools import chain

import pandas as pd
import pytest
import torch
from test_plan import digests, planned
from test_programs import run_program

from modeconn import (
    artifacts,
    configuration,
    grids,
    matching,
    moments,
    networks,
    permutation,
    population_claims,
    provenance,
    pruning,
    resume,
    simultaneous_claims,
    tables,
    training,
)
from modeconn.functional import Functional
from modeconn.matching import activation, weight
from modeconn.populations import Population
from modeconn.studies import simultaneous

NETWORK = {"family": "mlp", "width": 1, "hidden": [8, 6], "norm": "layer"}
OUTPUT = "network.dense.weight"
NAMES = {"dataset": "tiny", "network": "mlp", "recipe": "plain"}
PRUNING = {"fraction": 0.25, "rewind": 1, "keep_output": True}
RECIPE = {
    "epochs": 2,
    "batch": 16,
    "schedule": "constant",
    "optimizer": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "augmentation": {"shift": 0, "flip": False},
    "attack": None,
    "keep": [0, 1],
    "pruning": PRUNING,
}
GRID = {"points": 3, "splits": ["test"], "batch": 64, "recalibration": {"images": 0, "batch": 512}}
SEEDS = [3, 4]


def job(**values):
    return {"names": NAMES, "network": NETWORK, "recipe": RECIPE, "seeds": SEEDS} | values


@pytest.fixture
def work(tiny_data, tmp_path, monkeypatch):
    """Runs train, prune or train_masked: the path of the networks that it makes, named by `name`."""

    def work(program, name, values, **options):
        output = tmp_path / f"{name}.safetensors"
        files = {"data": tiny_data, "output": output, "history": tmp_path / f"{name}.history.csv"}
        files |= {"points": tmp_path / f"{name}.csv"} if program == "train_masked" else {}
        run_program(monkeypatch, program, values, **files, **options)
        return output

    return work


def states(path, along, at):
    return moments.read([path], [(along, at, seed) for seed in SEEDS])


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_kept_epochs_are_the_networks_of_shorter_trainings_and_the_end_is_as_without(work, tiny_dataset):
    kept = work("train", "kept", job())
    plain = {name: value for name, value in RECIPE.items() if name not in ("keep", "pruning")}
    for epochs in (1, 2):
        short = work("train", f"short{epochs}", job(recipe=plain | {"epochs": epochs}))
        for found, expected in zip(states(kept, "epochs", epochs), states(short, "epochs", epochs)):
            assert same(found, expected)
        whole, _ = artifacts.load(short)
    ends, _ = artifacts.load(kept)
    assert all(torch.equal(ends[name][:2], whole[name]) for name in whole) and len(ends[OUTPUT]) == 2 * 3
    for seed, found in zip(SEEDS, states(kept, "epochs", 0)):
        assert same(found, networks.of(NETWORK, tiny_dataset, seed).state_dict())
    with pytest.raises(ValueError, match=r"no network of seed 3 at epoch 5 in .*kept\.safetensors"):
        states(kept, "epochs", 5)


@pytest.mark.parametrize("stop", [1, 3, 4])  # of an epoch's three steps the first and the last, and the next
def test_what_is_killed_goes_on_to_the_same_bytes(work, monkeypatch, stop):
    whole = work("train", "whole", job())
    pruned = work("prune", "pruned", job(level=1), networks=whole)
    both = {"networks": whole, "sparse": pruned}
    masked = work("train_masked", "masked", masked_job(["own", "random"]), **both)
    offer, left = resume.State.offer, []

    def killed(state, snapshot):
        left.append(state)
        if len(left) == stop:
            state.signal = signal.SIGTERM
        offer(state, snapshot)

    for program, expected, values, options in (
        ("train", whole, job(), {}),
        ("prune", pruned, job(level=1), {"networks": whole}),
        ("train_masked", masked, masked_job(["own", "random"]), both),
    ):
        left.clear()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
            patch.setattr(resume.State, "offer", killed)
            # Pruned networks have one epoch less.
            stop = stop if program == "train" else min(stop, 3)
            work(program, f"{program}-again", values, **options)
        assert caught.value.code == 128 + signal.SIGTERM
        assert work(program, f"{program}-again", values, **options).read_bytes() == expected.read_bytes()


def test_each_level_prunes_its_share_of_the_rest_rewinds_and_keeps_to_it(work, monkeypatch, tiny_dataset):
    dense, begun = work("train", "dense", job()), []
    fit = training.fit

    def spy(job, dataset, functional, vectors, *rest, **options):
        begun.append((vectors.detach().clone(), options["first"]))
        return fit(job, dataset, functional, vectors, *rest, **options)

    monkeypatch.setattr(training, "fit", spy)
    names = pruning.prunable(networks.of(NETWORK, tiny_dataset), [OUTPUT])
    total = 144 * 8 + 8 * 6
    left = [total - 300, total - 300 - 225]  # a quarter of 1,200, and of 900
    before, files = states(dense, "levels", 0), [dense]
    for level, expected in zip((1, 2), left):
        files.append(work("prune", f"level{level}", job(level=level), networks=[dense, *files[1:][-1:]]))
        after = states(files[-1], "levels", level)
        start, first = begun[-1]
        assert first == 1
        for lane, (old, new, early) in enumerate(zip(before, after, states(dense, "epochs", 1))):
            mask = moments.masks(new)
            assert list(mask) == names and pruning.remaining(mask) == expected
            assert all((new[name] == 0).sum() >= (~mask[name]).sum() for name in names)
            assert all(not new[name][~mask[name]].any() for name in names)
            # The smallest go, of those that were left.
            was = moments.masks(old) or pruning.full(old, names)
            gone = torch.cat([old[name][was[name] & ~mask[name]].abs() for name in names])
            stays = torch.cat([old[name][mask[name]].abs() for name in names])
            assert gone.max() <= stays.min() and all(not (mask[name] & ~was[name]).any() for name in names)
            # Training begins with the bytes of the kept epoch.
            functional = Functional(networks.of(NETWORK, tiny_dataset))
            assert torch.equal(start[lane], functional.pack(pruning.apply(mask, early))[0])
        before = after
    history = pd.read_csv(files[-1].with_suffix(".history.csv"))
    assert set(history["epoch"]) == {2} and set(history["kind"]) == {"level 2"}


def test_the_output_layer_is_found_or_refused(tiny_dataset):
    network = networks.of(NETWORK, tiny_dataset)
    assert pruning.output_of(network, 3) == OUTPUT
    with pytest.raises(ValueError, match=r"the last layer does not have 4 outputs: set keep_output to false"):
        pruning.output_of(network, 4)


def masked_job(masks, alignment="none"):
    names = NAMES | {"pair": "3-4", "alignment": alignment}
    return job(names=names, members=SEEDS, level=1, masks=masks) | {"seeds": []}


@pytest.fixture
def permuted(tiny_dataset, tmp_path):
    """A file of a network at three epochs and of the same one in another order, and that order."""
    network = networks.of(NETWORK, tiny_dataset, 1)
    spec = permutation.discover(network, tiny_dataset.example())
    order = permutation.random(spec, torch.Generator().manual_seed(0))
    first = [networks.of(NETWORK, tiny_dataset, seed).state_dict() for seed in (1, 2, 3)]
    second = [permutation.apply(spec, permutation.invert(order), state) for state in first]
    lanes = [state for moment in (2, 0, 1) for state in (first[moment], second[moment])]
    tensors = {name: torch.stack([state[name] for state in lanes]) for name in lanes[0]}
    path = tmp_path / "networks.safetensors"
    artifacts.save(path, tensors, {"rule": "train", "job": {"seeds": SEEDS, "recipe": RECIPE}}, lanes=True)
    return path, order, first


def pair_job(name, **values):
    names = NAMES | {"pair": "3-4", "alignment": name}
    at = {"along": "epochs", "at": [0, 1, 2]}
    return {"names": names, "network": NETWORK, "members": SEEDS, "moments": at} | values


def test_a_sequence_in_another_order_is_given_back_at_each_moment_by_the_order_of_any(
    permuted, tiny_data, tmp_path, monkeypatch, tiny_dataset
):
    path, order, first = permuted
    found = tmp_path / "permutation.safetensors"
    files = {"data": tiny_data, "networks": path}
    alignment = {"method": "weight", "seed": 0}
    run_program(monkeypatch, "align_moments", pair_job("weight", alignment=alignment), **files, output=found)
    orders, metadata = artifacts.load(found)
    assert metadata["groups"] == list(order)
    for group, expected in order.items():
        assert torch.equal(orders[group], torch.stack([torch.stack([torch.arange(len(expected)), expected])] * 3))

    values = {"grid": GRID}
    grid, read, load = tmp_path / "grid.csv", [], artifacts.load_lane
    monkeypatch.setattr(artifacts, "load_lane", lambda *which: read.append(which[:2]) or load(*which))
    run_program(monkeypatch, "evaluate_grid", pair_job("weight", **values), **files, permutation=found, output=grid)
    assert len(read) == len({*read}) == 3 * 2  # each checkpoint once
    cells = simultaneous.cell_table(tables.read([grid], tables.GRID))
    assert len(cells) == 9 and set(cells["width"]) == {8} and set(cells["pair"]) == {"3-4"}
    assert cells["loss_barrier_linear"].abs().max() < 1e-6 and cells["distance"].max() == 0
    shared = simultaneous.fixed_point_table([str(found)])
    assert len(shared) == 3 * len(order) and (shared["share"] == 1).all()
    assert shared["size"].tolist()[:2] == [8, 6] and shared["group"].tolist()[:2] == list(order)

    # As they are, the middle of a line is the network of the mean weights.
    plain = tmp_path / "plain.csv"
    run_program(monkeypatch, "evaluate_grid", pair_job("none", **values), **files, output=plain)
    rows = tables.read([plain], tables.GRID)
    assert set(rows["permutation"]) == {"none"} and len(rows) == 3 * 3
    spec = permutation.discover(networks.of(NETWORK, tiny_dataset), tiny_dataset.example())
    for moment, state in enumerate(first):
        other = permutation.apply(spec, permutation.invert(order), state)
        mean = networks.of(NETWORK, tiny_dataset)
        mean.load_state_dict({name: (state[name] + other[name]) / 2 for name in state})
        with torch.no_grad():
            logits = mean.eval()(tiny_dataset.test_images.float() / 255)
        loss = torch.nn.functional.cross_entropy(logits, tiny_dataset.test_labels).item()
        (row,) = rows[(rows["moment"] == moment) & (rows["t"] == 0.5)].to_dict("records")
        assert row["loss"] == pytest.approx(loss, rel=1e-5)

    # Permutations of other moments are another job's.
    values["moments"] = {"along": "epochs", "at": [0, 2]}
    with pytest.raises(SystemExit) as caught:
        run_program(monkeypatch, "evaluate_grid", pair_job("weight", **values), **files, permutation=found, output=grid)
    assert "is of other moments than this job" in caught.value.code


def test_statistics_are_estimated_anew_on_the_lines_of_a_grid(work, tiny_data, tmp_path, monkeypatch, tiny_dataset):
    network = NETWORK | {"norm": "batch"}
    path, grid = work("train", "normalized", job(network=network)), tmp_path / "grid.csv"
    values = pair_job("none", network=network, grid=GRID)
    run_program(monkeypatch, "evaluate_grid", values, data=tiny_data, networks=path, output=grid)
    rows = tables.read([grid], tables.GRID)
    mean = networks.of(network, tiny_dataset)
    one, other = states(path, "epochs", 2)
    mean.load_state_dict({name: (one[name] + other[name]) / 2 for name in one})

    def loss():
        with torch.no_grad():
            logits = mean.eval()(tiny_dataset.test_images.float() / 255)
        return torch.nn.functional.cross_entropy(logits, tiny_dataset.test_labels).item()

    (row,) = rows[(rows["moment"] == 2) & (rows["t"] == 0.5)].to_dict("records")
    assert row["loss"] != pytest.approx(loss(), rel=1e-3)  # with the mean of both networks' statistics
    for layer in mean.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.reset_running_stats()
            layer.momentum = None
    mean.train()(tiny_dataset.train_images.float() / 255)
    assert row["loss"] == pytest.approx(loss(), rel=1e-5)


FREE = ["one_shot", "own", "random", "untransported"]


@pytest.fixture
def moved(permuted, work, tmp_path):
    """Trains under masks: (networks by lane, their masks, the rows measured), and what the masks were made from."""
    path, order, _ = permuted
    files = {"networks": path, "sparse": work("prune", "level1", job(level=1), networks=path)}

    def moved(masks, by=None):
        options = dict(files)
        if by is not None:
            options["permutation"] = tmp_path / "aligned.safetensors"
            both = {group: torch.stack([torch.arange(len(own)), own]) for group, own in by.items()}
            made = {"rule": "align", "job": {"members": SEEDS}, "inputs": {"networks": [artifacts.checksum(path)]}}
            artifacts.save(options["permutation"], both, made)
        made = work("train_masked", "masked", masked_job(masks, "weight" if by else "none"), **options)
        lanes = [artifacts.load_lane(made, lane, rule="train_masked") for lane in range(len(masks))]
        return lanes, [moments.masks(lane) for lane in lanes], tables.read([made.with_suffix(".csv")], tables.MASKS)

    return moved, order, states(files["sparse"], "levels", 1)


def test_a_mask_that_moves_with_the_neurons_is_that_of_the_same_network_in_another_order(moved):
    """The second network is the first one, its neurons in another order."""
    moved, order, (first, second) = moved
    # Two masks, as its level of pruning was of two networks: how many are computed at once decides bits.
    (own, _), masks, _ = moved(["own", "untransported"])
    assert same(own, second) and same(masks[1], moments.masks(first)) and not same(masks[0], masks[1])
    # Transported by that order it trains to what the own mask does, by none to what it does as it is.
    unmoved = {group: own.sort().values for group, own in order.items()}
    for by, alike in ((order, "own"), (unmoved, "untransported")):
        (expected,), _, _ = moved([alike])
        (found,), _, _ = moved(["transported"], by)
        assert same(found, expected)


@pytest.fixture
def apart(permuted, tmp_path, work):
    """The two networks in a file each, and pruned by two levels."""
    tensors, _ = artifacts.load(permuted[0])

    def files(name="apart", factor=1.0):
        trained, pruned = [], []
        for lane, seed in enumerate(SEEDS):
            trained.append(tmp_path / f"{name}{seed}.safetensors")
            own = {key: factor * tensor[lane :: len(SEEDS)] for key, tensor in tensors.items()}
            artifacts.save(trained[-1], own, {"rule": "train", "job": {"seeds": [seed], "recipe": RECIPE}}, lanes=True)
            first = work("prune", f"{name}{seed}first", job(level=1, seeds=[seed]), networks=trained[-1])
            before = [trained[-1], first]
            pruned.append(work("prune", f"{name}{seed}second", job(level=2, seeds=[seed]), networks=before))
        return trained, pruned

    return files


def test_masks_of_a_later_level_and_of_networks_in_a_file_each(apart, work):
    (trained, pruned), values = apart(), masked_job(["own", "untransported"]) | {"level": 2}
    made = work("train_masked", "masked", values, networks=trained, sparse=pruned)
    for lane, (file, seed) in enumerate(zip(reversed(pruned), reversed(SEEDS), strict=True)):
        (expected,) = moments.read([file], [("levels", 2, seed)])
        found = moments.masks(artifacts.load_lane(made, lane, rule="train_masked"))
        assert same(found, moments.masks(expected)) and sum(int(kept.sum()) for kept in found.values()) == 675
    # Pruned from other networks than those that are given.
    _, others = apart("other", 2.0)
    with pytest.raises(SystemExit) as caught:
        work("train_masked", "wrong", values, networks=trained, sparse=others)
    assert "was made from other networks than" in caught.value.code


def test_each_mask_keeps_its_share_and_what_it_prunes_stays_zero(moved, permuted, tiny_dataset):
    moved, _, (first, _) = moved
    lanes, masks, rows = moved(FREE)
    names, kept = list(moments.masks(first)), [{name: int(of.sum()) for name, of in mask.items()} for mask in masks]
    assert [sum(counts.values()) for counts in kept] == [900] * 4  # a quarter of 144 x 8 + 8 x 6 is pruned
    _, _, random, as_it_is = kept
    assert random == as_it_is and not same(masks[2], masks[3])
    (dense,) = moments.read([permuted[0]], [("levels", 0, SEEDS[1])])
    assert same(masks[0], pruning.prune(dense, pruning.full(dense, names), 0.25))
    for lane, mask in zip(lanes, masks):
        assert all(not lane[name][~mask[name]].any() and lane[name][mask[name]].all() for name in names)
    # What is measured is the network in the file.
    assert rows["mask"].tolist() == FREE and set(rows["left"]) == {0.75} and set(rows["width"]) == {8}
    for lane, accuracy in zip(lanes, rows["accuracy"]):
        network = networks.of(NETWORK, tiny_dataset).eval()
        network.load_state_dict(moments.without_masks(lane))
        with torch.no_grad():
            answers = network(tiny_dataset.test_images.float() / 255).argmax(1)
        assert accuracy == pytest.approx((answers == tiny_dataset.test_labels).double().mean().item())


def test_masks_of_another_pair_or_without_one_of_them_are_refused(moved, permuted, work, tmp_path, one_line):
    moved, order, _ = moved
    moved(["random"])
    rows = (tmp_path / "masked.csv").read_text().splitlines()
    assert len(rows) == 2
    history = pd.read_csv(tmp_path / "masked.history.csv")
    assert history[["kind", "seeds", "epoch"]].values.tolist() == [["level 1, random", "3-4", 2]]
    wrong = tmp_path / "aligned.safetensors"
    artifacts.save(wrong, order, {"rule": "align", "job": {"members": [1, 2]}})
    files = {"networks": permuted[0], "sparse": tmp_path / "level1.safetensors", "permutation": wrong}
    with pytest.raises(SystemExit) as caught:
        work("train_masked", "wrong", masked_job(["transported"], "weight"), **files)
    assert "is of other networks than this job" in caught.value.code


def test_one_matching_of_several_epochs_gives_the_known_permutation_and_is_measured_at_each(
    permuted, tiny_data, tmp_path, monkeypatch
):
    path, order, _ = permuted
    at = {"moments": {"along": "epochs", "at": [0, 1, 2], "stacked": [0, 2]}}
    files = {"data": tiny_data, "networks": path}
    for alignment in ({"method": "weight", "seed": 0}, {"method": "activation", "statistic": "sum"}):
        found = tmp_path / f"{alignment['method']}.safetensors"
        values = pair_job("weight", alignment=alignment, **at)
        run_program(monkeypatch, "align_moments", values, **files, output=found)
        orders, _ = artifacts.load(found)
        for group, expected in order.items():
            assert orders[group].shape == (4, 2, len(expected)) and torch.equal(orders[group][3, 1], expected)
    grid = tmp_path / "grid.csv"
    values = pair_job("weight", grid=GRID, **at)
    run_program(monkeypatch, "evaluate_grid", values, **files, permutation=found, output=grid)
    cells = simultaneous.cell_table(tables.read([grid], tables.GRID))
    assert cells["permutation"].value_counts().to_dict() == dict.fromkeys(("0", "1", "2", "0+2"), 3)
    assert cells["loss_barrier_linear"].abs().max() < 1e-6
    assert len(simultaneous.fixed_point_table([str(found)])) == 3 * len(order)  # those of single moments


@pytest.mark.parametrize(
    "alignment",
    [
        {"method": "weight", "seed": 0},
        {"method": "weight", "seed": 1, "kernel": "cosine", "leave_out": ["*bias"], "order": "forward"},
        {"method": "weight", "seed": 0, "kernel": "loglinear"},
        {"method": "activation", "statistic": "sum"},
        {"method": "activation", "statistic": "sum", "kernel": "cosine"},
        {"method": "random", "seed": 3},
    ],
)
def test_a_matching_of_several_moments_is_by_the_sum_of_their_similarities(tiny_dataset, alignment):
    """Of one moment it is the matching of that moment."""
    network = networks.of(NETWORK, tiny_dataset)
    functional = Functional(network)
    states = [networks.of(NETWORK, tiny_dataset, seed).state_dict() for seed in range(6)]
    early, late = (Population(tiny_dataset, functional, tuple(states[n : n + 2])) for n in (0, 2))
    spec = early.spec()
    match = matching.method_of(alignment["method"])
    alone, together = match(early, 0, 1, spec, alignment), match(early, 0, 1, spec, alignment, [late])
    if alignment["method"] == "random":
        assert same(alone, together)
        return
    if alignment["method"] == "weight":
        names = [name for name in functional.shapes if "leave_out" not in alignment or not name.endswith("bias")]
        options = {key: alignment[key] for key in ("kernel", "order") if key in alignment}
        by_hand = [
            weight.match_weights(spec, *pair, names, alignment["seed"], **options)
            for pair in (states[:2], [weight.stack(states[n:4:2], names) for n in (0, 1)])
        ]
    else:
        of_both = [activation.of_members(moment, 0, 1, spec, "alignment") for moment in (early, late)]
        kernel = alignment.get("kernel", "correlation")
        # A sum over moments is one over places in the network: both are summed.
        by_hand = [activation.match_correlations(spec, of, kernel=kernel) for of in (of_both[0], [*chain(*of_both)])]
    assert same(alone, by_hand[0]) and same(together, by_hand[1]) and not same(*by_hand)


def test_each_permutation_meets_each_epoch_and_each_level_its_own_and_the_dense_one():
    assert grids.cells("epochs", [1, 5], True) == [(1, 1), (5, 1), (1, 5), (5, 5)]
    assert grids.cells("levels", [0, 1, 3], True) == [(0, 0), (0, 1), (1, 1), (0, 3), (3, 3)]
    assert grids.cells("levels", [0, 1], False) == [(None, 0), (None, 1)]
    assert grids.cells("epochs", [1, 5], True, [1, 5])[2] == ("1+5", 1)
    looks = list(grids.looks([1, 5], grids.cells("epochs", [1, 5], True), 4))
    assert len(looks) == grids.number_of_looks([1, 5], [None] * 4, 4) == 4 + 4 * 2
    # The last cell is the second row of epoch 5 against the fourth permuted row.
    assert looks[-1].networks[0].members == (2, 4 + 3) and looks[-1].place["cell"] == [5, 5]


def barriers_of(cells):
    """`tables.SIMULTANEOUS` of two pairs: (alignment, along, permutation, moment) -> the barriers of each pair."""
    rows = []
    for (alignment, along, origin, moment), values in cells.items():
        for pair, value in zip(("1-2", "3-4"), values):
            names = {"dataset": "d", "network": "n", "recipe": "r", "width": 8, "split": "test", "attack": "none"}
            place = {"alignment": alignment, "along": along, "permutation": origin, "moment": moment, "pair": pair}
            rows.append(names | place | dict.fromkeys(simultaneous_claims.QUANTITIES, value))
    return pd.DataFrame(rows)


NO_MASKS = tables.read([], tables.MASKS)


def claim(formula, table="simultaneous", tolerance=0.0, least_pairs=2):
    about = {"claim": "c", "statement": "It is so.", "source": "s", "unit": "points", "table": table}
    row = {"split": "test", "attack": "none", "formula": formula, "tolerance": tolerance, "least_pairs": least_pairs}
    return pd.DataFrame([about | row])


def test_a_claim_on_moments_is_the_mean_over_those_that_count():
    cells = {("none", "epochs", "none", epoch): (0.5, 0.7) for epoch in (1, 2, 9)}
    cells |= {("weight", "epochs", "1", epoch): (0.2, 0.2) for epoch in (1, 2, 9)}
    cells |= {("weight", "epochs", "2", epoch): (0.4, 0.4) for epoch in (1, 2, 9)}
    cells |= {("weight", "epochs", "9", 1): (0.1, 0.3), ("weight", "epochs", "9", 2): (0.2, 0.2)}
    cells |= {("weight", "epochs", "9", 9): (9.0, 9.0)}  # the last epoch does not count
    cells |= {("weight", "epochs", "1+9", epoch): (0.1, 0.1) for epoch in (1, 2)}
    cells |= {("weight", "levels", "0", level): (level, level + 0.1) for level in (0, 1, 2)}
    cells |= {("weight", "levels", "1", 1): (3.0, 3.0), ("weight", "levels", "2", 2): (5.0, 5.0)}
    found = barriers_of(cells)
    wide = simultaneous_claims.by_origin(found)
    columns = {
        name.removesuffix("_error_barrier_linear"): wide[name].tolist() for name in wide if "error_barrier_lin" in name
    }
    assert columns == {
        "none_epochs_own": [0.5, 0.7],
        "weight_epochs_first": [0.2, 0.2],
        "weight_epochs_last": pytest.approx([0.15, 0.25]),
        "weight_epochs_own": pytest.approx([0.3, 0.3]),
        "weight_epochs_stacked": pytest.approx([0.1, 0.1]),
        "weight_levels_first": pytest.approx([1.5, 1.6]),
        "weight_levels_own": [4.0, 4.0],
    }
    last, own = (f"weight_epochs_{origin}_error_barrier_linear" for origin in ("last", "own"))

    def verdict(formula, **options):
        (row,) = simultaneous_claims.judge(claim(formula, **options), found, NO_MASKS).to_dict("records")
        return row["verdict"]

    assert verdict(f"none_epochs_own_error_barrier_linear - {last}") == "shows"
    assert verdict(f"{last} - {own}") == "does not show"
    assert verdict(f"{last} - {own}", tolerance=0.12) == "too close to say"  # 0.02, and the standard error is 0.05
    assert verdict(f"{own} - {last}", least_pairs=3) == "too few to say"
    assert verdict(f"{own} - other_epochs_own_error_barrier_linear") == "not run"
    with pytest.raises(ValueError, match="unknown name 'weight_epochs_error_barrier_linear'"):
        verdict("weight_epochs_error_barrier_linear")
    judged = simultaneous_claims.judge(claim(own), found, NO_MASKS)
    assert "training  weight     last" in simultaneous_claims.text(found, NO_MASKS, judged)


def test_a_claim_on_masks_is_the_mean_over_levels():
    names = {"dataset": "d", "network": "n", "recipe": "r", "width": 8, "split": "test", "attack": "none", "loss": 1.0}
    values = {("none", "own"): (0.9, 0.8), ("none", "untransported"): (0.8, 0.6), ("weight", "transported"): (0.9, 0.7)}
    rows = [
        names
        | {"alignment": alignment, "mask": mask, "level": level, "left": left, "pair": pair}
        # The second pair is better by a hundredth, and but for its own mask by two.
        | {"accuracy": accuracy + (pair == "3-4") * (0.01 if mask == "own" else 0.02)}
        for (alignment, mask), both in values.items()
        for (level, left), accuracy in zip({1: 0.8, 2: 0.64}.items(), both)
        for pair in ("1-2", "3-4")
    ]
    masks, found = pd.DataFrame(rows), barriers_of({("none", "epochs", "none", 1): (0.5, 0.7)})

    def verdict(formula):
        (row,) = simultaneous_claims.judge(claim(formula, "masks"), found, masks).to_dict("records")
        return row["verdict"], row["measured"]

    assert verdict("weight_transported_accuracy - none_untransported_accuracy") == ("shows", pytest.approx(0.1))
    assert verdict("weight_transported_accuracy - none_own_accuracy") == ("does not show", pytest.approx(-0.045))
    assert verdict("weight_transported_accuracy - none_random_accuracy")[0] == "not run"
    with pytest.raises(ValueError, match="unknown name 'weight_transported_distance' for table masks"):
        verdict("weight_transported_distance")
    (row,) = simultaneous_claims.judge(claim("none_own_accuracy", "masks"), found, NO_MASKS).to_dict("records")
    assert row["verdict"] == "not run"
    header, dense, sparse = simultaneous_claims.mask_rows(masks)
    assert header == ["left", "own", "untransported", "by weight", "n"]
    assert (dense[0], sparse[0], sparse[3], sparse[4]) == ("80.0 %", "64.0 %", "71.0 ± 1.4", "2")


def test_nothing_is_judged_of_networks_that_guess():
    """Whatever permutes them, the line between two of them stays at chance: no barrier."""
    of = {"dataset": "d", "recipe": "r", "split": "test", "attack": "none", "correction": "none", "alignment": "weight"}
    pairs = [f"{i}-{j}" for i in range(1, 5) for j in range(i + 1, 5)]
    barriers = pd.DataFrame(
        of | {"network": network, "width": 4, "pair": pair} | dict.fromkeys(population_claims.QUANTITIES, 0.001 * n)
        for network in ("guesses", "learns")
        for n, pair in enumerate(pairs)
    )
    medians = {("guesses", 0): 0.11, ("guesses", 0.5): 0.9, ("guesses", 1): 0.1, ("learns", 0): 0.5, ("learns", 1): 0.5}
    interpolations = pd.DataFrame(
        of | {"network": network, "t": t, "quantity": "accuracy", "median": median}
        for (network, t), median in medians.items()
    )
    guessing = population_claims.at_chance(interpolations, {"d": provenance.Splits(100, 1000, 0.1)})
    connected = claim("0.02 - weight_error_barrier_linear", "barriers")
    verdicts = population_claims.judge(connected, barriers, guessing)
    assert dict(zip(verdicts["network"], verdicts["verdict"])) == {"guesses": "at chance", "learns": "shows"}


def test_a_claim_on_widths_takes_pairs_that_are_matched_by_way_of_the_first_network():
    rows = []
    for width, rise in ((4, 0.5), (16, 0.1)):
        for pair in ("1-2", "1-3", "1-4", "2-3", "2-4", "3-4"):
            names = {"dataset": "d", "network": f"mlp{width}", "recipe": "r", "width": width, "alignment": "weight"}
            value = 9.0 if "1" in pair else rise + 0.01 * int(pair[0])
            # What was corrected has a name of its own, and does not count as it is.
            for correction, barrier in (("none", value), ("repair", 7.0)):
                rows.append(names | {"split": "test", "attack": "none", "pair": pair, "distance": 1.0})
                rows[-1] |= {"correction": correction} | dict.fromkeys(simultaneous_claims.QUANTITIES, barrier)
    narrow, wide = (f"{end}_weight_error_barrier_linear" for end in ("narrowest", "widest"))
    (row,) = simultaneous_claims.judge_widths(claim(f"{narrow} - {wide}", "widths"), pd.DataFrame(rows)).to_dict(
        "records"
    )
    assert row["measured"] == pytest.approx(0.4) and row["verdict"] == "shows" and row["n"] == 4
    assert row["network"] == "4 to 16 units"
    (row,) = simultaneous_claims.judge_widths(claim(f"0.02 - {wide}", "widths"), pd.DataFrame(rows)).to_dict("records")
    assert row["measured"] == pytest.approx(0.02 - 0.1 - 0.07 / 3) and row["verdict"] == "does not show"

    # What only guesses has no width that counts: one is left, and nothing is compared.
    guessing = {("d", "mlp4", "r", "none")}
    known = claim(f"{narrow} - {wide}", "widths"), pd.DataFrame(rows)
    assert simultaneous_claims.judge_widths(*known, guessing).empty

    # Two architectures of one width are not averaged: what they differ in is not width.
    twice = pd.DataFrame([*rows, *({**row, "network": "deeper"} for row in rows if row["width"] == 16)])
    (row,) = simultaneous_claims.judge_widths(claim(f"{narrow} - {wide}", "widths"), twice).to_dict("records")
    assert (row["verdict"], row["missing"]) == ("not judged", "deeper, mlp16 have the same width")

    # Of different depth and width nothing is judged either, and the text says why; of width alone it is.
    wider = {"mlp4": {"family": "mlp", "hidden": [4, 8]}, "mlp16": {"family": "mlp", "hidden": [16, 32]}}
    (row,) = simultaneous_claims.judge_widths(*known, (), wider).to_dict("records")
    assert row["verdict"] == "shows"
    deeper = wider | {"mlp16": {"family": "mlp", "hidden": [16, 32, 32], "norm": "layer"}}
    verdicts = simultaneous_claims.judge_widths(*known, (), deeper)
    (row,) = verdicts.to_dict("records")
    assert row["verdict"] == "not judged" and row["n"] == 0
    assert row["missing"] == "mlp16, mlp4 differ in more than width: hidden, norm"
    said = simultaneous_claims.text(pd.DataFrame(columns=tables.SIMULTANEOUS.columns), NO_MASKS, verdicts)
    # Each of two architectures of two widths is judged by itself, the other one twice as high.
    values = [name for name in rows[0] if "barrier" in name]
    higher = [row | {name: 2 * row[name] for name in values} | {"network": f"deep{row['width']}"} for row in rows]
    both = wider | {name.replace("mlp", "deep"): of | {"norm": "layer"} for name, of in wider.items()}
    judged = simultaneous_claims.judge_widths(known[0], pd.DataFrame([*rows, *higher]), (), both)
    measured = dict(zip(judged["network"], judged["measured"]))
    assert measured == {
        "mlp4 to mlp16, 4 to 16 units": pytest.approx(0.4),
        "deep4 to deep16, 4 to 16 units": pytest.approx(0.8),
    }
    assert f"not judged, d / r, 4 to 16 units: {row['missing']}" in said


CONFIG = {
    "name": "kept",
    "datasets": {"digits": {"source": "digits"}},
    "networks": {"mlp": {"family": "mlp", "hidden": [8]}},
    "recipes": {"pruned": {"epochs": 4, "population": 2, "keep": [1, 2], "pruning": {"rewind": 1}}},
    "alignments": {"weight": {"method": "weight"}},
    "studies": {
        "simultaneous": [
            {
                "dataset": "digits",
                "networks": ["mlp"],
                "recipes": ["pruned"],
                "pairs": [[1, 2], [3, 4]],
                "alignments": ["none", "weight"],
                "levels": [0, 1, 2],
            }
        ]
    },
}


def edited(change=lambda config: None):
    config = copy.deepcopy(CONFIG)
    change(config)
    return planned(config)


def rules_of(plan):
    return {rule: sum(job.rule == rule for job in plan.jobs) for rule in {job.rule for job in plan.jobs}}


def test_a_study_of_moments_plans_its_jobs():
    plan = edited()
    # Two blocks of seeds by two levels; two pairs along training and along pruning, as they are and matched.
    assert rules_of(plan) == {"prepare_data": 1, "train": 2, "prune": 4, "align_moments": 4, "evaluate_grid": 8}
    (grid, *_) = [
        job for job in plan.jobs if job.rule == "evaluate_grid" and "levels0-1-2" in dict(job.wildcards).values()
    ]
    read = [one.path.rpartition("/")[2] for one in plan.jobs[grid]["checkpoints"]]
    assert read == ["seeds1-2.safetensors", "seeds1-2-level1.safetensors", "seeds1-2-level2.safetensors"]
    (level,) = [
        job for job in plan.jobs if dict(job.wildcards).get("level") == "2" and "1-2" in dict(job.wildcards).values()
    ]
    assert [one.path.rpartition("/")[2] for one in plan.jobs[level]["ancestors"]] == read[:2]


def masks(*names):
    """A change of the config: networks are trained under these masks."""
    return lambda config: config["studies"]["simultaneous"][0].update(masks=list(names))


def test_masks_are_trained_where_they_are_moved_and_where_nothing_moves_them():
    plan = edited(masks("untransported", "transported", "own"))
    # Of two levels of two pairs; the dense networks are matched once more, by themselves.
    assert rules_of(plan) == rules_of(edited()) | {"train_masked": 2 * 2 * 2, "align": 2}
    masked = {tuple(dict(job.wildcards).values())[3:]: job for job in plan.jobs if job.rule == "train_masked"}
    job = masked["3-4", plan.identity("alignment", "weight"), "2", "transported"]
    assert ("3-4", "none", "1", "own+untransported") in masked

    def one_by_one(config):
        masks("untransported", "transported", "own")(config)
        config["recipes"]["pruned"]["population"] = 1  # as dropout asks for

    assert rules_of(edited(one_by_one))["train_masked"] == 2 * 2 * 3
    read = {name: [one.path.rpartition("/")[2] for one in made] for name, made in plan.jobs[job].items()}
    assert read["networks"] == ["seeds3-4.safetensors"] and read["sparse"] == ["seeds3-4-level2.safetensors"]
    assert [one.job.rule for one in plan.jobs[job]["permutation"]] == ["align"]
    assert plan.job(job.rule, dict(job.wildcards))["masks"] == ["transported"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (masks("own", "transported", "random"), 4),  # one more that nothing moves: two levels of two pairs
        (lambda c: c["studies"]["simultaneous"][0].update(levels=[0, 1, 2, 3]), 4),  # a level: two pairs, moved and not
        (lambda c: c["alignments"]["weight"].update(seed=1), 4),
        (lambda c: c["studies"]["simultaneous"][0].update(epochs=[1], masks=["transported", "own"]), 0),
        (lambda c: c.update(grid={"points": 11}), 0),
    ],
    ids=["a mask", "a level", "another alignment", "their order", "points"],
)
def test_what_is_trained_under_masks_again(change, expected):
    def both(config):
        masks("own", "transported")(config)
        change(config)

    before = set(digests(edited(masks("own", "transported"))).values())
    again = [path for path, digest in digests(edited(both)).items() if digest not in before]
    assert sum(path.startswith("results/masked/") for path in again) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # One more level is pruned, and what is measured along pruning is another grid; training stays.
        (lambda c: c["studies"]["simultaneous"][0].update(levels=[0, 1, 2, 3]), {"prune": 2, "align": 2, "grid": 4}),
        (lambda c: c["studies"]["simultaneous"][0].update(epochs=[1, 4]), {"align": 2, "grid": 4}),
        (lambda c: c.update(grid={"points": 11}), {"grid": 8}),
        (lambda c: c["recipes"]["pruned"].update(keep=[1, 2, 3]), {"train": 2, "prune": 4, "align": 4, "grid": 8}),
        # Of unaligned pairs nothing is stacked.
        (lambda c: c["studies"]["simultaneous"][0].update(stacked=[1, 4]), {"align": 2, "grid": 2}),
        # A key at its neutral value is no key.
        (lambda c: c["alignments"].update(other={"method": "weight", "seed": 1}), {}),
    ],
    ids=["a level", "epochs", "points", "a kept epoch", "epochs at once", "what nobody uses"],
)
def test_what_runs_again(change, expected):
    before = set(digests(edited()).values())
    again = [path for path, digest in digests(edited(change)).items() if digest not in before]
    folders = {"train": "networks", "prune": "pruned", "align": "moments", "grid": "grids"}
    counts = {rule: sum(path.split("/")[1] == folder for path in again) for rule, folder in folders.items()}
    assert {rule: count for rule, count in counts.items() if count} == expected


def test_recipes_without_kept_epochs_keep_their_identity():
    def plain(config):
        config["recipes"]["plain"] = {"epochs": 4}

    def spelt_out(config):
        config["recipes"]["plain"] = {"epochs": 4, "keep": [], "pruning": None}

    one, two = edited(plain), edited(spelt_out)
    assert one.identity("recipe", "plain") == two.identity("recipe", "plain")
    assert not {"keep", "pruning"} & one.values[one.identity("recipe", "plain")].keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["recipes"]["pruned"].update(keep=[2, 1]), "recipes.pruned.keep: [2, 1] must ascend"),
        (lambda c: c["recipes"]["pruned"].update(keep=[1, 4]), "stay below epochs, 4"),
        (lambda c: c["recipes"]["pruned"]["pruning"].update(rewind=3), "pruning.rewind: epoch 3 is not kept"),
        (lambda c: c["studies"]["simultaneous"][0].update(epochs=[1, 3]), "recipe pruned, which keeps [1, 2, 4]"),
        (lambda c: c["studies"]["simultaneous"][0].update(levels=[1, 0]), "levels: [1, 0] have to ascend"),
        (lambda c: c["studies"]["simultaneous"][0].update(levels=[0], masks=["own"]), "masks are of levels of pruning"),
        (
            lambda c: c["studies"]["simultaneous"][0].update(alignments=["none"], masks=["transported"]),
            "studies.simultaneous.0.masks: transported needs an alignment that moves it: add that to alignments",
        ),
        (
            lambda c: c["studies"]["simultaneous"][0].update(alignments=["weight"], masks=["own"]),
            "studies.simultaneous.0.masks: own needs none, since no permutation moves it",
        ),
        (
            lambda c: (
                masks("own")(c),
                c["studies"]["simultaneous"].append(c["studies"]["simultaneous"][0] | {"masks": ["own", "random"]}),
            ),
            "studies.simultaneous.1.masks: another entry has other masks of mlp by pruned, pair [1, 2]",
        ),
        (
            lambda c: c["studies"]["simultaneous"][0].update(stacked=[1, 3]),
            "stacked: [1, 3] have to ascend, and be among",
        ),
        # Its rows would be those of the epoch a second time.
        (lambda c: c["studies"]["simultaneous"][0].update(stacked=[2]), "stacked: networks are matched at epoch 2 by"),
        (lambda c: c["recipes"]["pruned"].update(pruning=None), "recipe pruned does not prune"),
        (lambda c: c["alignments"].update(weight={"method": "pam"}), "take a method that matches"),
        (lambda c: c["recipes"].update(other={"epochs": 1, "pruning": {"rewind": 0}}), "add it to keep, []"),
        (lambda c: c.update(name="grids"), "holds what all configs share"),
        (
            lambda c: c["studies"]["simultaneous"].append(c["studies"]["simultaneous"][0] | {"levels": [0, 2]}),
            "studies.simultaneous.1.levels: another entry has other levels of mlp by pruned, pair [1, 2]",
        ),
    ],
)
def test_mistakes_are_one_line(one_line, change, words):
    config = copy.deepcopy(CONFIG)
    change(config)
    with one_line(ValueError, words):
        configuration.complete(config, configuration.schema())
