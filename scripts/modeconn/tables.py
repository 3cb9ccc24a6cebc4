"""The tables of the studies: their columns, and how they are read, derived and written.

Accuracies are fractions in 0..1 and losses are in nats in every table; only figures and texts show percent.
"""

import io
from typing import NamedTuple

import numpy as np
import pandas as pd

from modeconn import barriers, manifests

FLOAT_FORMAT = "%.9g"

# Columns of text, read as written: "none" or the seed "01" must not become a missing value or a number.
WORDS = frozenset(
    [
        *["kind", "dataset", "network", "recipe", "seeds", "pair", "alignment", "curve", "split", "attack", "group"],
        *["site", "images", "mark", "mask", "candidate", "other", "member", "members", "first_recipe", "second_recipe"],
        *["quantity", "correction", "claim", "statement", "source", "unit", "table", "formula"],
        *["paper_network", "paper_dataset", "paper_curve", "setting", "within_spread", "along", "permutation"],
        *["triangle", "pairs", "at", "certainty"],
    ]
)
# Columns that a file need not have, and their value then: measurements without a correction have no such column.
LEFT_OUT = {"correction": "none"}
# Columns that may be empty: a standard deviation needs two values, the jackknife three networks.
OPTIONAL = frozenset(["std", "standard_error"])
# The range of values in a column of this name. Correlations are rounded, and so may exceed 1 by a little.
RANGES = {
    **dict.fromkeys(["t", "differ", "share", "left", "second", "third", "disagreement"], (0, 1)),
    **dict.fromkeys(["before", "after"], (-1.001, 1.001)),
    **dict.fromkeys(["loss", "length", "distance_before", "distance_after", "amplitude", "position"], (0, np.inf)),
    **dict.fromkeys(["moment", "norm", "largest", "units"], (0, np.inf)),
    **dict.fromkeys(["epoch", "wave", "size", "width", "level"], (1, np.inf)),
    **{name: (0, 1) for name in ("accuracy", *barriers.QUANTITIES) if "accuracy" in name},
}


class Table(NamedTuple):
    """The columns of a table, and its key: the columns that identify a row and order the rows."""

    columns: list[str]
    key: list[str]


STUDY = ["dataset", "network", "recipe"]
ALIGNMENT = [*STUDY, "pair", "alignment"]
PATH = [*ALIGNMENT, "curve", "split", "attack"]
GROUP = [name for name in PATH if name != "pair"]

