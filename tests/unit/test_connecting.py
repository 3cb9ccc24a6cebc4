"""Two networks compared: known permutations, numbers of plain torch, and the command that says what it found."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import modeconn
from modeconn import checkpoints, command, connecting, datasets, own_code, permutation
from modeconn.functional import Functional
from modeconn.page import DASHES
from modeconn.permutation import proof

ROOT = Path(__file__).parents[2]
SOURCE = """
import torch
from torch import nn

def build(classes, width=6):
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 16, classes)
    )

def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(48, 1, 6, 6, generator=generator)
    labels = (images.mean((1, 2, 3)) > images.mean()).long()
    return images[:32], labels[:32], images[32:], labels[32:]

def wide():
    return torch.rand(4, 3, 6, 6), torch.arange(4) % 2, torch.rand(4, 3, 6, 6), torch.arange(4) % 2

def same():
    return torch.rand(4, 1, 6, 6), torch.zeros(4).long(), torch.rand(4, 1, 6, 6), torch.zeros(4).long()

def words():
    return ["a"], ["b"], ["c"], ["d"]

def many():
    return torch.rand(4, 1, 6, 6), torch.arange(4), torch.rand(4, 1, 6, 6), torch.arange(4)
"""


def network(norm=True, width=6):
    layers = [nn.Conv2d(1, width, 3), nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 16, 2))


def drawn(seed, norm=True):
    """A network with weights and statistics of its own."""
    torch.manual_seed(seed)
    found = network(norm)
    with torch.no_grad():
        for name, tensor in found.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "running_var" in name else torch.randn_like(tensor))
    return found.eval()


@pytest.fixture(scope="module")
def data():
    names = {}
    exec(SOURCE, names)
    x, y, x_test, y_test = names["data"]()
    return (x, y), (x_test, y_test)


def setting_of(model, data):
    return connecting.Setting.of(model, connecting.dataset_of(*data))


def test_a_network_in_another_order_is_recognized(data):
    """Matching undoes the permutation, and the line is a point."""
    model = drawn(1)
    spec = modeconn.discover(model, data[0][0][:2])
    order = permutation.random(spec, torch.Generator().manual_seed(3))
    other = modeconn.apply(spec, order, model.state_dict())
    found = modeconn.connect(model, model.state_dict(), other, *data)
    for name in (connecting.BY_ACTIVATIONS, connecting.BY_WEIGHTS):
        assert found.profiles[name].length[-1] < 1e-4
        assert np.ptp(found.profiles[name].loss) < 1e-5
    assert found.profiles[connecting.AS_THEY_ARE].length[-1] > 1
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.aligned[name], tensor)
    # Two of the six channels are dead, and correlate with nothing.
    assert found.signature[0][1][connecting.BY_WEIGHTS] == pytest.approx(4 / 6, abs=1e-3)
    assert "B is A with its neurons in another order" in found.answer or "not judged" in found.answer


def test_the_line_is_what_plain_torch_computes(data):
    a, b = drawn(1, norm=False), drawn(2, norm=False)
    found = connecting.profile(setting_of(a, data), a.state_dict(), b.state_dict(), points=3)
    images, labels = data[1]
    middle = network(norm=False)
    middle.load_state_dict({name: (a.state_dict()[name] + b.state_dict()[name]) / 2 for name in a.state_dict()})
    for one, loss, accuracy in zip((a, middle, b), found.loss, found.accuracy):
        logits = one(images)
        assert loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
        assert accuracy == (logits.argmax(1) == labels).float().mean().item()


def test_merged_statistics_are_those_of_the_training_images(data):
    """Mean and unbiased variance of what the middle network's convolution writes; and the profile's numbers."""
    a, b = drawn(1), drawn(2)
    setting = setting_of(a, data)
    merged = connecting.at(setting, a.state_dict(), b.state_dict(), 0.5)
    middle = network()
    middle.load_state_dict(merged)
    written = middle[0](data[0][0]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(merged["1.running_mean"], written.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(merged["1.running_var"], written.var(1), rtol=1e-4, atol=1e-5)
    logits = middle.eval()(data[1][0])
    loss = connecting.profile(setting, a.state_dict(), b.state_dict(), points=3).loss[1]
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, data[1][1]).item(), rel=1e-4)


def test_a_buffer_that_is_no_statistic_is_averaged_or_refused(data):
    class Scaled(nn.Module):
        def __init__(self, scale, table):
            super().__init__()
            self.layers = network(norm=False)
            self.register_buffer("scale", torch.tensor(scale))
            self.register_buffer("table", torch.tensor(table))

        def forward(self, images):
            return self.layers(images) * self.scale

    a, b, other = Scaled(1.0, 1), Scaled(3.0, 1), Scaled(3.0, 2)
    assert connecting.at(setting_of(a, data), a.state_dict(), b.state_dict(), 0.25)["scale"] == 1.5
    with pytest.raises(ValueError, match="table holds integers, which cannot be averaged"):
        connecting.at(setting_of(a, data), a.state_dict(), other.state_dict(), 0.5)


def test_spectral_normalization_is_of_the_weights_between_the_networks(data):
    """By a singular vector of either network alone, the middle would be divided by another number."""

    def normalized():
        spectral_norm = nn.utils.parametrizations.spectral_norm
        layers = [spectral_norm(nn.Linear(36, 6)), nn.ReLU(), nn.Linear(6, 2)]
        return nn.Sequential(nn.Flatten(), *layers).eval()

    a, b = normalized(), normalized()
    state = connecting.at(setting_of(a, data), a.state_dict(), b.state_dict(), 0.5)
    a.load_state_dict(state)
    assert torch.linalg.matrix_norm(a[1].weight, 2).item() == pytest.approx(1, abs=1e-5)


def test_the_verdict_knows_how_many_images_it_rests_on(data):
    """A barrier of 3 % is above the threshold of 2 % on 10,000 images, and unknown on 100."""
    flat = np.array([0.0, 0.5, 1.0])
    line = connecting.Profile(flat, flat * 0, np.array([0.95, 0.92, 0.95]), flat)
    few, many = (torch.zeros(n, 1, 1, 1) for n in (100, 10_000))
    for images, expected in ((few, "too close to say"), (many, "not connected")):
        split = images, torch.arange(len(images)) % 2
        assert (
            connecting.judged(setting_of(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), (split, split)), line)
            == expected
        )


def test_the_line_that_connects_is_the_best_though_another_has_a_lower_loss(data):
    """The verdict is on the error, and the lower loss would answer that nothing connects."""
    t, images = np.array([0.0, 0.5, 1.0]), torch.zeros(10_000, 1, 1, 1)
    split = images, torch.arange(len(images)) % 2
    setting = setting_of(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), (split, split))
    ends, loss = 0.95, np.array([0.1, 0.3, 0.1])
    profiles = {
        connecting.AS_THEY_ARE: connecting.Profile(t, loss * 2, np.array([ends, 0.5, ends]), t),
        connecting.BY_ACTIVATIONS: connecting.Profile(t, loss, np.array([ends, 0.91, ends]), t),
        connecting.BY_WEIGHTS: connecting.Profile(t, loss * 1.5, np.array([ends, 0.945, ends]), t),
    }
    assert connecting._best(setting, profiles) == connecting.BY_WEIGHTS
    del profiles[connecting.BY_WEIGHTS]
    assert connecting._best(setting, profiles) == connecting.BY_ACTIVATIONS


def test_the_same_weights_twice_are_refused(data):
    with pytest.raises(ValueError, match="the same weights"):
        modeconn.connect(drawn(1), drawn(1).state_dict(), drawn(1).state_dict(), *data)


def test_a_network_that_cannot_be_traced_is_measured_as_it_is(data):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network(norm=False)

        def forward(self, images):
            return self.layers(images) if images.sum() > 0 else self.layers(-images)

    a, b = Branching(), Branching()
    found = modeconn.connect(a, a.state_dict(), b.state_dict(), *data, points=3)
    assert list(found.profiles) == [connecting.AS_THEY_ARE]
    assert "torch.fx cannot trace" in found.unpermuted and found.unpermuted in found.answer


def test_a_fitted_curve_keeps_its_ends_and_lowers_the_loss(data):
    a, b = drawn(1, norm=False), drawn(2, norm=False)
    curve = modeconn.Curve(network(norm=False), a.state_dict(), b.state_dict(), *data[0])
    straight = curve.profile(*data[0], points=5)
    bent = curve.fit(30).profile(*data[0], points=5)
    assert bent.loss[[0, -1]] == pytest.approx(straight.loss[[0, -1]])
    assert bent.loss.mean() < straight.loss.mean()
    assert all(torch.equal(curve.at(0.0)[name], tensor) for name, tensor in a.state_dict().items())


def test_merge_asks_for_images_where_there_are_statistics():
    with pytest.raises(ValueError, match="give images"):
        modeconn.merge(drawn(1), drawn(1).state_dict(), drawn(2).state_dict())
    a, b = drawn(1, norm=False).state_dict(), drawn(2, norm=False).state_dict()
    merged = modeconn.merge(network(norm=False), a, b)
    assert all(torch.allclose(merged[name], (a[name] + b[name]) / 2) for name in a)


# --- checkpoints ---


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}, "lr": 0.1},
        lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"model.{name}": tensor for name, tensor in state.items()} | {"loss.weight": torch.ones(2)},
        lambda state: {name: tensor for name, tensor in state.items() if "num_batches" not in name},
    ],
)
def test_wrapped_checkpoints_are_read_as_they_are_meant(wrap, tmp_path):
    state = drawn(1).state_dict()
    torch.save(wrap(state), tmp_path / "a.pt")
    found, _ = checkpoints.fitted(checkpoints.read(tmp_path / "a.pt")[0], network(), "a.pt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items() if "num_batches" not in name)


def test_half_precision_and_extra_tensors_are_said(tmp_path):
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in drawn(1).state_dict().items()
    }
    save_file(state | {"ema.decay": torch.ones(1)}, tmp_path / "a.safetensors")
    found, notes = checkpoints.fitted(checkpoints.read(tmp_path / "a.safetensors")[0], network(), "a")
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}
    assert notes == ["left out, since the network has no such tensor: ema.decay", "float16 read as float32"]


def test_of_several_state_dicts_it_is_said_which_was_read(tmp_path):
    """Of a model and its moving average, also in a wrapper; not of the optimizer's state and random numbers."""
    first, second = drawn(1).state_dict(), drawn(2).state_dict()
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    path = tmp_path / "a.pt"
    for average in (second, {"decay": 0.99, "shadow": second}):
        others = {"optimizer": optimizer, "rng": {"cpu": torch.zeros(3, dtype=torch.uint8)}}
        torch.save({"ema": average, "model": first, "epoch": 3, **others}, path)
        found, notes = checkpoints.read(path)
        assert torch.equal(found["0.weight"], first["0.weight"])
        assert notes == [f"model was read, and not ema: give {path}:ema to read that instead"]
        found, notes = checkpoints.read(f"{path}:ema")
        assert torch.equal(found["0.weight"], second["0.weight"]) and notes == []
    with pytest.raises(ValueError, match=r"a\.pt holds no state dict student: it holds ema, model"):
        checkpoints.read(f"{path}:student")
    torch.save({"ema": second, "optimizer": optimizer}, path)
    assert torch.equal(checkpoints.read(path)[0]["0.weight"], second["0.weight"])
    torch.save({"teacher": first, "student": second}, path)
    with pytest.raises(ValueError, match=r"several state dicts, teacher, student: name one, as .*a\.pt:teacher$"):
        checkpoints.read(path)
    torch.save({"optimizer": optimizer}, path)
    with pytest.raises(ValueError, match="holds no state dict, but optimizer"):
        checkpoints.read(path)


