"""Populations: reading slices, matching to a frame, measuring lines and averages, against loops by hand."""

from itertools import islice
from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from test_optimization import StoppedAt
from test_programs import run_program

from modeconn import (
    artifacts,
    averages,
    lines,
    manifests,
    measuring,
    networks,
    permutation,
    populations,
    resume,
    tables,
    triangles,
)
from modeconn.figures import triangles as figure
from modeconn.functional import Functional
from modeconn.measuring import View
from modeconn.studies import averaging

NETWORK = {"family": "mlp", "width": 1, "hidden": [6], "norm": "none"}
SEEDS = [1, 2, 3, 4]
RECALIBRATION = {"images": 0, "batch": 512}


@pytest.fixture
def population(tiny_data, tiny_dataset, tmp_path):
    """Files of four small MLPs on the small data set, as a training leaves them, and the values of a job on them."""
    states = [networks.of(NETWORK, tiny_dataset, seed).state_dict() for seed in SEEDS]
    tensors = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    files = {"data": tiny_data, "networks": tmp_path / "networks.safetensors"}
    artifacts.save(files["networks"], tensors, {"rule": "train", "job": {"seeds": SEEDS}}, lanes=True)
    names = {"dataset": "tiny", "network": "mlp", "recipe": "plain", "population": "1to4", "alignment": "none"}
    return files, {"threads": 1, "names": names, "network": NETWORK, "members": SEEDS}, states


def loss_of(state, dataset, split="test"):
    """Mean cross-entropy and accuracy of a plain module with these tensors."""
    network = networks.of(NETWORK, dataset)
    network.load_state_dict(state)
    images, labels = dataset.split(split)
    with torch.no_grad():
        logits = network.eval()(images.float() / 255)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def mean_of(states):
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def test_all_pairs_are_measured_as_a_loop_over_state_dicts_measures_them(
    population, tiny_dataset, tmp_path, monkeypatch
):
    files, values, states = population
    settings = {"points": 3, "splits": ["test"], "batch": 16, "recalibration": RECALIBRATION}
    run_program(monkeypatch, "evaluate_barriers", values | {"barriers": settings}, **files, output=tmp_path / "b.csv")
    rows = pd.read_csv(tmp_path / "b.csv", dtype={"pair": str}).query("split == 'test'").set_index(["pair", "t"])
    assert len(rows) == 6 * 3 and set(rows["width"]) == {6}
    for i, j in ((0, 1), (1, 3), (2, 3)):
        pair = f"{SEEDS[i]}-{SEEDS[j]}"
        expected = {0.0: states[i], 0.5: mean_of([states[i], states[j]]), 1.0: states[j]}
        for t, state in expected.items():
            loss, accuracy = loss_of(state, tiny_dataset)
            assert rows.loc[(pair, t), "loss"] == pytest.approx(loss, rel=1e-5)
            assert rows.loc[(pair, t), "accuracy"] == pytest.approx(accuracy)
        distance = sum((states[i][n].double() - states[j][n].double()).square().sum() for n in states[0]) ** 0.5
        assert rows.loc[(pair, 1.0), "length"] == pytest.approx(distance.item(), rel=1e-6)


def test_corrected_networks_stand_beside_those_as_they_are(population, tmp_path, monkeypatch):
    """Rows without correction are those of a job that asks for none; at the ends REPAIR changes nothing."""
    files, values, _ = population
    settings = {"points": 3, "splits": ["test"], "batch": 16, "recalibration": RECALIBRATION}
    more = settings | {"corrections": ["repair", "temperature"]}
    run_program(monkeypatch, "evaluate_barriers", values | {"barriers": settings}, **files, output=tmp_path / "b.csv")
    run_program(monkeypatch, "evaluate_barriers", values | {"barriers": more}, **files, output=tmp_path / "c.csv")
    plain, corrected = (pd.read_csv(tmp_path / name, dtype=str) for name in ("b.csv", "c.csv"))
    rows = {name: of.drop(columns="correction").reset_index(drop=True) for name, of in corrected.groupby("correction")}
    assert set(rows) == {"none", "repair", "temperature"} and "correction" not in plain
    pd.testing.assert_frame_equal(rows["none"][plain.columns], plain)
    ends = plain["t"].isin(["0", "1"])
    pd.testing.assert_frame_equal(rows["repair"][ends], rows["none"][ends])
    assert not rows["repair"][~ends].equals(rows["none"][~ends])
    assert rows["temperature"]["accuracy"].equals(plain["accuracy"])
    settings = {"sizes": [1, 2], "draws": 1, "batch": 16, "recalibration": RECALIBRATION, "corrections": ["repair"]}
    run_program(monkeypatch, "evaluate_averages", values | {"averages": settings}, **files, output=tmp_path / "a.csv")
    marks = pd.read_csv(tmp_path / "a.csv").query("split == 'test'").groupby(["mark", "correction"])["size"].count()
    assert marks.to_dict() == {("average", "none"): 5, ("average", "repair"): 5, ("ensemble", "none"): 1}


