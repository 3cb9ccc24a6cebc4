"""Small tables of measurements with the shapes of real ones, for the tests of tables and figures."""

import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

import preloaded
from modeconn.studies import STUDIES

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
LAYERS = [f"network.layers.{layer}.conv" for layer in range(8)]


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
        for layer, group in enumerate(LAYERS):
            before = 0.02 * np.cos(layer + 2 * PAIRS.index(pair))
            after = before + gain * (0.65 - 0.06 * layer + 0.02 * PAIRS.index(pair)) - (0.01 if split == "test" else 0)
            numbers = {"group": group, "position": layer, "before": before, "after": after}
            distances = {"distance_before": 9 - before, "distance_after": 9 - after}
            rows.append(names | numbers | distances)
        logits = {"before": 0.7, "after": 0.7, "distance_before": 2.0, "distance_after": 2.0}
        rows.append(names | {"group": "logits", "position": 8} | logits)
    return pd.DataFrame(rows)


PLANES = {("none", "bezier"): 0.4, ("activation", "bezier"): 0.1, ("activation", "none"): 0.3}


def planes():
    """Bowls about the first and the second network, with a ridge between them whose height the alignment decides."""
    frames = []
    for (alignment, curve), ridge in PLANES.items():
        for number, pair in enumerate(PAIRS):
            x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.05, 1.05, 5), np.linspace(-0.1, 1.5, 4)))
            loss = 0.01 + 0.02 * number + ridge * (1 - (2 * x - 1) ** 2) + 2 * (y - 2 * x * (1 - x)) ** 2
            names = STUDY | {"pair": pair, "alignment": alignment, "curve": curve, "split": "test", "attack": "none"}
            numbers = {"x": x, "y": y, "loss": np.abs(loss), "accuracy": np.exp(-np.abs(loss))}
            frames.append(pd.DataFrame(names | numbers))
    return pd.concat(frames, ignore_index=True)


def marks():
    rows = []
    for (alignment, curve), pair in itertools.product(PLANES, PAIRS):
        names = STUDY | {"pair": pair, "alignment": alignment, "curve": curve}
        third = ("aligned", 1.0) if curve == "none" else ("middle", 0.5)
        places = [("first", 0.0, 0, 0), ("second", 1.0, 1, 0), (*third, 0.5, 1)]
        if curve != "none":
            places += [("curve", t, t, 4 * t * (1 - t)) for t in np.linspace(0, 1, 9)]
        for mark, t, x, y in places:
            rows.append(names | {"mark": mark, "t": t, "x": x, "y": y, "x_length": 30, "y_length": 10})
    return pd.DataFrame(rows)


def activations():
    rows = []
    ends, sites = (0, 1), ("post", "pre")
    for alignment, pair, t, end, site in itertools.product(("none", "activation"), PAIRS, (0, 0.5, 1), ends, sites):
        away = abs(t - end) * (0.9 if alignment == "none" else 0.4) + 0.01 * PAIRS.index(pair)
        for position, group in enumerate([*LAYERS, "logits"]):
            names = STUDY | {"pair": pair, "alignment": alignment, "curve": "bezier", "split": "alignment"}
            numbers = {"t": t, "length": 30 * t, "end": end, "group": group, "position": position, "site": site}
            alike = {"before": 1 - away, "after": 1 - away / 2, "distance_before": 9 * away, "distance_after": 5 * away}
            rows.append(names | numbers | alike)
    return pd.DataFrame(rows)


def scores():
    candidates = {"start": 2.0, "nearest": 1.0, "sample 1": 1.2, "sample 2": 0.9}
    return pd.DataFrame(
        STUDY | {"pair": pair, "alignment": alignment, "candidate": candidate, "loss": loss / better}
        for pair in PAIRS
        for alignment, better in {"pam": 1, "pam_aligned": 10}.items()
        for candidate, loss in candidates.items()
    )