class Executed:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: {"state_dict": drawn(1).state_dict(), "x": Executed()}, "nothing of a checkpoint is executed"),
        (lambda: drawn(1), r"more than tensors, torch\.nn\.modules\.container\.Sequential, and nothing of a"),
        (lambda: {"epoch": 3}, "holds no state dict, but epoch"),
        (lambda: [1, 2], "holds no state dict, but list"),
    ],
)
def test_nothing_of_a_checkpoint_is_executed(content, words, tmp_path):
    torch.save(content(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=words) as raised:
        checkpoints.read(tmp_path / "a.pt")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("4.weight"), "no tensor 4.weight: give the network"),
        (
            lambda s: s.update({"4.weight": torch.ones(5, 96)}),
            r"4.weight has shape \(5, 96\), and that of the network \(2, 96\)",
        ),
        (lambda s: s["0.weight"].fill_(float("nan")), "diverged"),
        (lambda s: s.update({"0.weight": s["0.weight"].to(torch.int8)}), r"0\.weight is torch\.int8"),
        (lambda s: s.update({"0.weight": s["0.weight"].to(torch.complex64)}), r"0\.weight is torch\.complex64"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(change, words):
    state = dict(drawn(1).state_dict())
    change(state)
    with pytest.raises(ValueError, match=words):
        checkpoints.fitted(state, network(), "a.pt")


@pytest.mark.parametrize("content", [b"", b"\x80\x02garbage", b"PK\x03\x04 and no more", b"\x08\0\0\0\0\0\0\0{x"])
def test_a_damaged_checkpoint_is_one_line(content, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pt") as raised:
        checkpoints.read(tmp_path / "a.pt")
    assert "\n" not in str(raised.value)


# --- the command ---


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Two checkpoints and the file of their network, in a folder with a space in its name."""
    folder = tmp_path / "my networks"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("own.py").write_text(SOURCE, encoding="utf-8")
    torch.save({"state_dict": {f"module.{k}": v.half() for k, v in drawn(1).state_dict().items()}}, "a.pt")
    save_file(drawn(2).state_dict(), "b.safetensors")
    return ["connect", "a.pt", "b.safetensors", "--network", "own.py:build", "--data", "own.py:data", "--points", "3"]


def test_modules_are_named_as_in_the_users_file():
    """What is compared wraps the user's network; a file may have the wrapper's name."""
    told = "network.a (cumsum (node cumsum) is not understood: network.py, line 3)"
    assert command._of_the_file(told) == told.removeprefix("network.")


def test_the_command_answers_on_a_page_and_in_a_line(given, capsys):
    command.main([*given, "--output", "out", "--curve", "1"])
    *told, answer = capsys.readouterr().out.splitlines()
    assert "1 groups of neurons may be permuted, 6 of 6 hidden channels, with 99.2% of the parameters" in told
    numbers = json.loads(Path("out/numbers.json").read_text(encoding="utf-8"))
    assert answer == f"{numbers['answer']}; out/report.html"
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert (
        "by a Bézier curve" in answer
        and page.count("<svg") == 3
        and "float16 read as float32" in page
        and "1 groups of neurons, 6 of 6 hidden channels, with 99.2% of the parameters" in page
        and "http" not in page.replace("http://www.w3.org", "")
    )
    # A line and its entry in the legend, in each figure, are told apart by dashes too.
    for svg in page.split("<svg")[1:]:
        assert [svg.count(f'stroke-dasharray="{dash}"') for dash in DASHES[:2]] == [2, 2]
    aligned, merged = network(), network()
    aligned.load_state_dict(torch.load("out/aligned.pt", weights_only=True))
    merged.load_state_dict(torch.load("out/merged.pt", weights_only=True))
    x = torch.rand(8, 1, 6, 6)
    torch.testing.assert_close(aligned.eval()(x), drawn(2)(x), rtol=1e-4, atol=1e-4)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "aligned.pt",
        "merged.pt",
        "numbers.json",
        "report.html",
    ]


@pytest.mark.parametrize(
    ("symmetry", "expected"), [("scale", "scales are divided out of"), ("orthogonal", "0 of 1 groups may be rotated")]
)
def test_the_command_uses_more_symmetry_where_it_is_asked_to(symmetry, expected, given, capsys):
    """And says on the terminal and on the page which, and which of a file's state dicts it read."""
    torch.save({"model": drawn(1).state_dict(), "ema": drawn(3).state_dict()}, "a.pt")
    command.main([*given, "--output", "out", "--points", "3", "--symmetry", symmetry])
    said, *_ = json.loads(Path("out/numbers.json").read_text(encoding="utf-8"))["symmetry"]
    page, terminal = Path("out/report.html").read_text(encoding="utf-8"), capsys.readouterr().out
    assert expected in said and said in page and said in terminal
    note = "a.pt: model was read, and not ema: give a.pt:ema to read that instead"
    assert note in page and note in terminal


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("own.py:build", "own.py:missing", "own.py defines no missing: it defines build, data, many, nn, same"),
        ("own.py:build", "other.py:build", "other.py is no file"),
        ("own.py:build", "resnet19", "there is no model 'resnet19': did you mean"),
        ("own.py:data", "own.py:build", "build asks for classes, and it is called without arguments"),
        ("own.py:data", "own.py:wide", r"own.py:build: it does not run on images of shape \(3, 6, 6\)"),
        ("own.py:data", "own.py:many", r"4.weight has shape \(2, 96\), and that of the network \(4, 96\)"),
        ("own.py:data", "nowhere", "folder nowhere/train does not exist"),
        ("b.safetensors", "a.pt", "both networks hold the same weights"),
        ("b.safetensors", "c.pt", "c.pt is no file"),
        ("own.py:build", "own.py", "own.py names no function in a file"),
        ("own.py:data", "own.py", "own.py names no function in a file"),
        ("own.py:data", "own.py:same", "own.py:same: all labels are the same"),
        ("own.py:data", "own.py:words", "training images and labels are no arrays of numbers"),
        ("3", "3 --std 0", r"--std 0\.0: give finite numbers, and deviations above 0"),
        ("3", "3 --mean nan", "--mean nan: give finite numbers"),
        ("3", "3 --output own.py", r"--output own\.py: own\.py is no folder that can be written to"),
        ("3", "3 --output own.py/in", r"--output own\.py/in: own\.py is no folder"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(given, old, new, words):
    with pytest.raises(SystemExit, match=words) as raised:
        command.main([part for word in given for part in (new.split() if word == old else [word])])
    assert "\n" not in str(raised.value) and not Path("connected").exists()


def test_what_the_package_alone_does_not_bring_is_said(given, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(SystemExit, match=r"torchvision is not installed: pip install 'modeconn\[images\]' brings it"):
        command.main(["resnet18" if word == "own.py:build" else word for word in given])


# --- the examples ---


def test_the_example_of_an_own_network_is_compared(tmp_path, monkeypatch, capsys):
    """As its first lines say, but for the epochs; its residual blocks share groups."""
    monkeypatch.chdir(ROOT)
    name = "config/examples/own_network.py"
    train = own_code.load(f"{name}:train")
    for seed in (1, 2):
        torch.save(train(seed, epochs=1).state_dict(), tmp_path / f"{seed}.pt")
    given = [str(tmp_path / "1.pt"), str(tmp_path / "2.pt"), "--network", f"{name}:build", "--data", f"{name}:data"]
    command.main(["connect", *given, "--output", str(tmp_path / "out"), "--points", "3"])
    assert "barrier" in capsys.readouterr().out.splitlines()[-1]
    numbers = json.loads((tmp_path / "out/numbers.json").read_text(encoding="utf-8"))
    assert len(numbers["lines"]) == 3 and numbers["pinned"] == []
    assert {row["group"] for row in numbers["signature"]} == {
        "0.0",
        "1.first",
        "2.first",
        "logits",
    }


def test_the_example_of_fine_tuned_networks_is_compared(tmp_path, monkeypatch, capsys):
    """As its first lines say, with a tiny network in resnet18's place, and one step of training.

    The command reads the folder as the example itself does.
    """
    monkeypatch.chdir(ROOT)

    def tiny(name, weights=None, num_classes=5):
        assert name == "resnet18"
        return torchvision.models.ShuffleNetV2([1, 1, 1], [8, 8, 16, 16, 32], num_classes)

    monkeypatch.setattr(torchvision.models, "get_model", tiny)
    name = "config/examples/fine_tuned.py"
    main, read = (own_code.load(f"{name}:{function}") for function in ("main", "read_images"))
    main(tmp_path, epochs=1, steps=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt", "c.pt", "images"]
    images, labels = read(tmp_path / "images/train")
    source = {"source": "image_folder", "path": str(tmp_path / "images"), "alignment_fraction": 1, "seed": 0}
    found, metadata = datasets.prepare(source)
    assert metadata["classes"] == 5 and torch.equal(found["train_labels"], labels)
    assert torch.equal(datasets.to_float(found["train_images"]).expand_as(images), images)
    given = [f"{tmp_path}/a.pt", f"{tmp_path}/b.pt", "--network", "resnet18", "--data", f"{tmp_path}/images"]
    few = ["--images", "32", "--test-images", "64", "--points", "3"]
    command.main(["connect", *given, *few, "--output", str(tmp_path / "out")])
    assert "barrier" in capsys.readouterr().out.splitlines()[-1]


def test_heads_and_units_of_the_example_of_a_transformer_are_permuted():
    network = own_code.load("config/examples/vit.py:build")(1, 10, (1, 8, 8))
    spec, proved = proof.prove(
        network, modeconn.discover(network, torch.rand(2, 1, 8, 8)), torch.rand(2, 1, 8, 8), torch.Generator()
    )
    assert Functional(network).width == 32  # not that of the class token, the first parameter
    assert spec.pinned == {} and proved.invariance < 1e-12
    assert len(spec.groups) == 9 and sorted(spec.groups.values()) == [4, 4, 32, 32, 32, 32, 32, 64, 64]


def test_the_residual_stream_of_the_example_with_rms_normalization_is_rotated():
    network = own_code.load("config/examples/rms_vit.py:build", beside=True)(10)
    spec = modeconn.discover(network, torch.rand(2, 1, 8, 8), symmetry="orthogonal")
    assert list(spec.rotations) == ["patches"] and not spec.rotations["patches"].centred
    x, y, x_test, y_test = own_code.load("config/examples/rms_vit.py:data", beside=True)()
    assert (len(x), len(y), len(x_test), len(y_test)) == (1400, 1400, 397, 397) and network(x[:2]).shape == (2, 10)


def test_units_of_the_example_that_normalizes_after_its_activation_are_permuted():
    network, images = own_code.load("config/examples/rebasin.py:narrow")(784, 10), torch.rand(2, 1, 28, 28)
    spec, proved = proof.prove(network, modeconn.discover(network, images), images, torch.Generator())
    assert spec.pinned == {} and proved.invariance < 1e-12
    assert list(spec.groups.values()) == [200] * 4
    # What they are trained by as logits lies between 0 and 1.
    answers = network(images)
    assert answers.min() > 0 and answers.max() < 1


# --- the package on its own ---

ALONE = """
import sys
sys.path.insert(0, "scripts")
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"snakemake", "pandas", "matplotlib", "yaml", "jsonschema", "tqdm", "sklearn", "PIL"}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import modeconn
assert "torch" not in sys.modules
assert all(callable(getattr(modeconn, name)) for name in modeconn.__all__)
from modeconn import checkpoints, command, page
from modeconn.networks import own
"""


def test_the_package_needs_torch_safetensors_scipy_and_numpy_alone():
    subprocess.run([sys.executable, "-c", ALONE], check=True, cwd=ROOT)
