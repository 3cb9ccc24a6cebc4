"""The similarity of networks on a curve to its endpoints: the measure, and the program that takes it at each t."""

import numpy as np
import pytest
import torch
from test_programs import run_program
from torch.func import functional_call
from walk import along

from modeconn import artifacts, batchnorm, datasets, permutation, similarity, tables
from modeconn.functional import Functional

SETTINGS = {"points": 3, "recalibration": {"images": 0, "batch": 20}}
BEZIER = {"kind": "bezier"}


@pytest.fixture
def made(tiny_pair, tiny_dataset, tiny_network, tmp_path):
    """A bent curve between networks 1 and 2: files, values, and the state dict at each of its three points."""
    files, values = tiny_pair
    functional = Functional(tiny_network(0))
    ends = [functional.pack(tiny_network(seed).state_dict())[0] for seed in (1, 2)]
    bend = 0.5 * sum(ends) + 0.05 * torch.randn(len(ends[0]), generator=torch.Generator().manual_seed(1))
    points = [vectors for *_, vectors in along(torch.stack([ends[0], bend, ends[1]]), "bezier", 3)]
    setting = SETTINGS["recalibration"]
    buffers = [batchnorm.recalibrated(functional, vectors, tiny_dataset, setting) for vectors in points]
    artifacts.save(tmp_path / "bends", {"bends": bend[None]}, {"rule": "fit_curve"})
    names = values["names"] | {"curve": "bent"}
    states = [
        functional.unpack(vectors[0]) | {name: buffer[0] for name, buffer in of_point.items()}
        for vectors, of_point in zip(points, buffers, strict=True)
    ]
    files = files | {"curve": tmp_path / "bends"}
    return files, values | {"names": names, "curve": BEZIER, "activations": SETTINGS}, states


@pytest.fixture
def evaluate(made, monkeypatch, tmp_path):
    def evaluate():
        files, values, _ = made
        run_program(monkeypatch, "evaluate_activations", values, **files, output=tmp_path / "activations.csv")
        return tables.read([tmp_path / "activations.csv"], tables.ACTIVATIONS)

    return evaluate


def activations(network, tensors, images, module, site):
    """What a module is given ("pre") or returns ("post"): (channels, samples) float64."""
    kept = []
    of_network = network.get_submodule(module)
    # A copy: nonlinearities work in place.
    if site == "pre":
        handle = of_network.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].clone()))
    else:
        handle = of_network.register_forward_hook(lambda _, inputs, output: kept.append(output.clone()))
    with torch.no_grad():
        functional_call(network.eval(), tensors, (images,))
    handle.remove()
    return kept[0].double().transpose(0, 1).flatten(1).numpy()


def test_rows_are_those_of_the_activations(made, evaluate, tiny_dataset, tiny_network):
    *_, states = made
    rows = evaluate().set_index(["t", "end", "site", "position"])
    images = datasets.to_float(tiny_dataset.split("alignment")[0])
    network = tiny_network(0)
    assert len(rows) == 3 * 2 * 2 * 9
    for (t, end, site, position), row in rows.query("position == 3 or position == 6").iterrows():
        module = f"network.layers.{position:.0f}"
        assert row["group"] == f"{module}.conv"
        a, b = (
            activations(network, tensors, images, f"{module}.relu", site)
            for tensors in (states[int(2 * end)], states[int(2 * t)])
        )
        x, y = ((z - z.mean(1, keepdims=True)) / (z.std(1, keepdims=True) + 1e-5) for z in (a, b))
        assert row["before"] == pytest.approx((x * y).mean(), abs=1e-5)
        scale = np.linalg.norm(a) / len(images) ** 0.5
        assert row["distance_before"] == pytest.approx(np.linalg.norm(a - b) / len(images) ** 0.5, abs=1e-3 * scale)


def test_an_endpoint_is_alike_to_itself_and_not_to_the_other(evaluate):
    rows = evaluate().query("site == 'pre'").set_index(["t", "end"])
    for t, own, other in ((0, 0, 1), (1, 1, 0)):
        here = rows.loc[(t, own)]
        # No variance is zero before the nonlinearity.
        assert list(here["before"]) == pytest.approx([1] * len(here), abs=1e-3)
        assert list(here["after"]) == pytest.approx(list(here["before"]))
        assert (here["distance_before"].to_numpy() < 0.01 * rows.loc[(t, other), "distance_before"].to_numpy()).all()
        assert (rows.loc[(t, other), "before"] < 0.9).all()


def test_aligning_the_middle_to_an_end_raises_the_correlation(evaluate):
    middle = evaluate().query("t == 0.5 and group != 'logits'")
    assert (middle["after"] >= middle["before"] - 1e-9).all()
    assert (middle["after"] > middle["before"] + 0.05).any()


def test_a_permuted_network_is_found_again(tiny_dataset, tiny_network):
    network, images = tiny_network(0), tiny_dataset.split("alignment")[0]
    tensors = tiny_network(1).state_dict()
    spec = permutation.discover(network, tiny_dataset.example())
    drawn = permutation.random(spec, torch.Generator().manual_seed(3))
    rows = similarity.to_ends(network, spec, permutation.apply(spec, drawn, tensors), [tensors], images)
    for row in rows:
        if row["group"] != "logits" and row["site"] == "pre":
            assert row["after"] == pytest.approx(1, abs=1e-3)
            assert row["distance_after"] < 0.01 * row["distance_before"]


def test_activations_go_on_where_they_were_stopped(evaluate, monkeypatch, tmp_path):
    evaluate()
    expected = (tmp_path / "activations.csv").read_bytes()
    (tmp_path / "activations.csv").unlink()
    measure, calls = similarity.to_ends, []

    def failing(*arguments):
        calls.append(None)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return measure(*arguments)

    monkeypatch.setattr(similarity, "to_ends", failing)
    with pytest.raises(RuntimeError, match="killed"):
        evaluate()
    assert not (tmp_path / "activations.csv").exists()
    evaluate()
    assert len(calls) == 2 + 2
    assert (tmp_path / "activations.csv").read_bytes() == expected
