"""Provenance: the environments that made results, read from artifacts and their manifests, without torch."""

import json
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import pandas as pd
import safetensors

from modeconn import manifests

# As `artifacts.versions` writes them; data sets record none, since no version changes their bytes.
ENVIRONMENT = ["python", "torch", "torchvision", "device", "instructions", "compiled"]
EXAMPLES = 3


def environments(paths):
    """One row an environment in which some of the artifacts `paths` were made, the commonest first.

    Columns: those of ENVIRONMENT; `artifacts`, their number; `differs`, the columns in which it differs from the
    commonest environment that has a value there; `examples`, some artifacts if it differs. Networks built by
    torchvision, and compiled ones, have a row of their own; that alone is not a difference. Facts are read from an
    artifact's manifest or, if it was made by hand, from the artifact itself.
    Raises ValueError where a file is no artifact, or does not match its manifest.
    """
    made = defaultdict(list)
    for path in paths:
        if versions := (manifests.find(path) or _metadata(path)).get("versions"):
            made[tuple(str(versions.get(name, "")) for name in ENVIRONMENT)].append(str(path))
    rows, ranked = [], sorted(made.items(), key=lambda item: (-len(item[1]), item[0]))
    usual = [next(filter(None, values), "") for values in zip(*(environment for environment, _ in ranked))]
    for environment, files in ranked:
        differs = [name for name, one, other in zip(ENVIRONMENT, environment, usual) if one not in ("", other)]
        examples = " ".join(sorted(files)[:EXAMPLES]) if differs else ""
        rows.append([*environment, len(files), " ".join(differs), examples])
    return pd.DataFrame(rows, columns=[*ENVIRONMENT, "artifacts", "differs", "examples"])


class Splits(NamedTuple):
    """How many training and test images a data set has, and the accuracy of guessing: the largest class's share."""

    train: int
    test: int
    chance: float


def splits(path) -> Splits:
    """The `Splits` of a data set that prepare_data has made, from the labels in its file.

    Raises ValueError where the file is no such artifact, or does not match its manifest.
    """
    manifests.check(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            train, labels = file.get_slice("train_labels").get_shape()[0], file.get_tensor("test_labels")
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it, and rule prepare_data makes it again") from None
    return Splits(train, len(labels), np.bincount(labels).max() / len(labels))


def _metadata(path):
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["modeconn"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no artifact ({error}): delete it and run again") from None