def write_permutations(folder):
    """Permutations of 8 neurons a layer, pam's with two of them exchanged in the first layer; returns their files."""
    paths = []
    for pair, alignment in itertools.product(PAIRS, ("activation", "pam")):
        orders = {group: np.roll(np.arange(8), 1 + layer) for layer, group in enumerate(LAYERS)}
        if alignment == "pam":
            orders[LAYERS[0]][:2] = orders[LAYERS[0]][1::-1]
        names = STUDY | {"pair": pair, "alignment": alignment}
        paths.append(folder / f"{alignment}-{pair}.safetensors")
        both = {group: np.stack([np.arange(8), order]) for group, order in orders.items()}
        save_file(both, paths[-1], metadata={"modeconn": json.dumps({"job": {"names": names}})})
    return paths


def selections():
    """The best network on each curve, its ends and ensembles, and the held-out images it was selected on."""
    rows = []
    gains = {"first": 0.0, "second": -0.01, "best": 0.015, "ends": 0.02, "ensemble": 0.03}
    for (alignment, curve), pair, recipe in itertools.product(SAG, PAIRS, ("standard", "robust")):
        names = STUDY | {"recipe": recipe, "pair": pair, "alignment": alignment, "curve": curve}
        for level, attack in enumerate(("none", "pgd", "strong")):
            ends = 0.95 - (0.3 * (level > 0) + 0.05 * level) + 0.01 * PAIRS.index(pair)
            for mark, gain in gains.items():
                worse = SAG[alignment, curve] / 4 if mark in ("best", "ensemble") else 0
                numbers = {"loss": 1 - ends - gain + worse, "accuracy": ends + gain - worse}
                rows.append(names | {"mark": mark, "members": "0.5", "split": "test", "attack": attack} | numbers)
        held = {"mark": "curve", "members": "0.5", "split": "hold_out", "attack": "none", "loss": 0.1, "accuracy": 0.9}
        rows.append(names | held)
    return pd.DataFrame(rows)


def lines():
    """Points between all pairs of three networks of two widths, as they are, matched, and corrected."""
    rows = []
    left = {"none": 1, "repair": 0.5, "temperature": 0.8}  # of the barrier
    for (network, width), alignment, correction, pair, split in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), ("none", "weight"), left, ("1-2", "1-3", "2-3"), ("train", "test")
    ):
        rise = (1.0 if alignment == "none" else 2 / width) * (1 + 0.1 * int(pair[2])) * left[correction]
        names = STUDY | {"network": network, "width": width, "alignment": alignment, "pair": pair, "split": split}
        names["correction"] = correction
        for t in (0, 0.5, 1):
            loss, accuracy = 0.2 + rise * (t == 0.5), 0.9 - 0.3 * rise * (t == 0.5)
            rows.append(names | {"t": t, "length": 4 * t, "attack": "none", "loss": loss, "accuracy": accuracy})
    return pd.DataFrame(rows)


def averages():
    """Averages of one, two and three networks, and ensembles, of two widths, as they are and matched."""
    rows = []
    for (network, width), alignment, split, size in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), ("none", "weight"), ("train", "test"), (1, 2, 3)
    ):
        names = STUDY | {"network": network, "width": width, "alignment": alignment, "split": split, "attack": "none"}
        for mark in ("average",) if size == 1 else ("average", "ensemble"):
            loss = 0.2 + 0.1 * (size - 1) * (alignment == "none") * (mark == "average")
            rows += [names | {"size": size, "draw": 0, "mark": mark, "loss": loss, "accuracy": 0.9}]
    return pd.DataFrame(rows)


def triangles():
    """Two triangles between three networks of two widths, with corners, middles of sides and nothing in between."""
    rows = []
    for (network, width), alignment, triangle in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), ("none", "weight"), ("1-2-3", "4-5-6")
    ):
        names = STUDY | {"network": network, "width": width, "alignment": alignment, "triangle": triangle}
        for second, third in ((0, 0), (1, 0), (0, 1), (0.5, 0), (0, 0.5), (0.5, 0.5)):
            loss = 0.2 + 0.1 * third + 0.4 * (second == 0.5) * (alignment == "none") * (1 + (triangle == "4-5-6"))
            place = {"second": second, "third": third, "split": "test", "attack": "none"}
            rows.append(names | place | {"loss": loss, "accuracy": 0.9})
    return pd.DataFrame(rows)


