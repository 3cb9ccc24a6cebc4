"""The tables of the averaging study (Kalaivanan 2023): barriers between all pairs of many networks."""

import numpy as np
import pandas as pd

from modeconn import barriers, tables, topology
from modeconn.population_claims import standard_error

THRESHOLDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)  # nats, as in the thesis
QUARTILES = {"lower": 0.25, "median": 0.5, "upper": 0.75}
QUANTITIES = [name for name in barriers.QUANTITIES if "barrier" in name]


def tabulate(measured: dict[str, list[str]]) -> dict[str, pd.DataFrame]:
    """Barriers of each pair, their mean and quartiles over pairs, and quartiles along the lines between them."""
    points = tables.joined(measured["barriers"], tables.LINES)
    found = pair_table(points)
    disagreements = tables.joined(measured["disagreements"], tables.DISAGREEMENTS)
    return {
        "barriers": found,
        "barrier_summary": summary_table(found),
        "interpolations": interpolation_table(points),
        "topology": topology_table(found),
        "averages": tables.joined(measured["averages"], tables.AVERAGES),
        "triangles": tables.joined(measured["triangles"], tables.TRIANGLES),
        "boundaries": tables.joined(measured["boundaries"], tables.BOUNDARIES),
        "units": tables.joined(measured["units"], tables.UNITS),
        "across": across_table(found, disagreements),
        "disagreements": disagreements,
        "norms": tables.joined(measured["norms"], tables.NORMS),
        "iterates": pair_table(tables.joined(measured["iterates"], tables.ITERATE_LINES), tables.ITERATES),
        "iterate_averages": tables.joined(measured["swa"], tables.ITERATE_AVERAGES),
    }


def topology_table(found: pd.DataFrame) -> pd.DataFrame:
    """The graph of networks that are joined where their barrier is at most a threshold (`tables.TOPOLOGY`).

    The barrier is that of the loss above the worse end (Kalaivanan 2023, graph analysis).
    """
    rows = []
    names = [name for name in tables.TOPOLOGY.key if name != "threshold"]
    for group, pairs in found.groupby(names):
        ends = pairs["pair"].str.split("-", expand=True)
        members = {name: place for place, name in enumerate(dict.fromkeys([*ends[0], *ends[1]]))}
        matrix = np.zeros((len(members), len(members)))
        first, second = (ends[end].map(members).to_numpy() for end in (0, 1))
        matrix[first, second] = matrix[second, first] = pairs["loss_barrier_max_endpoint"]
        facts = dict(zip(names, group)) | {"width": pairs["width"].iloc[0], "networks": len(members)}
        rows += [facts | found for found in topology.by_threshold(matrix, THRESHOLDS)]
    table = pd.DataFrame(rows, columns=tables.TOPOLOGY.columns)
    return tables.ordered(table, tables.TOPOLOGY)


def across_table(found: pd.DataFrame, disagreements: pd.DataFrame) -> pd.DataFrame:
    """Means over the pairs within each recipe and of each two recipes, of populations across recipes (`tables.ACROSS`).

    Pairs of one seed stand by themselves: both networks were trained on the same batches, from the same weights unless
    their recipes draw others.
    found: `tables.BARRIERS`, of which those without correction count; disagreements: `tables.DISAGREEMENTS`; they do
    not depend on the alignment, and get the alignment none.
    """
    names = [name for name in tables.ACROSS.key if name not in ("first_recipe", "second_recipe", "seeds", "quantity")]
    parts, recipes = [], ["first_recipe", "second_recipe"]
    for rows, quantities in (
        (found[found["correction"] == "none"], ["distance", *QUANTITIES]),
        (disagreements.assign(alignment="none"), ["disagreement"]),
    ):
        members = rows["pair"].str.extract(r"^(\w+):(\d+)-(\w+):(\d+)$")
        same = (members[1] == members[3]).map({True: "same", False: "different"})
        rows = rows.assign(first_recipe=members[0], second_recipe=members[2], seeds=same).dropna(subset=recipes)
        parts.append(rows.melt([*names, *recipes, "seeds", "width"], quantities, "quantity", "value"))
    groups = pd.concat(parts).groupby([*names, *recipes, "seeds", "width", "quantity"])["value"]
    table = groups.agg(["mean", "std", "count"]).rename(columns={"count": "n"}).reset_index()
    return tables.ordered(table, tables.ACROSS)[tables.ACROSS.columns]


