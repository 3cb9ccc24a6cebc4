"""Answers in the plane and units of the first layer, worked by hand."""

import math

import pandas as pd
import pytest
import torch
from test_programs import run_program

from modeconn import artifacts, boundaries, datasets, networks
from modeconn.functional import Functional

NETWORK = {"family": "mlp", "width": 1, "hidden": [3], "norm": "none"}


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    source = {"source": "moons", "count": 64, "noise": 0.1, "seed": 0, "test_fraction": 0.5, "alignment_fraction": 0.5}
    tensors, metadata = datasets.prepare(source, tmp_path_factory.mktemp("downloads"))
    return tensors, metadata, datasets.Dataset.of(tensors, metadata, "cpu")


def test_angle_offset_and_outgoing_weight_of_units_worked_by_hand():
    """Units that look right, up and down-left, at distances 2, 0 and -1 from the origin."""
    weights = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    tensors = {
        "network.layers.0.linear.weight": weights,
        "network.layers.0.linear.bias": torch.tensor([6.0, 0.0, -math.sqrt(2)]),
        "network.dense.weight": torch.tensor([[1.0, 2.0, 3.0], [5.0, 1.0, 3.0]]),
        "network.dense.bias": torch.zeros(2),
    }
    found = pd.DataFrame(boundaries.units(tensors, "network.dense"))
    assert found["angle"].tolist() == pytest.approx([0, math.pi / 2, -3 * math.pi / 4])
    assert found["offset"].tolist() == pytest.approx([2, 0, -1])
    assert found["outgoing"].tolist() == [4, -1, 0]


def test_answers_are_those_of_the_networks_and_of_the_average_of_their_weights(moons, tmp_path, monkeypatch):
    tensors, metadata, dataset = moons
    states = [networks.of(NETWORK, dataset, seed).state_dict() for seed in (1, 2)]
    files = {"data": tmp_path / "data.safetensors", "networks": tmp_path / "networks.safetensors"}
    artifacts.save(files["data"], tensors, {"rule": "prepare_data", **metadata})
    stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    artifacts.save(files["networks"], stacked, {"rule": "train", "job": {"seeds": [1, 2]}}, lanes=True)
    names = {"dataset": "moons", "network": "mlp", "recipe": "plain", "pair": "1-2", "alignment": "none"}
    job = {"threads": 1, "names": names, "network": NETWORK, "members": [1, 2], "boundary": {"points": 5}}
    outputs = {"output": tmp_path / "points.csv", "units": tmp_path / "units.csv"}
    run_program(monkeypatch, "evaluate_boundary", job, **files, **outputs)
    rows = pd.read_csv(outputs["output"])
    assert rows["mark"].value_counts().to_dict() == {"first": 25, "second": 25, "average": 25, "data": 32}
    middle = {name: (states[0][name] + states[1][name]) / 2 for name in states[0]}
    for mark, state in {"first": states[0], "second": states[1], "average": middle}.items():
        network, of_mark = networks.of(NETWORK, dataset), rows[rows["mark"] == mark]
        network.load_state_dict(state)
        points = torch.tensor(of_mark[["x", "y"]].to_numpy(), dtype=torch.float32)[:, :, None, None]
        with torch.no_grad():
            expected = network(points).softmax(1)[:, 1]
        assert of_mark["probability"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    units = pd.read_csv(outputs["units"])
    first = Functional(networks.of(NETWORK, dataset)).unpack(torch.cat([t.flatten() for t in states[0].values()]))
    weight = first["network.layers.0.linear.weight"]
    angles = units.loc[units["mark"] == "first", "angle"].tolist()
    assert angles == pytest.approx(torch.atan2(weight[:, 1], weight[:, 0]).tolist(), rel=1e-5)


def test_the_grid_holds_the_data_and_a_margin(moons):
    dataset = moons[2]
    x, y = boundaries.grid(dataset, 7)
    points = dataset.train_images.flatten(1)
    for axis, values in zip((x, y), points.T):
        room = 0.15 * (values.max() - values.min()).item()
        assert len(axis) == 7
        assert (axis[0].item(), axis[-1].item()) == pytest.approx(
            (values.min().item() - room, values.max().item() + room)
        )