def boundaries():
    """Answers of two networks and their average on a grid of three by three points, and two points of data."""
    rows = []
    for (network, width), alignment in itertools.product({"mlp2": 2, "mlp16": 16}.items(), ("none", "weight")):
        names = STUDY | {"network": network, "width": width, "alignment": alignment}
        for mark, x, y in itertools.product(("first", "second", "average"), (0, 1, 2), (0, 1, 2)):
            probability = 0.5 if mark == "average" and alignment == "none" else 0.2 + 0.3 * x
            rows.append(names | {"mark": mark, "x": x, "y": y, "probability": probability})
        rows += [names | {"mark": "data", "x": 1, "y": 0.5 + label, "probability": label} for label in (0, 1)]
    return pd.DataFrame(rows)


def units():
    """Units of the first layer of two networks, as they are and matched."""
    rows = []
    for (network, width), alignment, mark in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), ("none", "weight"), ("first", "second")
    ):
        names = STUDY | {"network": network, "width": width, "alignment": alignment, "mark": mark}
        for unit in range(width):
            angle = -3 + 6 * (unit if alignment == "weight" or mark == "first" else width - 1 - unit) / width
            rows.append(names | {"unit": unit, "angle": angle, "offset": 0.1 * unit, "outgoing": unit - 1.0})
    return pd.DataFrame(rows)


def disagreements():
    """Shares of test and training images on which three networks of two widths differ."""
    rows = []
    for (network, width), pair, split in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), ("1-2", "1-3", "2-3"), ("train", "test")
    ):
        names = STUDY | {"network": network, "width": width, "split": split, "attack": "none", "pair": pair}
        rows.append(names | {"disagreement": 0.1 * int(pair[2]) / width})
    return pd.DataFrame(rows)


def norms():
    """Norms of three networks of two widths."""
    rows = []
    for (network, width), member in itertools.product({"mlp2": 2, "mlp16": 16}.items(), (1, 2, 3)):
        names = STUDY | {"network": network, "width": width, "member": member}
        rows.append(names | {"norm": width + member, "largest": 0.1 * member, "units": width - member % 2})
    return pd.DataFrame(rows)


def iterates():
    """Lines between three epochs of each of two runs of two widths: the barrier grows with their distance."""
    rows = []
    for (network, width), seed, pair, split in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), (1, 2), ("1-4", "1-9", "4-9"), ("train", "test")
    ):
        names = STUDY | {"network": network, "width": width, "seeds": seed, "pair": pair, "split": split}
        for t in (0, 0.5, 1):
            loss = 0.2 + 0.02 * (int(pair[2]) - int(pair[0])) * (t == 0.5)
            rows.append(names | {"t": t, "length": 4 * t, "attack": "none", "loss": loss, "accuracy": 0.9})
    return pd.DataFrame(rows)


def iterate_averages():
    """The iterates of those runs and the averages of the first ones."""
    rows = []
    for (network, width), seed, (size, moment), split in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), (1, 2), enumerate((1, 4, 9), 1), ("train", "test")
    ):
        names = STUDY | {"network": network, "width": width, "seeds": seed, "moment": moment, "split": split}
        for mark in ("iterate",) if size == 1 else ("iterate", "average"):
            place = {"size": size if mark == "average" else 1, "mark": mark, "attack": "none"}
            rows.append(names | place | {"loss": 0.2 - 0.01 * size * (mark == "average"), "accuracy": 0.9})
    return pd.DataFrame(rows)


def grids():
    """Three pairs of two widths at three epochs and three levels: the later the permutation, the lower the barrier."""
    rows = []
    for (network, width), along, alignment, pair, split in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), ("epochs", "levels"), ("none", "weight"), PAIRS, ("train", "test")
    ):
        moments = (1, 4, 9) if along == "epochs" else (0, 1, 3)
        origins = (*moments, "1+9") if along == "epochs" else moments
        names = STUDY | {"network": network, "width": width, "alignment": alignment, "pair": pair, "along": along}
        for moment, origin in itertools.product(moments, origins):
            if alignment == "none":
                origin = "none"
            elif along == "levels" and origin not in (0, moment):
                continue
            late = 4 if origin == "1+9" else origin
            rise = 1.0 if origin == "none" else 0.5 / (1 + late) + 0.01 * PAIRS.index(pair)
            place = {"permutation": origin, "moment": moment, "split": split, "attack": "none"}
            for t in (0, 0.5, 1):
                numbers = {
                    "t": t,
                    "length": 4 * t,
                    "loss": 0.2 + rise * (t == 0.5),
                    "accuracy": 0.9 - 0.3 * rise * (t == 0.5),
                }
                rows.append(names | place | numbers)
    return pd.DataFrame(rows).drop_duplicates()