def test_averages_of_k_are_those_of_a_loop_over_state_dicts(population, tiny_dataset, tmp_path, monkeypatch):
    files, values, states = population
    settings = {"sizes": [1, 2, 4], "draws": 2, "batch": 16, "recalibration": RECALIBRATION}
    run_program(monkeypatch, "evaluate_averages", values | {"averages": settings}, **files, output=tmp_path / "a.csv")
    rows = pd.read_csv(tmp_path / "a.csv").query("split == 'test'").set_index(["mark", "size", "draw"])
    for size, draw, members in averages.choices(4, settings["sizes"], 2):
        loss, _ = loss_of(mean_of([states[member] for member in members]), tiny_dataset)
        assert rows.loc[("average", size, draw), "loss"] == pytest.approx(loss, rel=1e-5)
    images, labels = tiny_dataset.split("test")
    answers = []
    for state in states:
        network = networks.of(NETWORK, tiny_dataset)
        network.load_state_dict(state)
        answers.append(network.eval()(images.float() / 255).softmax(1))
    together = F.nll_loss(sum(answers).div(4).log(), labels).item()
    assert rows.loc[("ensemble", 4, 0), "loss"] == pytest.approx(together, rel=1e-5)


def test_triangles_are_those_of_a_loop_over_state_dicts(population, tiny_dataset, tmp_path, monkeypatch):
    files, values, states = population
    settings = {"points": 4, "batch": 16, "recalibration": RECALIBRATION}
    output = tmp_path / "t.csv"
    run_program(monkeypatch, "evaluate_triangles", values | {"triangles": settings}, **files, output=output)
    rows = tables.read([output], tables.TRIANGLES)
    assert set(rows["triangle"]) == {"1-2-3"} and set(rows["width"]) == {6}
    loss = rows.set_index(["third", "second"])["loss"]
    assert len(loss) == 4 + 3 + 2 + 1 == triangles.number_of_looks(4, 4)
    middle = 0.333333333
    expected = {(0, 0): states[0], (0, 1): states[1], (1, 0): states[2], (middle, middle): mean_of(states[:3])}
    expected[0, 0.666666667] = mean_of([states[0], states[1], states[1]])
    for place, state in expected.items():
        assert loss[place] == pytest.approx(loss_of(state, tiny_dataset)[0], rel=1e-5)
    corner = loss[0, 0], loss[0, 1], loss[1, 0]
    assert figure.rise(loss) == pytest.approx(
        max(loss[z, y] - (1 - y - z) * corner[0] - y * corner[1] - z * corner[2] for z, y in loss.index)
    )


def test_triangles_share_no_network_and_their_corners_are_networks():
    assert [list(members) for members in triangles.triples(8)] == [[0, 1, 2], [3, 4, 5]]
    assert {(1, 0, 0), (0, 1, 0), (0, 0, 1)} <= set(triangles.shares(7))
    assert all(sum(shares) == pytest.approx(1) and min(shares) >= 0 for shares in triangles.shares(7))


def test_choices_are_subsets_and_all_networks_are_one():
    found = list(averages.choices(5, [1, 2, 5, 9], 3))
    assert [size for size, _, _ in found] == [1] * 5 + [2] * 3 + [5]
    assert found[-1][2] == [0, 1, 2, 3, 4] and all(len(set(members)) == size for size, _, members in found)