def pair_table(points: pd.DataFrame, table: tables.Table = tables.BARRIERS) -> pd.DataFrame:
    """One row for each key of `table` (a pair, network, alignment and split), from the points between the two networks.

    points: `tables.LINES`, or, for `tables.ITERATES`, `tables.ITERATE_LINES`.
    Raises ValueError where pairs of one network are not measured at the same points.
    """
    frames = [pd.DataFrame(columns=table.columns)] if points.empty else []
    columns = [name for name in table.key if name != "pair"]
    for names, rows in points.groupby(columns):
        wide = {name: rows.pivot(index="pair", columns="t", values=name) for name in ("loss", "accuracy")}
        if wide["loss"].isna().any(axis=None):
            raise ValueError(
                f"lines of {' '.join(map(str, names))} are not measured at the same points t: measure again"
            )
        t = wide["loss"].columns.to_numpy()
        loss, error = wide["loss"].to_numpy(), 1 - wide["accuracy"].to_numpy()
        frame = pd.DataFrame({"pair": wide["loss"].index})
        for name, value in zip(columns, map(str, names)):
            frame[name] = value
        frame["width"] = rows["width"].iloc[0]
        frame["distance"] = rows.groupby("pair")["length"].max().reindex(frame["pair"]).to_numpy()
        for kind, values in (("loss", loss), ("error", error)):
            for name, barrier in barriers.BARRIERS.items():
                frame[f"{kind}_barrier_{name.replace('-', '_')}"] = barrier(t, values.T)
        frames.append(frame)
    return tables.ordered(pd.concat(frames), table)[table.columns]


def summary_table(found: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation, extremes and quartiles over pairs of each barrier (`tables.BARRIER_SUMMARY`).

    standard_error: of the mean over all pairs, by the jackknife over networks, since pairs share networks.
    """
    names = [name for name in tables.BARRIER_SUMMARY.key if name != "quantity"]
    long = found.melt([*names, "width", "pair"], ["distance", *QUANTITIES], "quantity", "value")
    groups = long.set_index("pair").groupby([*names, "width", "quantity"])["value"]
    statistics = {"mean": "mean", "std": "std", "least": "min", "most": "max", "n": "count"}
    columns = {name: groups.agg(function) for name, function in statistics.items()}
    columns |= {name: groups.quantile(share) for name, share in QUARTILES.items()}
    errors = groups.agg(standard_error)
    columns |= {"standard_error": errors.str[0].astype(float), "networks": errors.str[1]}
    table = pd.DataFrame(columns).reset_index()
    return tables.ordered(table, tables.BARRIER_SUMMARY)[tables.BARRIER_SUMMARY.columns]


def interpolation_table(points: pd.DataFrame) -> pd.DataFrame:
    """Quartiles of loss and accuracy over pairs at each t (`tables.INTERPOLATIONS`).

    A line has no direction of its own: t and 1 - t are both counted, so that the quartiles are symmetric.
    """
    both = pd.concat([points, points.assign(t=(1 - points["t"]).round(9))])
    both["t"] = both["t"].round(9)
    names = [name for name in tables.INTERPOLATIONS.key if name != "quantity"]
    long = both.melt([*names, "width"], ["loss", "accuracy"], "quantity", "value")
    groups = long.groupby([*names, "width", "quantity"])["value"]
    columns = {name: groups.quantile(share) for name, share in QUARTILES.items()} | {"n": groups.count() // 2}
    table = pd.DataFrame(columns).reset_index()
    return tables.ordered(table, tables.INTERPOLATIONS)[tables.INTERPOLATIONS.columns]
