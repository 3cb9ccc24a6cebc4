"""Where results come from: the environments that made them, read from the artifacts themselves and without torch."""

import json
from collections import defaultdict

import pandas as pd
import safetensors

# As `artifacts.versions` writes them; an artifact that no version decides, a data set, has none.
ENVIRONMENT = ["python", "torch", "torchvision", "device", "instructions"]
EXAMPLES = 3


def environments(paths):
    """One row an environment in which some of the artifacts `paths` were made, the commonest first.

    Columns: those of ENVIRONMENT; `artifacts`, how many; `differs`, in what from the commonest; `examples`,
    some of them, where it is not the commonest. Networks that torchvision built are a row of their own, which differs
    in nothing by that alone.
    Raises ValueError where a file is no artifact.
    """
    made = defaultdict(list)
    for path in paths:
        versions = _metadata(path).get("versions")
        if versions is not None:
            made[tuple(str(versions.get(name, "")) for name in ENVIRONMENT)].append(str(path))
    rows, ranked = [], sorted(made.items(), key=lambda item: (-len(item[1]), item[0]))
    usual = list(ranked[0][0]) if ranked else []
    # Of torchvision's versions the commonest that is named: most artifacts name none.
    at = ENVIRONMENT.index("torchvision")
    usual[at : at + 1] = [next((environment[at] for environment, _ in ranked if environment[at]), "")]
    for environment, files in ranked:
        differs = [
            name
            for name, one, other in zip(ENVIRONMENT, environment, usual)
            if one != other and (name != "torchvision" or one)
        ]
        examples = " ".join(sorted(files)[:EXAMPLES]) if differs else ""
        rows.append([*environment, len(files), " ".join(differs), examples])
    return pd.DataFrame(rows, columns=[*ENVIRONMENT, "artifacts", "differs", "examples"])


def _metadata(path):
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["modeconn"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no artifact ({error}): delete it and run again") from None