@pytest.mark.parametrize("frame", ["first", "mean", "cycle"])
def test_permuted_copies_are_found_and_their_average_is_the_network(
    population, tiny_dataset, tmp_path, monkeypatch, frame
):
    files, values, states = population
    network = networks.of(NETWORK, tiny_dataset)
    spec = permutation.discover(network, tiny_dataset.example())
    copies = [states[0]]
    for seed in range(3):
        copies.append(permutation.apply(spec, permutation.random(spec, torch.Generator().manual_seed(seed)), states[0]))
    tensors = {name: torch.stack([state[name] for state in copies]) for name in states[0]}
    artifacts.save(files["networks"], tensors, {"rule": "train", "job": {"seeds": SEEDS}}, lanes=True)
    alignment = {"method": "weight", "seed": 0} | ({} if frame == "first" else {"frame": frame})
    found = tmp_path / "found.safetensors"
    run_program(monkeypatch, "align", values | {"alignment": alignment}, **files, output=found)
    settings = {"sizes": [4], "draws": 1, "batch": 16, "recalibration": RECALIBRATION}
    job = values | {"averages": settings, "triangles": settings | {"points": 3}}
    run_program(monkeypatch, "evaluate_triangles", job, **files, permutation=found, output=tmp_path / "t.csv")
    loss = pd.read_csv(tmp_path / "t.csv")["loss"]
    assert len(loss) == 6 and loss.to_numpy() == pytest.approx(loss_of(states[0], tiny_dataset)[0], rel=1e-5)
    run_program(monkeypatch, "evaluate_averages", job, **files, permutation=found, output=tmp_path / "a.csv")
    row = pd.read_csv(tmp_path / "a.csv").query("split == 'test' and mark == 'average'").iloc[0]
    assert row["loss"] == pytest.approx(loss_of(states[0], tiny_dataset)[0], rel=1e-5)


def test_a_network_is_read_without_the_others(population, one_line):
    """Damage elsewhere in the file is not seen, damage of its own bytes is."""
    files, _, states = population
    lane = artifacts.load_lane(files["networks"], 2, rule="train")
    assert all(torch.equal(lane[name], states[2][name]) for name in lane)
    content = bytearray(files["networks"].read_bytes())
    content[-3] ^= 1  # the last lane of the last tensor
    files["networks"].write_bytes(content)
    assert all(torch.equal(artifacts.load_lane(files["networks"], 2)[name], lane[name]) for name in lane)
    with one_line(ValueError, files["networks"], "damaged", "rule train"):
        artifacts.load_lane(files["networks"], 3)
    with one_line(ValueError, files["networks"], "damaged", "rule train"):
        artifacts.load(files["networks"])


def test_the_header_of_a_block_is_checked_without_its_tensors(population, tmp_path, one_line):
    files, _, states = population
    path = tmp_path / "results" / "networks.safetensors"
    path.parent.mkdir()
    path.write_bytes(files["networks"].read_bytes())
    manifests.write(manifests.beside(path), [path], {"rule": "train", "job": {}})
    manifests.check_artifact(path, artifacts.checksum(path))
    other = {name: torch.stack([state[name] for state in states[::-1]]) for name in states[0]}
    artifacts.save(path, other, {"rule": "train", "job": {"seeds": SEEDS}}, lanes=True)
    with one_line(ValueError, path, "of another job", "delete"):
        manifests.check_artifact(path, artifacts.checksum(path))


def test_a_permutation_of_fewer_networks_is_refused(population, tiny_dataset, one_line):
    _, _, states = population
    functional = Functional(networks.of(NETWORK, tiny_dataset))
    spec = permutation.discover(functional.network, tiny_dataset.example())
    found = permutation.stacked([permutation.identity(spec)] * 3)
    with one_line(ValueError, "a permutation of 3 networks", "population of 4"):
        populations.Population(tiny_dataset, functional, tuple(states)).permuted(found)


def test_lanes_of_a_block_train_as_alone_in_float64(tiny_dataset):
    """Twenty steps of momentum: lane k of four equals the network trained alone."""
    module = networks.of(NETWORK, tiny_dataset).double()
    functional = Functional(module)
    images, labels = tiny_dataset.train_images.double() / 255, tiny_dataset.train_labels

    def train(states, dtype, steps):
        vectors, buffers = functional.stack([{n: t.to(dtype) for n, t in state.items()} for state in states])
        moments = torch.zeros_like(vectors)
        module.to(dtype)
        for _ in range(steps):
            vectors.requires_grad_(True)
            inputs = images.to(dtype).expand(len(states), *images.shape)
            logits = functional(vectors, buffers, inputs, train=True)
            loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(states)), reduction="sum") / len(labels)
            (gradient,) = torch.autograd.grad(loss, vectors)
            moments = 0.9 * moments + gradient
            vectors = (vectors - 0.5 * moments).detach()
        return vectors

    states = [networks.of(NETWORK, tiny_dataset, seed).state_dict() for seed in SEEDS]
    for dtype, steps, tolerance in ((torch.float64, 20, 1e-12), (torch.float32, 1, 1e-6)):
        together = train(states, dtype, steps)
        for lane, state in enumerate(states):
            torch.testing.assert_close(together[lane], train([state], dtype, steps)[0], rtol=tolerance, atol=tolerance)


