"""scripts/align.py: its inputs, its outputs, and its messages."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from test_programs import run_program

import preloaded
from modeconn import artifacts, classification, datasets, dispatch, permutation, tables
from modeconn.fingerprint import fingerprint
from modeconn.functional import Functional
from modeconn.matching import activation, adversarial

SCRIPTS = Path(__file__).parents[2] / "scripts"
ACTIVATION = {"method": "activation", "statistic": "sum"}
PGD = {"epsilon": 0.1, "step": 0.05, "steps": 3, "random_start": True}


@pytest.fixture
def align(tiny_pair, monkeypatch, tmp_path):
    def align(alignment):
        files, values = tiny_pair
        made = {"output": tmp_path / "permutation.safetensors"}
        run_program(monkeypatch, "align", values | {"alignment": alignment}, **files, **made)
        found, _ = artifacts.load(made["output"])
        assert all(torch.equal(orders[0], torch.arange(orders.shape[1])) for orders in found.values())
        measured = {"permutation": made["output"], "output": tmp_path / "signature.csv"}
        run_program(monkeypatch, "evaluate_signature", values | {"alignment": alignment}, **files, **measured)
        return permutation.member(found, 1), tables.read([measured["output"]], tables.SIGNATURE)

    return align


@pytest.mark.parametrize(
    "added", [{}, {"kernel": "inner"}, {"kernel": "inner", "site": "pre"}, {"site": "pre", "subsample": 4}]
)
def test_kernel_and_site_decide_the_permutation_and_the_signature_says_so(align, tiny_dataset, tiny_network, added):
    found, rows = align(ACTIVATION | added)
    kernel, site = added.get("kernel", "correlation"), added.get("site", "post")
    network = tiny_network(0)
    a, b = (tiny_network(seed).state_dict() for seed in (1, 2))
    spec = permutation.discover(network, tiny_dataset.example())
    for split, at in dict.fromkeys([("alignment", site), ("test", site), ("test", "post")]):
        images = datasets.to_float(tiny_dataset.split(split)[0])
        correlations = activation.correlate(network, spec, a, b, [images], site=at, subsample=added.get("subsample", 0))
        if split == "alignment":
            expected = activation.match_correlations(spec, correlations, kernel=kernel)
            assert all(torch.equal(found[group], expected[group]) for group in spec.groups)
        here = rows[(rows["split"] == split) & (rows["site"] == at)]
        assert list(here["group"]) == [*spec.groups, "logits"]
        assert list(here["position"]) == list(range(len(here)))
        assert set(here["images"]) == {"clean"}
        for columns, expected in (
            (["before", "after"], activation.signature(correlations, found)),
            (["distance_before", "distance_after"], activation.distances(correlations, found)),
        ):
            for row, (_, *values) in zip(here[columns].to_numpy(), expected, strict=True):
                assert list(row) == pytest.approx(values, abs=1e-5)
    assert len(rows) == (3 if site == "pre" else 2) * 9


def test_a_log_says_by_which_symmetry_weights_were_matched(align, capsys):
    """Channels that batches normalize keep their scales, so that none are divided out: the permutation stays."""
    plain, _ = align({"method": "weight", "seed": 0})
    assert "symmetry" not in capsys.readouterr().out
    found, _ = align({"method": "weight", "seed": 0, "symmetry": "scale"})
    assert all(torch.equal(found[group], order) for group, order in plain.items())
    log = capsys.readouterr().out
    assert "symmetry: scales are divided out of 0 of " in log and "BatchNorm2d" in log


def test_under_attack_each_network_is_matched_on_its_own_adversarial_examples(align, tiny_dataset, tiny_network):
    found, rows = align(ACTIVATION | {"attack": PGD})
    network = tiny_network(0)
    a, b = (tiny_network(seed).state_dict() for seed in (1, 2))
    functional = Functional(network)
    images, labels = tiny_dataset.split("alignment")
    (batch,) = adversarial.batches(functional, a, b, images, labels, PGD, 64)
    clean = datasets.to_float(images)
    for own in batch:
        assert 0.05 < (own - clean).abs().max() <= PGD["epsilon"] + 1e-6
    # An attack raises the loss of the network that it was made for, more than of the other one.
    losses = torch.tensor(
        [
            [
                classification.measure(functional(*functional.stack([tensors]), seen[None]), labels[None])[0].item()
                for seen in (clean, *batch)
            ]
            for tensors in (a, b)
        ]
    )
    assert losses[0, 1] > max(losses[0, 0], losses[0, 2]) and losses[1, 2] > max(losses[1, 0], losses[1, 1])
    spec = permutation.discover(network, tiny_dataset.example())
    correlations = activation.correlate(network, spec, a, b, [batch])
    expected = activation.match_correlations(spec, correlations)
    assert all(torch.equal(found[group], expected[group]) for group in spec.groups)
    assert set(zip(rows["split"], rows["images"])) == {("alignment", "attacked"), ("test", "clean")}
    attacked = rows[rows["images"] == "attacked"]
    assert list(attacked["after"]) == pytest.approx([r[2] for r in activation.signature(correlations, found)])


def test_a_group_that_the_network_does_not_have_is_one_line_with_those_it_has(align, tmp_path):
    with pytest.raises(SystemExit) as caught:
        align(ACTIVATION | {"statistic": {"network.stem.conv": "first"}})
    assert caught.value.code.startswith("align.py: statistic 'first' of group 'network.stem.conv': ")
    assert caught.value.code.endswith("the groups " + ", ".join(f"network.layers.{layer}.conv" for layer in range(8)))
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_is_unknown_is_refused(align, tmp_path):
    with pytest.raises(SystemExit) as caught:
        align({"method": "wieght", "seed": 1})
    expected = "align.py: alignment method 'wieght' is unknown to align, which knows activation, weight, random"
    assert caught.value.code == expected
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_of_an_alignment_under_attack_names_all_that_it_loads(tiny_pair, tmp_path):
    files, values = tiny_pair
    values = values | {"alignment": ACTIVATION | {"attack": PGD}}
    code = fingerprint("align", dispatch.modules(values))
    assert "adversarial" in code and "attacks" in code
    assert "attacks" not in fingerprint("align", dispatch.modules(values | {"alignment": ACTIVATION}))
    words = [
        f"--data={files['data']}",
        f"--networks={files['networks']}",
        f"--code={code}",
        f"--job={json.dumps(values)}",
    ]
    words.append(f"--output={tmp_path / 'permutation'}")
    process = subprocess.run([preloaded.python(), SCRIPTS / "align.py", *words], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "permutation").exists()
