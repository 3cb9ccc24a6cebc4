"""Small evaluation, history and signature tables with the shapes of real ones, for the tests of tables and figures."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

SCRIPTS = Path(__file__).parents[2] / "scripts"
STUDY = {"dataset": "digits", "network": "tinyten", "recipe": "standard"}
# How far the accuracy sags in the middle of a path (fractions).
SAG = {
    ("none", "linear"): 0.55,
    ("random", "linear"): 0.56,
    ("weight", "linear"): 0.22,
    ("activation", "linear"): 0.12,
    ("none", "bezier"): 0.10,
    ("activation", "bezier"): 0.01,
    ("pam", "bezier"): 0.05,
    ("pam_aligned", "bezier"): 0.012,
}
PAIRS = ("1-2", "3-4", "5-6")


def evaluation(pair, alignment, curve, sag, recipe="standard", attack="none", split="test", points=17):
    """The points of one path whose accuracy falls from about 0.95 by `sag`, and whose loss rises with it."""
    generator = np.random.default_rng(sum(map(ord, pair + alignment + curve + attack + split)))
    ends = 0.95 - (0.35 if attack != "none" else 0) + (0.03 if split == "train" else 0) + 0.01 * PAIRS.index(pair)
    t = np.linspace(0, 1, points)
    shape = np.sin(np.pi * t) ** 2 * (1 + 0.1 * generator.standard_normal()) + 0.2 * np.sin(2 * np.pi * t) * t
    accuracy = np.clip(ends - sag * shape - 0.005 * t, 0, 1)
    names = STUDY | {"recipe": recipe, "pair": pair, "alignment": alignment, "curve": curve}
    loss = 2.5 * (1 - accuracy) ** 1.5 + 0.1
    numbers = {"t": t, "length": 30 * t, "split": split, "attack": attack, "loss": loss, "accuracy": accuracy}
    return pd.DataFrame(names | numbers)


def evaluations():
    """A whole study: clean paths of standard and robust networks on both splits, and the latter under attack."""
    conditions = [("standard", "none"), ("robust", "none"), ("robust", "pgd")]
    return pd.concat(
        [
            evaluation(pair, alignment, curve, sag, recipe, attack, split)
            for (alignment, curve), sag in SAG.items()
            for recipe, attack in conditions
            for pair in PAIRS
            for split in ("train", "test")
        ],
        ignore_index=True,
    )


def histories():
    epochs = np.arange(1, 31)
    networks = [("network", seed, "", "") for seed in "123456"]
    curves = [("curve", pair, alignment, "bezier") for alignment in ("none", "activation") for pair in PAIRS]
    frames = []
    for number, (kind, seeds, alignment, curve) in enumerate(networks + curves):
        floor = {"": 0.0, "none": 0.2, "activation": 0.05}[alignment]
        loss = floor + (2.2 + 0.05 * number) * np.exp(-epochs / 6) + 0.02 * np.cos(epochs * (number + 1))
        names = {"kind": kind, **STUDY, "seeds": seeds, "alignment": alignment, "curve": curve}
        numbers = {"epoch": epochs, "learning_rate": 0.1, "loss": np.abs(loss), "accuracy": np.exp(-0.8 * np.abs(loss))}
        frames.append(pd.DataFrame(names | numbers))
    return pd.concat(frames, ignore_index=True)


def signatures():
    rows = []
    for (alignment, gain), pair, split in itertools.product(
        {"activation": 1.0, "weight": 0.7, "random": 0.0}.items(), PAIRS, ("alignment", "test")
    ):
        names = STUDY | {"pair": pair, "alignment": alignment, "split": split, "site": "post", "images": "clean"}
        for layer in range(8):
            before = 0.02 * np.cos(layer + 2 * PAIRS.index(pair))
            after = before + gain * (0.65 - 0.06 * layer + 0.02 * PAIRS.index(pair)) - (0.01 if split == "test" else 0)
            numbers = {"group": f"network.layers.{layer}.conv", "position": layer, "before": before, "after": after}
            distances = {"distance_before": 9 - before, "distance_after": 9 - after}
            rows.append(names | numbers | distances)
        logits = {"before": 0.7, "after": 0.7, "distance_before": 2.0, "distance_after": 2.0}
        rows.append(names | {"group": "logits", "position": 8} | logits)
    return pd.DataFrame(rows)


def write(folder):
    """The study's tables by the real program, in `folder`: name -> path."""
    inputs = {"evaluations": evaluations(), "histories": histories(), "signatures": signatures()}
    for name, rows in inputs.items():
        rows.to_csv(folder / f"{name}.csv", index=False)
    outputs = {name: folder / f"{name}-table.csv" for name in ("curves", "pairs", "summary", "training", "signatures")}
    result = run(
        "make_tables",
        *[part for name in inputs for part in (f"--{name}", folder / f"{name}.csv")],
        *[part for name, path in outputs.items() for part in (f"--{name}-table", path)],
    )
    assert result.returncode == 0, result.stderr
    return outputs


def run(program, *arguments):
    """Run scripts/<program>.py as a user would."""
    command = [sys.executable, SCRIPTS / f"{program}.py", *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
