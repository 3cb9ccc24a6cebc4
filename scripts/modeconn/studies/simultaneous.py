"""The tables of the simultaneous study (Sharma et al. 2024): barriers of pairs at many moments, by permutation."""

import json

import numpy as np
import pandas as pd
import safetensors

from modeconn import barriers, manifests, tables

QUANTITIES = ["distance", "endpoint_accuracy", *(name for name in barriers.QUANTITIES if "barrier" in name)]


def tabulate(measured: dict[str, list[str]]) -> dict[str, pd.DataFrame]:
    """Barriers of each pair under each permutation at each moment, their mean over pairs, and shared fixed points.

    Further the accuracy of networks trained under masks.
    """
    found = cell_table(tables.joined(measured["grids"], tables.GRID))
    masks = tables.joined(measured["masks"], tables.MASKS)
    return {
        "simultaneous": found,
        "simultaneous_summary": summary_table(found, QUANTITIES, tables.SIMULTANEOUS_SUMMARY),
        "fixed_points": fixed_point_table(measured["permutations"]),
        "masks": masks,
        "mask_summary": summary_table(masks, ["loss", "accuracy"], tables.MASK_SUMMARY),
    }


def cell_table(points: pd.DataFrame) -> pd.DataFrame:
    """One row a pair, permutation and moment (`tables.SIMULTANEOUS`), from the points of its line (`tables.GRID`)."""
    key, rows = tables.SIMULTANEOUS.key, []
    for names, line in points.sort_values("t").groupby(key):
        found = barriers.path_quantities(*(line[name] for name in ("t", "length", "loss", "accuracy")))
        found |= {"distance": found["length"], "width": line["width"].iloc[0]}
        rows.append(dict(zip(key, names)) | {name: found[name] for name in ("width", *QUANTITIES)})
    return tables.ordered(pd.DataFrame(rows, columns=tables.SIMULTANEOUS.columns), tables.SIMULTANEOUS)


def summary_table(found: pd.DataFrame, quantities: list[str], table: tables.Table) -> pd.DataFrame:
    """Mean, standard deviation and number of pairs of the quantities of `found`, with the columns of `table`."""
    names = [name for name in table.columns if name not in ("quantity", "mean", "std", "n")]
    long = found.melt([*names, "pair"], quantities, "quantity", "value")
    groups = long.groupby([*names, "quantity"])["value"]
    rows = groups.agg(["mean", "std", "count"]).rename(columns={"count": "n"}).reset_index()
    return tables.ordered(rows, table)[table.columns]


def fixed_point_table(paths: list[str]) -> pd.DataFrame:
    """The share of each group's channels that the permutations of two moments place alike (`tables.FIXED_POINTS`).

    Permutations drawn at random share one channel of a group, 1/n, in the mean.
    """
    rows = []
    for path in paths:
        names, along, at, orders = _read(path)
        for position, (group, order) in enumerate(orders.items()):
            place = [*names, along, group, position, order.shape[-1]]
            for first, moment in enumerate(at):
                for second in range(first + 1, len(at)):
                    share = np.mean(order[first, 1] == order[second, 1])
                    rows.append([*place, moment, at[second], share])
    return tables.ordered(pd.DataFrame(rows, columns=tables.FIXED_POINTS.columns), tables.FIXED_POINTS)


def _read(path):
    """(names, along, moments, group -> (P, 2, n)) of a file from align_moments, groups from input to logits."""
    manifests.check(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {})["modeconn"])
            orders = {group: file.get_tensor(group) for group in metadata["groups"]}
        if any((np.sort(order) != np.arange(order.shape[-1])).any() for order in orders.values()):
            raise ValueError("an index is missing")
        job = metadata["job"]
        names = [job["names"][name] for name in tables.ALIGNMENT]
        return names, job["moments"]["along"], job["moments"]["at"], orders
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no permutation ({error}): delete it and run rule align_moments again"
        ) from None
