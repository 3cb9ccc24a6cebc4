"""The benchmarks run from the command line on small data."""

import subprocess
from pathlib import Path

import pandas as pd

import preloaded

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def run(name, *arguments):
    command = [preloaded.python(), BENCHMARKS / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kernels_are_measured_and_compared_with_an_earlier_run(tmp_path):
    table = tmp_path / "then.csv"
    small = ("--images", 64, "--rounds", 1, "--kernels", "augment")
    output = run("run", *small, "round", "match_weights", "--output", table)
    assert "augmentation of an epoch" in output and "PAM rounding" in output
    measured = pd.read_csv(table)
    assert list(measured["kernel"]) == ["augment", "round", "match_weights"]
    assert (measured["seconds"] > 0).all()
    # Rounding is not written in plain PyTorch too.
    assert list(measured["ratio"].notna()) == [True, False, True]
    # The table that is kept can be compared with.
    assert list(measured) == list(pd.read_csv(BENCHMARKS / "measured/tinyten.csv"))
    # What was measured of more images, or elsewhere, or is not measured now, is not compared.
    pd.concat([measured, measured.assign(images=2000), measured.assign(device="cuda")]).to_csv(table, index=False)
    output = run("run", *small, "--output", tmp_path / "now.csv", "--against", table)
    assert output.partition("then / now")[2].count("\n") == 2


def test_the_profile_of_a_kernel_is_printed():
    assert "Self CPU time total" in run("run", "--images", 64, "--kernels", "augment", "--profile")


def test_a_kernel_that_does_not_exist_is_one_line():
    command = [preloaded.python(), BENCHMARKS / "run.py", "--kernels", "agument"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("run.py: no kernel agument; there are train, ") and done.stderr.count("\n") == 1


def test_weight_matching_is_compared_with_a_plain_descent():
    output = run("weights", "--families", "tinyten", "--rounds", 1, "--restarts", 2)
    rows = [line.split() for line in output.splitlines()[1:]]
    assert len(rows) == 4
    for *_, ours, plain in rows:
        assert float(ours) >= float(plain)