EVALUATION = Table(
    columns=[*ALIGNMENT, "curve", "t", "length", "split", "attack", "loss", "accuracy"],
    key=[*PATH, "t"],
)
HISTORY = Table(
    columns=["kind", *STUDY, "seeds", "alignment", "curve", "epoch", "learning_rate", "loss", "accuracy"],
    key=["kind", *STUDY, "seeds", "alignment", "curve", "epoch"],
)
SIGNATURE = Table(
    columns=[
        *[*ALIGNMENT, "group", "position", "split", "site", "images"],
        *["before", "after", "distance_before", "distance_after"],
    ],
    key=[*ALIGNMENT, "split", "site", "position", "group"],
)
PAIRS = Table(columns=[*PATH, *barriers.QUANTITIES], key=PATH)
SUMMARY = Table(columns=[*GROUP, "quantity", "mean", "std", "n"], key=[*GROUP, "quantity"])
SPECTRUM = Table(columns=[*PATH, "wave", "amplitude"], key=[*PATH, "wave"])
PLANE = Table(columns=[*ALIGNMENT, "curve", "x", "y", "split", "attack", "loss", "accuracy"], key=[*PATH, "x", "y"])
MARKS = Table(
    columns=[*ALIGNMENT, "curve", "mark", "t", "x", "y", "x_length", "y_length"],
    key=[*ALIGNMENT, "curve", "mark", "t"],
)
BEST = Table(
    columns=[*ALIGNMENT, "curve", "mark", "members", "split", "attack", "loss", "accuracy"],
    key=[*PATH, "mark", "members"],
)
BEST_QUANTITIES = ("best_accuracy", "better_end_accuracy", "ensemble_of_ends_accuracy", "ensemble_accuracy")
BEST_SUMMARY = Table(columns=[*GROUP, "mark", "quantity", "mean", "std", "n"], key=[*GROUP, "mark", "quantity"])
ACTIVATIONS = Table(
    columns=[
        *[*ALIGNMENT, "curve", "t", "length", "split", "end", "group", "position", "site"],
        *["before", "after", "distance_before", "distance_after"],
    ],
    key=[*ALIGNMENT, "curve", "split", "t", "end", "site", "position", "group"],
)
CANDIDATES = Table(columns=[*ALIGNMENT, "candidate", "loss"], key=[*ALIGNMENT, "candidate"])
PERMUTATIONS = Table(
    columns=[*ALIGNMENT, "other", "group", "position", "size", "differ"],
    key=[*ALIGNMENT, "other", "position"],
)
LINES = Table(  # between all pairs of a population; width: units or channels of the first layer
    columns=[*STUDY, "width", "alignment", "correction", "pair", "t", "length", "split", "attack", "loss", "accuracy"],
    key=[*STUDY, "alignment", "correction", "split", "attack", "pair", "t"],
)
_OF_POPULATION = [*STUDY, "alignment", "correction", "split", "attack"]
_WITH_WIDTH = [*STUDY, "width", *_OF_POPULATION[len(STUDY) :]]
_BARRIERS = [name for name in barriers.QUANTITIES if "barrier" in name]
BARRIERS = Table(
    columns=[*_WITH_WIDTH, "pair", "distance", *_BARRIERS],
    key=[*_OF_POPULATION, "pair"],
)
BARRIER_SUMMARY = Table(
    columns=[
        *[*_WITH_WIDTH, "quantity", "mean", "std", "least", "lower", "median", "upper", "most", "n"],
        *["standard_error", "networks"],
    ],
    key=[*_OF_POPULATION, "quantity"],
)
INTERPOLATIONS = Table(
    columns=[*_WITH_WIDTH, "t", "quantity", "lower", "median", "upper", "n"],
    key=[*_OF_POPULATION, "t", "quantity"],
)
TOPOLOGY = Table(  # of networks that are joined where their barrier is at most the threshold (nats)
    columns=[
        *[*_WITH_WIDTH, "networks", "threshold"],
        *["edges", "triangles", "maximal_cliques", "largest_clique", "betti_0", "betti_1"],
    ],
    key=[*_OF_POPULATION, "threshold"],
)
AVERAGES = Table(  # of `size` networks each, and the same ones as an ensemble
    columns=[
        *[*STUDY, "width", "alignment", "correction", "size", "draw", "mark", "split", "attack"],
        *["loss", "accuracy"],
    ],
    key=[*_OF_POPULATION, "mark", "size", "draw"],
)
TRIANGLES = Table(  # triangle: its seeds; second, third: shares of these networks, the rest is the first one's
    columns=[*STUDY, "width", "alignment", "triangle", "second", "third", "split", "attack", "loss", "accuracy"],
    key=[*STUDY, "alignment", "split", "attack", "triangle", "third", "second"],
)
BOUNDARIES = Table(  # of two networks, their average, and points of the data, whose probability is their class
    columns=[*STUDY, "width", "alignment", "mark", "x", "y", "probability"],
    key=[*STUDY, "alignment", "mark", "x", "y", "probability"],
)
UNITS = Table(  # of the first layer of two networks; units of equal number are matched
    columns=[*STUDY, "width", "alignment", "mark", "unit", "angle", "offset", "outgoing"],
    key=[*STUDY, "alignment", "mark", "unit"],
)
DISAGREEMENTS = Table(  # disagreement: share of the images that both networks of a pair answer differently
    columns=[*STUDY, "width", "split", "attack", "pair", "disagreement"],
    key=[*STUDY, "split", "attack", "pair"],
)
NORMS = Table(  # of all weights: Euclidean, and the largest by magnitude; units (channels) that are not all zeros
    columns=[*STUDY, "width", "member", "norm", "largest", "units"],
    key=[*STUDY, "member"],
)
ACROSS = Table(  # over the pairs of one recipe, or of two, of a population across recipes; seeds: same or different
    columns=[
        *[*STUDY, "width", "alignment", "split", "attack", "first_recipe", "second_recipe", "seeds", "quantity"],
        *["mean", "std", "n"],
    ],
    key=[*STUDY, "alignment", "split", "attack", "first_recipe", "second_recipe", "seeds", "quantity"],
)
ITERATE_LINES = Table(  # between epochs of one run, whose seed is in `seeds`; pair: two epochs
    columns=[*STUDY, "width", "seeds", "pair", "t", "length", "split", "attack", "loss", "accuracy"],
    key=[*STUDY, "seeds", "split", "attack", "pair", "t"],
)
ITERATES = Table(
    columns=[*STUDY, "width", "seeds", "split", "attack", "pair", "distance", *_BARRIERS],
    key=[*STUDY, "seeds", "split", "attack", "pair"],
)
ITERATE_AVERAGES = Table(  # the network at an epoch (moment), and the average of it with the `size` - 1 before it
    columns=[*STUDY, "width", "seeds", "moment", "size", "mark", "split", "attack", "loss", "accuracy"],
    key=[*STUDY, "seeds", "split", "attack", "mark", "moment"],
)
GRID = Table(  # along: whether moments are epochs or levels; permutation: the moment at which it was found, or none
    columns=[
        *[*STUDY, "width", "alignment", "pair", "along", "permutation", "moment", "t", "length", "split", "attack"],
        *["loss", "accuracy"],
    ],
    key=[*ALIGNMENT, "along", "split", "attack", "permutation", "moment", "t"],
)
SIMULTANEOUS = Table(
    columns=[
        *[*STUDY, "width", "alignment", "pair", "along", "permutation", "moment", "split", "attack", "distance"],
        *["endpoint_accuracy", *_BARRIERS],
    ],
    key=[*ALIGNMENT, "along", "split", "attack", "permutation", "moment"],
)
SIMULTANEOUS_SUMMARY = Table(
    columns=[
        *[*STUDY, "width", "alignment", "along", "permutation", "moment", "split", "attack", "quantity"],
        *["mean", "std", "n"],
    ],
    key=[*STUDY, "alignment", "along", "split", "attack", "permutation", "moment", "quantity"],
)
FIXED_POINTS = Table(  # share: the fraction of the group's channels that the permutations of both moments place alike
    columns=[*ALIGNMENT, "along", "group", "position", "size", "moment", "other_moment", "share"],
    key=[*ALIGNMENT, "along", "moment", "other_moment", "position"],
)
MASKS = Table(  # of a pair's second network, trained under a mask; left: the share of the weights that it keeps
    columns=[*STUDY, "width", "alignment", "pair", "level", "mask", "left", "split", "attack", "loss", "accuracy"],
    key=[*ALIGNMENT, "split", "attack", "level", "mask"],
)
MASK_SUMMARY = Table(
    columns=[
        *[*STUDY, "width", "alignment", "level", "mask", "left", "split", "attack", "quantity"],
        *["mean", "std", "n"],
    ],
    key=[*STUDY, "alignment", "split", "attack", "level", "mask", "quantity"],
)
PUBLISHED = Table(  # numbers of a paper: its own names of the cell, those of the paper's config, the number
    columns=[
        *["paper_network", "paper_dataset", "paper_curve", "dataset", "network", "alignment", "curve", "quantity"],
        *["mean", "std", "n", "source"],
    ],
    key=["dataset", "network", "alignment", "curve", "quantity"],
)
PAPER = Table(
    columns=[
        *["paper_network", "paper_dataset", "paper_curve", "quantity", "paper_mean", "paper_std", "paper_n"],
        *["recipe", "mean", "std", "n", "difference", "within_spread", "setting", "source"],
    ],
    key=["paper_network", "paper_dataset", "paper_curve", "quantity"],
)
_TARGET = ["table", *STUDY, "alignment", "pairs", "permutation", "at", "split", "quantity"]
TARGETS = Table(  # read off figures; `pairs` is used with the table barriers, `permutation` and `at` with simultaneous
    columns=[*_TARGET, "mean", "certainty", "source"],
    key=_TARGET,
)
TARGETS_BESIDE = Table(
    columns=[*_TARGET, "paper_mean", "mean", "std", "n", "difference", "setting", "certainty", "source"],
    key=_TARGET,
)
CLAIMS = Table(
    columns=[
        *["claim", "statement", "source", "unit", "table", "split", "attack", "formula", "tolerance"],
        "least_pairs",  # for the table barriers: the least number of networks
    ],
    key=["claim"],
)