def test_a_sum_has_the_same_bits_however_many_are_summed_at_once():
    rows = torch.randn(5, 1000, generator=torch.Generator().manual_seed(0))
    looks = [look.networks[0] for look in lines.looks(5, 4)]
    together = measuring.combine(rows, looks)
    alone = torch.cat([measuring.combine(rows, [look]) for look in looks])
    assert torch.equal(together, alone) and torch.equal(together[:5], rows)


def test_number_of_looks_is_that_of_the_looks():
    assert len(list(lines.looks(6, 5))) == lines.number_of_looks(6, 5) == 6 + 15 * 3


def test_barriers_and_their_graph_worked_by_hand():
    """Three networks: one pair without a barrier, one of 0.3, one of 0.9 nats above the worse end."""
    rows = []
    for pair, ends, middle in (("1-2", (1.0, 2.0), 2.0), ("1-3", (1.0, 3.0), 3.3), ("2-3", (2.0, 3.0), 3.9)):
        for t, loss in zip((0, 0.5, 1), (ends[0], middle, ends[1])):
            names = {"dataset": "d", "network": "n", "recipe": "r", "width": 2.0, "alignment": "none", "pair": pair}
            numbers = {
                "correction": "none",
                "t": t,
                "length": t,
                "split": "test",
                "attack": "none",
                "loss": loss,
                "accuracy": 1 - loss / 10,
            }
            rows.append(names | numbers)
    found = averaging.pair_table(pd.DataFrame(rows)).set_index("pair")
    assert found["loss_barrier_max_endpoint"].tolist() == pytest.approx([0, 0.3, 0.9])
    assert found["loss_barrier_linear"].tolist() == pytest.approx([0.5, 1.3, 1.4])
    assert found["loss_barrier_mean_endpoint"].tolist() == pytest.approx([0.5, 1.3, 1.4])
    assert found["error_barrier_max_endpoint"].tolist() == pytest.approx([0, 0.03, 0.09])
    table = averaging.topology_table(found.reset_index()).set_index("threshold")
    assert table["betti_0"].tolist() == [2, 2, 2, 2, 2, 1, 1]
    assert table["largest_clique"].tolist() == [2, 2, 2, 2, 2, 2, 3]
    assert table["edges"].tolist() == [1, 1, 1, 1, 1, 2, 3]


def test_quartiles_of_a_line_do_not_hang_on_its_direction():
    rows = [
        {"dataset": "d", "network": "n", "recipe": "r", "width": 2.0, "alignment": "none", "pair": pair, "t": t}
        | {"correction": "none", "length": t, "split": "test", "attack": "none", "loss": loss, "accuracy": 0.5}
        for pair, losses in {"1-2": (0, 1, 4), "1-3": (0, 3, 8)}.items()
        for t, loss in zip((0.0, 0.5, 1.0), losses)
    ]
    table = averaging.interpolation_table(pd.DataFrame(rows)).query("quantity == 'loss'").set_index("t")
    assert (
        table.loc[0.0, ["lower", "median", "upper"]].tolist() == table.loc[1.0, ["lower", "median", "upper"]].tolist()
    )
    assert table.loc[0.5, "median"] == 2 and set(table["n"]) == {2}


class Work:
    """What `measuring.measure` asks of a job, with a state of its own."""

    values: ClassVar[dict] = {"names": {"network": "mlp"}}

    def __init__(self, state):
        self.state = state

    def points(self, values, total, what, done):
        return islice(values, done, None)


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_measurement_of_many_at_once_goes_on_where_it_was_stopped(population, tiny_dataset, tmp_path, stop):
    _, _, states = population
    functional = Functional(networks.of(NETWORK, tiny_dataset))
    vectors, _ = functional.stack(states)

    def measure(state):
        return measuring.measure(
            Work(state),
            SimpleNamespace(functional=functional, dataset=tiny_dataset),
            {"batch": 16},
            vectors,
            lines.looks(4, 4),
            lambda look: [View("train"), View("test")],
            what="measure",
            total=lines.number_of_looks(4, 4),
            statistics=lambda looks, vectors: functional.initial_buffers(len(vectors)),
            together=3,
        )[0]

    with resume.State(tmp_path / "whole", "identity") as state:
        whole = measure(state)
    with pytest.raises(resume.Stopped), StoppedAt(tmp_path / "lines", stop) as state:
        measure(state)
    with resume.State(tmp_path / "lines", "identity") as state:
        assert measure(state) == whole and state.resumed
    assert len(whole) == 2 * lines.number_of_looks(4, 4)


