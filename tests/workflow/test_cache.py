"""A cache between checkouts: one links to another's results, and a wrong result is never taken from it."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest

from modeconn import artifacts, files
from workflow.checkout import TINY, Checkout

SHARED = copy.deepcopy(TINY)
SHARED["studies"] = {}
SHARED["studies"]["alignment"] = [
    {**TINY["studies"]["alignment"][0], "alignments": ["activation"], "curves": ["bezier"]},
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The environment with a folder that the first checkout has filled."""
    folder = tmp_path_factory.mktemp("cache")
    environment = {"SNAKEMAKE_OUTPUT_CACHE": str(folder)}
    first = Checkout(tmp_path_factory.mktemp("first") / "project", SHARED)
    done = first.snakemake("--cores", "2", "--cache", "--", "curves", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return environment


def run(checkout, environment, *targets):
    """Run with the cache and return which programs really ran: those that left a cost."""
    done = checkout.snakemake("--cores", "2", "--cache", "--", *targets, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return {json.loads(path.read_text())["program"] for path in (checkout.path / "results").rglob("*.cost.json")}


def test_another_checkout_and_config_train_nothing_they_share(cache, tmp_path):
    other = copy.deepcopy(SHARED)
    other["name"] = "other"
    other["evaluation"]["points"] = 2
    checkout = Checkout(tmp_path / "project", other)
    assert run(checkout, cache, "curves") == {"evaluate_curve"}
    networks = sorted((checkout.path / "results/networks").rglob("*.safetensors"))
    assert len(networks) == 2 and all(path.is_symlink() for path in networks)
    # Two seeds never share an entry.
    assert networks[0].resolve() != networks[1].resolve()
    assert networks[0].read_bytes() != networks[1].read_bytes()


def test_files_of_ones_own_are_shared_by_their_content(cache, tmp_path):
    """Another checkout may have other images under the same path, or the same ones of another date."""
    config = copy.deepcopy(SHARED)
    config["datasets"]["digits"] = {"source": "npz", "path": "own.npz"}
    computed = []
    for attempt, number in enumerate((40, 60, 40)):
        checkout = Checkout(tmp_path / f"project{attempt}", config)
        images, labels = np.random.default_rng(0).integers(0, 256, (number, 16, 16), np.uint8), np.arange(number) % 10
        np.savez(checkout.path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
        os.utime(checkout.path / "own.npz", (attempt, attempt))
        computed.append(run(checkout, cache, "networks"))
        (data,) = (checkout.path / "results/data").glob("*.safetensors")
        assert len(artifacts.load(data)[0]["train_labels"]) == number
    assert computed == [{"prepare_data", "train"}, {"prepare_data", "train"}, set()]


def test_nobody_may_write_there_whom_the_umask_keeps_out(cache):
    umask = files.umask()
    assert umask & 0o022
    modes = {path.stat().st_mode & 0o777 for path in Path(cache["SNAKEMAKE_OUTPUT_CACHE"]).iterdir()}
    assert modes == {0o666 & ~umask}


def test_edited_source_is_another_entry(cache, tmp_path):
    checkout = Checkout(tmp_path / "project", SHARED)
    with checkout.edited("scripts/modeconn/optimizers/sgd.py", "dampening=0,", "dampening=0.0,"):
        computed = run(checkout, cache, "networks")
    assert "train" in computed and "prepare_data" not in computed


def test_a_truncated_entry_is_named_with_both_paths(cache, tmp_path):
    config = copy.deepcopy(SHARED)
    config["evaluation"]["points"] = 2
    checkout = Checkout(tmp_path / "project", config)
    run(checkout, cache, "networks")
    link = next((checkout.path / "results/networks").rglob("seeds1.safetensors"))
    entry = link.resolve()
    whole = entry.read_bytes()
    entry.chmod(0o644)
    entry.write_bytes(whole[:-100])
    try:
        done = checkout.snakemake("--cores", "1", "--cache", "--", "curves", env=cache)
    finally:
        entry.write_bytes(whole)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"{link.relative_to(checkout.path)} is damaged" in output and str(entry) in output
    assert "Traceback" not in output
