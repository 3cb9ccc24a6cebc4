"""Compare the permutations that different alignments found for a pair. Does not import torch."""

import itertools
import json

import numpy as np
import pandas as pd
import safetensors

from modeconn import manifests, tables


def compare(paths, signatures):
    """One row (`tables.PERMUTATIONS`) for each two alignments of a pair and each group, from the permutations `paths`.

    `differ` is the share of the group's neurons that the two place differently; one of the two may be "none", the
    neurons as they are. signatures: `tables.SIGNATURE`, whose positions order the groups; those without come last.
    Raises ValueError naming the file that is damaged or no permutation.
    """
    found = {}
    for path in paths:
        *pair, alignment, orders = _read(path)
        found.setdefault(tuple(pair), {})[alignment] = orders
    positions = signatures.groupby([*tables.STUDY, "group"])["position"].min().to_dict()
    rows = []
    for pair, alignments in found.items():
        study = pair[: len(tables.STUDY)]
        groups = next(iter(alignments.values()))
        ranked = sorted(groups, key=lambda group: (positions.get((*study, group), np.inf), group))
        alignments["none"] = {group: np.arange(len(order)) for group, order in groups.items()}
        for one, other in itertools.combinations(sorted(alignments), 2):
            for position, group in enumerate(ranked):
                a, b = alignments[one][group], alignments[other][group]
                rows.append([*pair, one, other, group, position, len(a), np.mean(a != b)])
    return pd.DataFrame(rows, columns=tables.PERMUTATIONS.columns)


def _read(path):
    """(dataset, network, recipe, pair, alignment, group -> indices) of a permutation's file."""
    manifests.check(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = json.loads((file.metadata() or {})["modeconn"])["job"]["names"]
            groups = file.keys()
            orders = {group: file.get_tensor(group) for group in groups}
        if any((np.sort(order) != np.arange(order.shape[-1])).any() for order in orders.values()):
            raise ValueError("an index is missing")
        # Of a pair the first network keeps its order.
        return *(names[name] for name in tables.ALIGNMENT), {group: order[1] for group, order in orders.items()}
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no permutation ({error}): delete it and run rule align or refine again"
        ) from None
