"""scripts/check_network.py: its findings on a network before training, and when it has to run again."""

import json
import os
import runpy
import sys
from pathlib import Path

import pytest

from modeconn import own_code
from modeconn.permutation import proof, verdict

PROGRAM = Path(__file__).parents[2] / "scripts" / "check_network.py"

RECALIBRATION = {"images": 0, "batch": 512, "augmented": False}


@pytest.fixture
def check(tiny_pair, monkeypatch, tmp_path):
    """Run the program with these statistics and return what it has written."""

    def check(statistics=("sum",), recalibration=RECALIBRATION, population=1, left_out=(), remove=(), **network):
        files, values = tiny_pair
        network = {key: value for key, value in (values["network"] | network).items() if key not in remove}
        values = values | {"network": network, "recipe": {"population": population}}
        words = [f"--data={files['data']}", f"--job={json.dumps(values)}", f"--statistics={json.dumps(statistics)}"]
        words += [f"--recalibration={json.dumps(recalibration)}", f"--left-out={json.dumps(left_out)}"]
        output = tmp_path / "checks" / "found.json"
        monkeypatch.setattr(sys, "argv", [str(PROGRAM), *words, f"--output={output}"])
        runpy.run_path(str(PROGRAM), run_name="__main__")
        return json.loads(output.read_text())

    return check


def test_it_says_what_is_free_and_proved(check, capsys):
    found = check()
    assert list(found["groups"]) == [f"network.layers.{layer}.conv" for layer in range(8)]
    assert found["pinned"] == {} and 0.99 < found["free"] < 1
    assert found["invariance"] < verdict.LARGEST_CHANGE
    assert found["reactions"].keys() == found["groups"].keys()
    assert min(found["reactions"].values()) > proof.LEAST_REACTION
    assert found["channels"] == [80, 80]  # 2 * 4 + 3 * 8 + 3 * 16
    assert capsys.readouterr().out.startswith("8 groups of neurons may be permuted, 80 of 80 hidden channels, with 99.")


def test_it_proves_once_until_source_or_alignments_change(check, monkeypatch):
    proofs = []
    prove = proof.prove
    monkeypatch.setattr(proof, "prove", lambda *arguments: proofs.append(1) or prove(*arguments))
    first = check()
    assert check() == first and len(proofs) == 1
    check([{"network.layers.0.conv": "first"}])
    assert len(proofs) == 2
    monkeypatch.setattr("modeconn.fingerprint.fingerprint", lambda *arguments: "edited")
    assert check()["code"] == "edited" and len(proofs) == 3


def test_an_alignment_that_the_network_cannot_have_is_one_line_and_leaves_nothing(check, tmp_path):
    with pytest.raises(SystemExit) as caught:
        check([{"network.stem.conv": "first"}])
    assert caught.value.code.startswith("check_network.py: statistic 'first' of group 'network.stem.conv': ")
    assert os.listdir(tmp_path / "checks") == ["found.lock"]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["*biases*"], "pattern '*biases*' leaves out none of the 34 parameters: correct it"),
        (["*bias", "*weight"], "patterns *bias, *weight leave no parameter to match by: take some away"),
    ],
)
def test_parameters_that_the_network_does_not_have_are_named_before_it_is_trained(check, patterns, words):
    with pytest.raises(SystemExit) as caught:
        check(left_out=[["*bias"], patterns])
    assert caught.value.code == f"check_network.py: {words}"


def test_a_network_without_groups_is_an_error_only_where_it_is_aligned(check):
    linear = {"family": "mlp", "hidden": [], "width": 1, "norm": "none"}
    assert (
        check([], **linear)["report"]
        == "WARNING: only 0 groups of neurons may be permuted, 0 of 0 hidden channels, with 0.0% of the parameters"
    )
    with pytest.raises(SystemExit, match=r"^check_network\.py: Normalized has no neurons that may be permuted: it has"):
        check(["sum"], **linear)


def test_what_measures_cannot_be_estimated_from_is_refused_before_training(check):
    """Of 44 training images: a layer of an MLP has one value a unit of each."""
    with pytest.raises(SystemExit) as caught:
        check(recalibration=RECALIBRATION | {"images": 10**7})
    assert caught.value.code.startswith(
        "check_network.py: config, evaluation.recalibration.images: 10000000, and there are 44 training images"
    )
    mlp = {"family": "mlp", "hidden": [8], "width": 1}
    with pytest.raises(SystemExit) as caught:
        check([], RECALIBRATION | {"batch": 43}, **mlp)
    assert caught.value.code.startswith(
        "check_network.py: config, evaluation.recalibration.batch: 43 of 44: a batch of one image, the last one perhaps"
    )
    check([], RECALIBRATION | {"batch": 43}, **mlp, norm="layer")
    check([], RECALIBRATION | {"batch": 42}, **mlp)


def test_a_buffer_that_training_changes_is_refused_unless_it_is_a_statistic(check, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from torch import nn\n"
        "def build(inputs, classes):\n"
        "    dense = nn.utils.parametrizations.spectral_norm(nn.Linear(inputs, classes))\n"
        "    return nn.Sequential(nn.Flatten(), dense)\n"
    )
    given = {"family": "file", "path": f"{own}:build", "content": own_code.digest(f"{own}:build")}
    with pytest.raises(
        SystemExit, match=r"buffer network\.1\.parametrizations\.weight\.0\._u: training changes it, and"
    ):
        check([], remove=("width", "norm"), **given)


def test_networks_with_dropout_are_not_trained_together(check):
    """Found once for a network, and told again to each recipe that trains several of them in one job."""
    dropout = {"family": "googlenet", "width": 0.125}
    assert check([], **dropout)["draws"] is True
    with pytest.raises(SystemExit, match=r"^check_network\.py: .*dropout.*: set the recipe's population to 1$"):
        check([], population=2, **dropout)


def test_networks_without_dropout_are_trained_together(check):
    assert check(population=2)["draws"] is False