def write_moments(folder):
    """The permutations of those pairs at those moments: neuron 0 settles first, then 1, and so on."""
    paths = []
    for network, along, pair in itertools.product(("mlp2", "mlp16"), ("epochs", "levels"), PAIRS):
        at = [1, 4, 9] if along == "epochs" else [0, 1, 3]
        last = np.roll(np.arange(8), 1)
        orders = [np.concatenate([last[: 2 * n], np.sort(last[2 * n :])]) for n in range(len(at))]
        found = np.stack([np.stack([np.arange(8), order]) for order in orders])
        names = STUDY | {"network": network, "pair": pair, "alignment": "weight"}
        made = {"job": {"names": names, "moments": {"along": along, "at": at}}, "groups": LAYERS[:2]}
        paths.append(folder / f"moments-{network}-{along}-{pair}.safetensors")
        save_file(dict.fromkeys(LAYERS[:2], found), paths[-1], metadata={"modeconn": json.dumps(made)})
    return paths


def masks():
    """Networks of two widths under masks at three levels: the sparser, the farther behind their own those of others."""
    rows = []
    behind = {("none", "own"): 0.0, ("weight", "transported"): 0.1, ("none", "untransported"): 0.3}
    for (network, width), pair, (level, left), (alignment, mask) in itertools.product(
        {"mlp2": 2, "mlp16": 16}.items(), PAIRS, {1: 0.8, 3: 0.512, 9: 0.134}.items(), behind
    ):
        names = STUDY | {"network": network, "width": width, "alignment": alignment, "pair": pair, "level": level}
        accuracy = 0.9 - behind[alignment, mask] * (1 - left) + 0.01 * PAIRS.index(pair)
        place = {"mask": mask, "left": left, "split": "test", "attack": "none"}
        rows.append(names | place | {"loss": 1 - accuracy, "accuracy": accuracy})
    return pd.DataFrame(rows)


# Study -> what its tables are made from, as functions.
MEASURED = {
    "runs": {"histories": histories},
    "alignment": {
        "evaluations": evaluations,
        "signatures": signatures,
        "planes": planes,
        "marks": marks,
        "activations": activations,
        "scores": scores,
        "selections": selections,
    },
    "averaging": {
        "barriers": lines,
        "averages": averages,
        "triangles": triangles,
        "boundaries": boundaries,
        "units": units,
        "disagreements": disagreements,
        "norms": norms,
        "iterates": iterates,
        "swa": iterate_averages,
    },
    "simultaneous": {"grids": grids, "masks": masks},
}
TABLES = {study: list(STUDIES[study].tables) for study in MEASURED}


def options(named):
    """{"pairs_table": path} as words of a command line."""
    return [
        str(word)
        for name, paths in named.items()
        for word in (f"--{name.replace('_', '-')}", *(paths if isinstance(paths, list) else [paths]))
    ]


def write(folder):
    """The studies' tables by the real program, in `folder`: name -> path."""
    outputs = {}
    for study, measured in MEASURED.items():
        inputs = {name: folder / f"{study}-{name}.csv" for name in measured}
        for name, rows in measured.items():
            rows().to_csv(inputs[name], index=False)
        found = {"alignment": write_permutations, "simultaneous": write_moments}
        inputs |= {"permutations": found[study](folder)} if study in found else {}
        made = {f"{name}_table": folder / f"{name}-table.csv" for name in TABLES[study]}
        result = run("make_tables", "--study", study, *options(inputs), *options(made))
        assert result.returncode == 0, result.stderr
        outputs |= {name.removesuffix("_table"): path for name, path in made.items()}
    return outputs


def run(program, *arguments):
    """Run scripts/<program>.py as a user would."""
    command = [preloaded.python(), SCRIPTS / f"{program}.py", *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