def joined(paths, table):
    """The rows of all files `paths`, in the order of `table`. Errors: `read`."""
    return ordered(read(paths, table), table)


def read(paths, table):
    """The rows of the CSV files `paths`, one file after another, as a frame with the columns of `table`.

    Raises ValueError naming the file when it does not match its manifest (`manifests.check`), when a column or a row
    that the job should have measured is missing, or when a value is no number, not finite or out of its range; and
    naming the rows when two of them have the same key.
    """
    frames = [_read_one(path, table) for path in paths]
    rows = pd.concat(frames, ignore_index=True) if frames else _empty(table)
    repeated = rows[rows.duplicated(table.key)]
    if len(repeated):
        where = ", ".join(f"{name}={repeated.iloc[0][name]}" for name in table.key if repeated.iloc[0][name] != "")
        raise ValueError(f"the same row occurs twice in {_some(paths)}: {where}; is a file given twice?")
    return rows


def _read_one(path, table):
    content = manifests.read_bytes(path)
    try:
        rows = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} is not a readable CSV table: {str(error).strip()}") from error
    left_out = [name for name in LEFT_OUT if name in table.columns and name not in rows]
    rows = rows.assign(**{name: LEFT_OUT[name] for name in left_out})
    missing = [name for name in table.columns if name not in rows]
    if missing:
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(rows)}")
    rows = rows[table.columns]
    for name in table.columns:
        if name in WORDS:
            continue
        numbers = pd.to_numeric(rows[name], errors="coerce").astype(np.float64)
        allowed = (rows[name] == "") if name in OPTIONAL else False
        wrong = ~(np.isfinite(numbers) | allowed)
        if wrong.any():
            line = wrong.idxmax()
            raise ValueError(f"{path}, line {line + 2}: {name} is '{rows[name][line]}', not a finite number")
        least, most = RANGES.get(name, (-np.inf, np.inf))
        outside = (numbers < least) | (numbers > most)
        if outside.any():
            line = outside.idxmax()
            limits = f"from {least:g} to {most:g}" if np.isfinite(most) else f"at least {least:g}"
            raise ValueError(f"{path}, line {line + 2}: {name} is {rows[name][line]}, and has to be {limits}")
        rows = rows.assign(**{name: numbers})
    made = manifests.find(path)
    if made is not None and (planned := _planned(made["job"], table)):
        columns, number = planned
        found = len(rows[columns].drop_duplicates())
        if found != number:
            raise ValueError(
                f"{path} has {found} values of {' and '.join(columns)}, and its job was to measure {number}: delete it "
                f"and run rule {made['rule']} again"
            )
    return rows


