"""The best network on a curve: selected by held-out images, tested once, usable; and ensembles along the curve."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_programs import SCRIPTS, arguments_of, run_program

import estimate_cost
import preloaded
import select_network
from modeconn import artifacts, attacks, autoattack, classification, dispatch, manifests, networks, resume, tables
from modeconn.ensembles import Ensemble
from modeconn.fingerprint import fingerprint
from modeconn.functional import Functional

RESULTS = Path(__file__).parents[2] / "results/README.md"
PGD = {"epsilon": 0.1, "step": 0.04, "steps": 3, "random_start": False}
STRONG = {"epsilon": 0.1, "step": 0.02, "steps": 10, "random_start": True, "restarts": 3}
LINE = {"kind": "linear"}
EVALUATION = {"points": 5, "batch": 32, "recalibration": {"images": 0, "batch": 22}}


def plain_accuracy(network, images, labels, attack=None):
    """Accuracy and loss of a module in eval mode, by a plain forward, under an attack without random start."""
    images = images.float() / 255
    if attack:
        objective = lambda x: F.cross_entropy(network(x), labels, reduction="sum")  # noqa: E731
        images = attacks.pgd(objective, images, **{key: attack[key] for key in ("epsilon", "step", "steps")})
    with torch.no_grad():
        logits = network(images)
    return (logits.argmax(1) == labels).double().mean().item(), F.cross_entropy(logits, labels).item()


@pytest.fixture
def made(tiny_pair, tiny_dataset, monkeypatch, tmp_path):
    """The files of a pair whose data set holds out 40 images, and the evaluation of the line between both networks."""
    files, values = tiny_pair
    job = values | {"curve": LINE, "evaluation": EVALUATION, "names": values["names"] | {"curve": "linear"}}
    outputs = {"output": tmp_path / "points.csv", "statistics": tmp_path / "statistics.safetensors"}
    run_program(monkeypatch, "evaluate_curve", job, **files, **outputs)
    # Tests draw other images to hold out: the data set that the statistics were made from is left open.
    tensors, metadata = artifacts.load(outputs["statistics"])
    del metadata["inputs"]
    artifacts.save(outputs["statistics"], tensors, metadata)
    manifests.beside(outputs["output"]).unlink()  # by hand from here on
    tensors, metadata = artifacts.load(files["data"])
    rng = torch.Generator().manual_seed(5)
    tensors["hold_out_images"] = torch.randint(0, 256, (40, 1, 12, 12), generator=rng, dtype=torch.uint8)
    tensors["hold_out_labels"] = torch.randint(0, 3, (40,), generator=rng)
    return files | {"statistics": outputs["statistics"], "data": tmp_path / "held.safetensors"}, job, tensors, metadata


@pytest.fixture
def select(made, monkeypatch, tmp_path):
    """Run the program, with other labels of the held-out images if given; the table and the path of the checkpoint."""
    files, job, tensors, metadata = made

    def select(labels=None, attacks=None, selection="none", **more):
        held = tensors if labels is None else tensors | {"hold_out_labels": labels}
        artifacts.save(files["data"], held, metadata)
        values = job | {"tested": {"none": None} | (attacks or {}), "selection": selection, "ensemble": 3}
        outputs = {"output": tmp_path / "best.csv", "checkpoint": tmp_path / "best.safetensors"}
        run_program(monkeypatch, "select_network", values, **{**files, **outputs, **more})
        return tables.read([outputs["output"]], tables.BEST), outputs["checkpoint"]

    return select


@pytest.fixture
def on_the_line(made, tiny_network, tiny_dataset):
    """Plain modules at the points of the line, their statistics those of evaluate_curve."""
    files, *_ = made
    first, second = (tiny_network(seed).state_dict() for seed in (1, 2))
    statistics, _ = artifacts.load(files["statistics"])
    found = []
    for point, t in enumerate(np.linspace(0, 1, 5)):
        network = tiny_network(0).eval()
        mixed = {name: (1 - t) * first[name] + t * second[name] for name in first if name not in statistics}
        network.load_state_dict(mixed | {name: buffer[point] for name, buffer in statistics.items()})
        found.append(network)
    return found


@pytest.mark.parametrize("point", [1, 3])
def test_the_network_that_is_best_on_held_out_images_is_selected(select, on_the_line, made, tiny_dataset, point):
    """Held-out labels are what the network at one point says: no other can be better, whatever the test split says."""
    _, _, tensors, _ = made
    labels = on_the_line[point](tensors["hold_out_images"].float() / 255).argmax(1)
    rows, path = select(labels)
    best = rows[rows["mark"] == "best"]
    assert list(best["members"]) == [f"{point / 4:g}"] and list(best["split"]) == ["test"]
    held = rows[rows["split"] == "hold_out"].set_index("members")
    assert held.loc[f"{point / 4:g}", "accuracy"] == 1 and (held["accuracy"] < 1).sum() == 4
    images, labels = tiny_dataset.split("test")
    on_test = [plain_accuracy(network, images, labels)[0] for network in on_the_line]
    # Or a selection on the test split would not be noticed, for one of the two points at least.
    assert max(on_test) > min(on_test)
    accuracy, loss = plain_accuracy(on_the_line[point], images, labels)
    assert best["accuracy"].item() == pytest.approx(accuracy)
    assert best["loss"].item() == pytest.approx(loss, rel=1e-5)
    _, made_by = artifacts.load(path, rule="select_network")
    assert made_by["t"] == point / 4


def test_under_attack_it_is_the_most_robust_one(select, on_the_line, made, tiny_dataset):
    _, _, tensors, _ = made
    held = tensors["hold_out_images"], tensors["hold_out_labels"]
    rows, _ = select(attacks={"pgd": PGD, "strong": STRONG}, selection="pgd")
    expected = [plain_accuracy(network, *held, PGD) for network in on_the_line]
    found = rows[(rows["mark"] == "curve") & (rows["attack"] == "pgd")]
    assert list(found["accuracy"]) == pytest.approx([accuracy for accuracy, _ in expected])
    point = max(range(5), key=lambda point: (expected[point][0], -expected[point][1]))
    assert set(rows.loc[rows["mark"] == "best", "members"]) == {f"{point / 4:g}"}
    # The stronger attack never sees the held-out images, and the test images meet all three.
    assert set(rows.loc[rows["split"] == "hold_out", "attack"]) == {"none", "pgd"}
    test = rows[rows["split"] == "test"].set_index(["mark", "attack"]).sort_index()
    assert test.index.is_unique and len(test) == 5 * 3
    for mark, member in (("first", 0), ("second", 4)):
        for name, attack in (("none", None), ("pgd", PGD)):
            accuracy, loss = plain_accuracy(on_the_line[member], *tiny_dataset.split("test"), attack)
            assert test.loc[(mark, name), "accuracy"] == pytest.approx(accuracy)
            assert test.loc[(mark, name), "loss"] == pytest.approx(loss, rel=1e-4)
        assert test.loc[(mark, "strong"), "loss"] > test.loc[(mark, "pgd"), "loss"] > test.loc[(mark, "none"), "loss"]
    assert dict(test["members"].xs("none", level="attack"))["ends"] == "0 1"
    assert dict(test["members"].xs("none", level="attack"))["ensemble"] == "0 0.5 1"
    images, labels = tiny_dataset.split("test")
    mean = torch.stack([on_the_line[point](images.float() / 255).softmax(1) for point in (0, 2, 4)]).mean(0)
    loss = -mean[torch.arange(20), labels].log().mean().item()
    assert test.loc[("ensemble", "none"), "loss"] == pytest.approx(loss, rel=1e-5)
    assert test.loc[("ensemble", "none"), "accuracy"] == pytest.approx((mean.argmax(1) == labels).double().mean())


def test_its_cost_is_estimated_as_what_it_computes(select, made, monkeypatch):
    """Every image that goes through a network counts, with its gradient one pass and forward alone a third."""
    _, job, *_ = made
    outputs, counted = Functional.outputs, []

    def counting(self, vectors, buffers, images, train=False):
        counted.append(len(vectors) * images.shape[1] * (1 if images.requires_grad else Fraction(1, 3)))
        return outputs(self, vectors, buffers, images, train)

    monkeypatch.setattr(Functional, "outputs", counting)
    named = {"none": None, "pgd": PGD, "strong": STRONG}
    select(attacks=named, selection="pgd")
    dataset = {"source": "npz", "train_images": 84, "hold_out": 40, "test_images": 20, "alignment_fraction": 0.2}
    values = job | {"tested": named, "selection": "pgd", "ensemble": 3}
    assert estimate_cost.passes("select_network", values, dataset, (44, 20)) == sum(counted)


def test_of_equals_the_one_of_the_lowest_loss_is_taken_and_then_the_first():
    numbers = [(0.8, 0.1), (0.9, 0.5), (0.9, 0.4), (0.9, 0.4)]
    rows = [{"split": "hold_out", "attack": "pgd", "accuracy": a, "loss": b} for a, b in numbers]
    others = [{"split": s, "attack": a, "accuracy": 1, "loss": 0} for s, a in (("test", "pgd"), ("hold_out", "none"))]
    assert select_network.best_of([*others, *rows], "pgd") == 2


def test_the_checkpoint_is_used_as_the_manual_says(select, on_the_line, tiny_dataset):
    rows, path = select()
    (example,) = re.findall(r"```python\n(.*?)```", RESULTS.read_text(), re.DOTALL)
    images, _ = tiny_dataset.split("test")
    scope = {"path": path, "images": images.float() / 255}
    exec(example, scope)
    point = round(4 * float(rows.loc[rows["mark"] == "best", "members"].item()))
    with torch.no_grad():
        torch.testing.assert_close(scope["logits"], on_the_line[point](images.float() / 255))
    assert scope["made"]["job"]["names"]["dataset"] == "tiny" and scope["made"]["t"] == point / 4


def test_a_selection_goes_on_where_it_was_stopped(select, monkeypatch, tmp_path):
    names = [tmp_path / "best.csv", tmp_path / "best.safetensors"]
    options = {"attacks": {"pgd": PGD}, "selection": "pgd"}
    select(**options)
    expected = [name.read_bytes() for name in names]
    measure = classification.evaluate
    monkeypatch.setattr(resume.State, "SHARE", float("inf"))  # saves whenever it may
    for last in (7, 15):  # among the points, and among the networks tested
        names[0].unlink()
        calls = []

        def failing(*arguments, calls=calls, last=last, **more):
            calls.append(None)
            if len(calls) == last:
                raise RuntimeError("killed")
            return measure(*arguments, **more)

        monkeypatch.setattr(classification, "evaluate", failing)
        with pytest.raises(RuntimeError, match="killed"):
            select(**options)
        assert not names[0].exists()
        select(**options)
        # 20 measurements, and the one under way was done once more; a point or network has two.
        assert len(calls) == 20 + 1
        assert [name.read_bytes() for name in names] == expected


def test_statistics_of_other_points_are_one_line(made, monkeypatch, tmp_path):
    """Of fewer points they would not suffice, of more they would be those of other networks, without a word."""
    files, job, tensors, metadata = made
    program = "select_network"
    artifacts.save(files["data"], tensors, metadata)
    more = {"tested": {"none": None}, "selection": "none", "ensemble": 3}
    outputs = {"output": tmp_path / "rows.csv", "checkpoint": tmp_path / "best.safetensors"}
    for points in (4, 9):
        with pytest.raises(SystemExit) as caught:
            run_program(
                monkeypatch, program, job | more | {"evaluation": {**EVALUATION, "points": points}}, **files, **outputs
            )
        assert caught.value.code == (
            f"{program}.py: {files['statistics']} has statistics of 5 points of the curve:"
            f" give those of {points}, evaluation.points"
        )
        assert not any(path.exists() for path in outputs.values())


def test_without_held_out_images_nothing_is_selected(select, tiny_pair, tmp_path):
    with pytest.raises(SystemExit) as caught:
        select(data=tiny_pair[0]["data"])
    assert caught.value.code == "select_network.py: the data set holds out no images: give it hold_out in the config"
    assert not (tmp_path / "best.csv").exists()


def test_the_fingerprint_names_all_that_is_loaded(made, tmp_path):
    files, job, tensors, metadata = made
    artifacts.save(files["data"], tensors, metadata)
    job = job | {"tested": {"none": None, "pgd": PGD}, "selection": "pgd", "ensemble": 3}
    code = fingerprint("select_network", dispatch.modules(job))
    assert "attacks:" in code and "autoattack:" not in code
    outputs = {"output": tmp_path / "best.csv", "checkpoint": tmp_path / "best.safetensors"}
    command = [preloaded.python(), SCRIPTS / "select_network.py", *arguments_of(job, code=code, **files, **outputs)]
    subprocess.run(command, check=True)
    assert outputs["checkpoint"].exists()


@pytest.fixture
def population(tiny_network):
    """A functional, three networks of it as modules, and the same as members of one ensemble."""
    functional = Functional(tiny_network(0))
    modules = [tiny_network(seed).eval() for seed in (1, 2, 3)]
    vectors, buffers = functional.stack(module.state_dict() for module in modules)
    return functional, modules, (vectors[None], {name: buffer[None] for name, buffer in buffers.items()})


def test_an_ensemble_answers_with_the_mean_softmax(population, tiny_dataset):
    functional, modules, members = population
    images = tiny_dataset.example(7)
    with torch.no_grad():
        found = Ensemble(functional)(*members, images[None])
        expected = torch.stack([module(images).softmax(1) for module in modules]).mean(0)
    assert found.shape == (1, 7, 3)
    torch.testing.assert_close(found[0].exp(), expected)


def test_an_attack_on_an_ensemble_raises_the_loss_of_the_ensemble(population, tiny_dataset):
    functional, modules, members = population
    images, labels = tiny_dataset.split("test")
    keys = {key: PGD[key] for key in ("epsilon", "step", "steps")}

    def probabilities(pixels):
        return torch.stack([module(pixels).softmax(1) for module in modules]).mean(0)

    def objective(pixels):
        return -probabilities(pixels)[torch.arange(20), labels].log().sum()

    loss, accuracy = classification.evaluate(Ensemble(functional), *members, images, labels, 20, PGD)
    attacked = attacks.pgd(objective, images.float() / 255, **keys)
    # An attack on one member only does less.
    alone = attacks.pgd(
        lambda pixels: F.cross_entropy(modules[0](pixels), labels, reduction="sum"), images.float() / 255, **keys
    )
    with torch.no_grad():
        assert loss.item() == pytest.approx(objective(attacked).item() / 20, rel=1e-3)
        assert accuracy.item() == (probabilities(attacked).argmax(1) == labels).double().mean()
        assert objective(alone) < objective(attacked)


def test_without_its_package_autoattack_says_what_to_install(monkeypatch, one_line):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with one_line(ValueError, "AutoAttack is not installed", "pip install 'pyautoattack"):
        autoattack.attack(None, torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, dtype=torch.int64), 0.1)


def flat(classes):
    return networks.build(
        {"family": "mlp", "hidden": [6], "width": 1, "norm": "none"},
        shape=(1, 4, 4),
        classes=classes,
        mean=[0.5],
        std=[0.3],
    )


def measured_by_autoattack(classes):
    functional = Functional(flat(classes))
    vectors, buffers = functional.stack(flat(classes).state_dict() for _ in range(2))
    vectors = torch.stack([vectors[0], -vectors[0]])
    images = torch.randint(0, 256, (9, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        labels = functional(vectors[:1], buffers, images[None].float() / 255)[0].argmax(1)
    clean, found = (
        classification.evaluate(functional, vectors, buffers, images, labels, 5, attack)
        for attack in (None, {"method": "autoattack", "epsilon": 0.2})
    )
    return clean[1].tolist(), found[1].tolist()


def test_autoattack_is_asked_for_each_network_on_its_own(monkeypatch, one_line):
    calls = []

    class Suite:
        """Blackens every image of the network that it is given."""

        def __init__(self, model, **options):
            self.model, self.options = model, options
            self.apgd_targeted, self.fab = SimpleNamespace(), SimpleNamespace()

        def run_standard_evaluation(self, images, labels, batch_size):
            targets = self.apgd_targeted.n_target_classes, self.fab.n_target_classes
            calls.append((self.options["eps"], targets, len(images), batch_size, self.model(images).shape))
            return images * 0, labels

    monkeypatch.setitem(sys.modules, "pyautoattack", SimpleNamespace(AutoAttack=Suite))
    measured_by_autoattack(5)
    # Two batches, of 5 and of 4 images, of two networks.
    assert calls == [(0.2, (4, 4), n, n, (n, 5)) for n in (5, 5, 4, 4)]
    with one_line(ValueError, "AutoAttack needs 4 classes, and the data set has 3"):
        measured_by_autoattack(3)


def test_autoattack_itself():
    pytest.importorskip("pyautoattack")
    (clean, _), (attacked, _) = measured_by_autoattack(5)
    assert clean == 1
    assert attacked < 0.5