def test_a_block_that_is_read_and_written_changed_is_whole(population, tmp_path):
    files, _, _ = population
    tensors, metadata = artifacts.load(files["networks"])
    artifacts.save(tmp_path / "twice", {name: 2 * tensor for name, tensor in tensors.items()}, metadata)
    lane = artifacts.load_lane(tmp_path / "twice", 1)
    assert all(torch.equal(lane[name], 2 * tensors[name][1]) for name in lane)


def test_the_average_of_a_pair_is_measured_too(population, tiny_dataset, tmp_path, monkeypatch):
    """Of two networks a job has the name of a pair."""
    files, values, states = population
    names = {name: value for name, value in values["names"].items() if name != "population"} | {"pair": "1-2"}
    settings = {"sizes": [1, 2], "draws": 1, "batch": 16, "recalibration": RECALIBRATION}
    job = values | {"names": names, "members": [1, 2], "averages": settings}
    run_program(monkeypatch, "evaluate_averages", job, **files, output=tmp_path / "a.csv")
    row = pd.read_csv(tmp_path / "a.csv").query("split == 'test' and mark == 'average' and size == 2").iloc[0]
    assert row["loss"] == pytest.approx(loss_of(mean_of(states[:2]), tiny_dataset)[0], rel=1e-5)


def test_a_signature_without_a_permutation_is_one_line(population, tmp_path, monkeypatch):
    files, values, _ = population
    job = values | {"members": [1, 2], "alignment": {"method": "weight", "seed": 0}}
    with pytest.raises(SystemExit) as caught:
        run_program(monkeypatch, "evaluate_signature", job, **files, output=tmp_path / "s.csv")
    assert caught.value.code == "evaluate_signature.py: a signature is that of a permutation: give its --permutation"


@pytest.mark.parametrize("exact", [False, True])
def test_lanes_with_batch_normalization_keep_the_statistics_of_the_network_alone(tiny_dataset, exact):
    """Also of a CPU's networks without convolutions, which are computed at once."""
    values = NETWORK | {"norm": "batch", "hidden": [6, 5], "exact": exact}
    functional = Functional(networks.of(values, tiny_dataset))
    states = [networks.of(values, tiny_dataset, seed).state_dict() for seed in SEEDS]
    images = tiny_dataset.train_images.float() / 255

    def step(states):
        vectors, buffers = functional.stack(states)
        vectors.requires_grad_(True)
        logits = functional(vectors, buffers, images.expand(len(states), *images.shape), train=True)
        (gradient,) = torch.autograd.grad(logits.square().sum(), vectors)
        return gradient, buffers

    gradients, buffers = step(states)
    for lane, state in enumerate(states):
        gradient, alone = step([state])
        torch.testing.assert_close(gradients[lane], gradient[0], rtol=1e-4, atol=1e-5)
        for name in alone:
            torch.testing.assert_close(buffers[name][lane], alone[name][0], rtol=1e-5, atol=1e-6)
        assert not torch.equal(
            buffers["network.layers.0.norm.running_mean"][lane], state["network.layers.0.norm.running_mean"]
        )


def test_permutations_of_other_networks_are_refused(population, tmp_path, monkeypatch):
    """A permutation found for three of the four networks is no permutation of all, nor of other three."""
    files, values, _ = population
    found, settings = (
        tmp_path / "found.safetensors",
        {"sizes": [2], "draws": 1, "batch": 16, "recalibration": RECALIBRATION},
    )
    alignment = {"method": "weight", "seed": 0}
    run_program(monkeypatch, "align", values | {"members": [1, 2, 3], "alignment": alignment}, **files, output=found)
    for members in ([1, 2, 4], [1, 2, 3, 4]):
        job = values | {"members": members, "averages": settings}
        with pytest.raises(SystemExit) as caught:
            run_program(monkeypatch, "evaluate_averages", job, **files, permutation=found, output=tmp_path / "a.csv")
        assert "is of other networks than this job" in caught.value.code and not (tmp_path / "a.csv").exists()