def _planned(job, table):
    """(columns, number of different values in them) of a job's table, None where the job's values do not tell."""
    if table == EVALUATION and "evaluation" in job:
        return ["t"], job["evaluation"]["points"]
    if table == ACTIVATIONS and "activations" in job:
        return ["t"], job["activations"]["points"]
    if table == PLANE and "plane" in job:
        return ["x", "y"], job["plane"]["points"] ** 2
    if table == HISTORY and "recipe" in job:  # a job that trains: a curve, a permutation or networks
        epochs = (job.get("curve") or job.get("alignment") or job["recipe"])["epochs"]
        return ["epoch"], epochs - (job["recipe"]["pruning"]["rewind"] if "level" in job else 0)
    if table == MASKS and "masks" in job:
        return ["mask"], len(job["masks"])
    return None


def _empty(table):
    return pd.DataFrame({name: pd.Series(dtype=str if name in WORDS else np.float64) for name in table.columns})


def _some(paths):
    paths = [str(path) for path in paths]
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def corrected(rows, joint):
    """Rows of a population with the correction, if any, appended to the alignment: "weight_repair"."""
    named = rows["correction"].map(lambda name: "" if name == "none" else f"{joint}{name}")
    return rows.assign(alignment=rows["alignment"] + named)


def ordered(rows, table):
    """`rows` sorted by the key of `table`."""
    return rows.sort_values(table.key, ignore_index=True)


def pair_table(curves):
    """One row for each path (`PAIRS`) with every quantity of `barriers`, from the points along it (`EVALUATION`).

    Raises ValueError naming the path if its points form no path, or if clean points for attacked ones are missing.
    """
    curves = _with_clean_accuracy(curves)
    rows = []
    for path, points in ordered(curves, EVALUATION).groupby(PAIRS.key):
        names = ("t", "length", "loss", "accuracy", "clean_accuracy")
        try:
            quantities = barriers.path_quantities(*(points[name] for name in names))
        except ValueError as error:
            raise ValueError(f"path {' '.join(path)}: {error}") from error
        rows.append(dict(zip(PAIRS.key, path)) | quantities)
    return pd.DataFrame(rows, columns=PAIRS.columns)


def _with_clean_accuracy(curves):
    """`curves` with the accuracy of the same network (a point of a path) on the same split without attack."""
    network = [name for name in EVALUATION.key if name != "attack"]
    clean = curves.loc[curves["attack"] == "none", [*network, "accuracy"]]
    curves = curves.merge(clean.rename(columns={"accuracy": "clean_accuracy"}), on=network, how="left")
    if (lacking := curves["clean_accuracy"].isna()).any():
        where = " ".join(curves.loc[lacking.idxmax(), PATH])
        raise ValueError(f"path {where}: without attack its points are not there: give the rows of evaluate_curve too")
    return curves


def summary_table(pairs):
    """Mean, standard deviation (n - 1; empty for one pair) and number of pairs, for each quantity (`SUMMARY`)."""
    return _over_pairs(pairs, barriers.QUANTITIES, SUMMARY)


def best_pair_table(best):
    """One row for each path with `BEST_QUANTITIES`, test accuracies of its networks and ensembles, from `BEST`."""
    wide = best[best["split"] == "test"].pivot(index=PATH, columns="mark", values="accuracy")
    wide = wide.reindex(columns=["first", "second", "best", "ends", "ensemble"])
    quantities = [wide["best"], wide[["first", "second"]].max(axis=1), wide["ends"], wide["ensemble"]]
    return pd.concat(quantities, axis=1, keys=BEST_QUANTITIES).reset_index()


def best_summary_table(best):
    """As `summary_table`, of each network and ensemble that was tested (`BEST_SUMMARY`), from `BEST`."""
    return _over_pairs(best[best["split"] == "test"], ("loss", "accuracy"), BEST_SUMMARY)


def _over_pairs(rows, quantities, table):
    """Mean, standard deviation and number of pairs of each quantity, for each value of the rest of the table's key."""
    names = [name for name in table.key if name != "quantity"]
    statistics = rows.groupby(names)[list(quantities)].agg(["mean", "std", "count"]).stack(level=0, future_stack=True)
    statistics = statistics.rename_axis([*names, "quantity"]).rename(columns={"count": "n"})
    return statistics.reset_index()[table.columns]


def spectrum_table(curves):
    """Spectrum of the loss along each path (`SPECTRUM`), from the points along it (`EVALUATION`)."""
    rows = []
    for path, points in ordered(curves, EVALUATION).groupby(PAIRS.key):
        for wave, amplitude in enumerate(barriers.spectrum(points["loss"]), 1):
            rows.append(dict(zip(PAIRS.key, path)) | {"wave": wave, "amplitude": amplitude})
    return pd.DataFrame(rows, columns=SPECTRUM.columns)


def csv(rows):
    """The bytes of `rows` as CSV: the same rows always give the same bytes."""
    return rows.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n").encode()
