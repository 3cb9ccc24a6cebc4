"""Judge the claims of Sharma et al. 2024: one permutation for many moments, and for several networks, by width.

Claims on the table simultaneous are judged pair by pair. A name in their formula is
<alignment>_<along>_<origin>_<quantity>, for example weight_epochs_last_error_barrier_linear: the mean over moments
(levels of pruning, epochs of training) of a barrier under the permutation that was found at the first moment, at the
last, at each moment itself (own), or at several at once (stacked). For the alignment none the origin is always own. The
mean leaves out the last epoch, where last and own are the same, and level 0, the dense networks.

A name in a claim on the table masks is <alignment>_<mask>_accuracy, for example weight_transported_accuracy or
none_own_accuracy: the accuracy of a pair's second network, trained under that mask, as the mean over levels of pruning.

Claims on the table widths compare the narrowest and the widest of the networks in the table barriers:
<narrowest or widest>_<alignment>_<quantity>. Networks that differ in more than width are not judged. Only the pairs
without the first network count, to which both networks of a pair are matched: among three networks, each with one
permutation, the pair of the other two.

Let m be the mean of the margin plus the tolerance. A claim shows if m is above RESOLUTION standard errors, does not
show if m is below minus RESOLUTION standard errors, and is too close to say otherwise. The standard error is that of
independent pairs; for widths it is the jackknife's over networks (`population_claims`).
"""

import textwrap
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from modeconn import population_claims, tables
from modeconn.claims import STUDY, VERDICT_COLUMNS, WIDTH, names_of
from modeconn.identity import canonical
from modeconn.text import aligned, number

QUANTITIES = tuple(name for name in tables.SIMULTANEOUS.columns if "barrier" in name)
ORIGINS = ("first", "last", "own", "stacked")
MASK_QUANTITIES = ("loss", "accuracy")
ALONG = {"epochs": "training", "levels": "pruning"}
NUMBERS = (
    "Test barriers above the endpoints' interpolant (loss: nats, error: points): mean over epochs\n"
    "before the last, or levels of pruning, then mean and deviation over n pairs, by where the\n"
    "permutation was found: at the first moment, at the last, at each itself (own), or at\n"
    "several at once (stacked)"
)
MASK_NUMBERS = (
    "Test accuracy (%) of the second networks of n pairs, trained under a mask, by the weights left:\n"
    "mean and deviation over pairs. By an alignment: transported by its permutation"
)


def judge(claims: pd.DataFrame, found: pd.DataFrame, masks: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each claim on these tables for each network and recipe, with VERDICT_COLUMNS.

    found: `tables.SIMULTANEOUS`; masks: `tables.MASKS`, no rows where none were trained. `std` is the standard
    deviation over pairs, `n` their number. Raises ValueError naming the claim whose formula is wrong.
    """
    moments = f"({'|'.join(ALONG)})_({'|'.join(ORIGINS)})_({'|'.join(QUANTITIES)})"
    known = f"<epochs or levels>_<{', '.join(ORIGINS)}>_<quantity>, with {', '.join(QUANTITIES)}"
    # Table -> its rows, a function that makes one row a pair of them, and the form of a name after the alignment.
    sources = {
        "simultaneous": (found, by_origin, moments, known),
        "masks": (masks, by_mask, rf"\w+_({'|'.join(MASK_QUANTITIES)})", "<mask>_<loss or accuracy>"),
    }
    verdicts = []
    for claim in claims[claims["table"].isin(sources)].to_dict("records"):
        source, by_pair, pattern, known = sources[claim["table"]]
        names = names_of(claim, rf"\w+_{pattern}", f"<alignment>_{known}")
        rows = source[(source["split"] == claim["split"]) & (source["attack"] == claim["attack"])]
        for group, of_network in rows.groupby(STUDY):
            margin, missing = _margin(claim, names, by_pair(of_network))
            error = margin.std() / np.sqrt(len(margin)) if len(margin) > 1 else np.nan
            judged = population_claims.by_error(claim, group, margin, missing, error, len(margin), margin.std())
            verdicts.append(judged)
        if rows.empty and len(found):
            verdicts.append(population_claims.not_run(claim, names))
    return pd.DataFrame(verdicts, columns=VERDICT_COLUMNS)


def judge_widths(
    claims: pd.DataFrame,
    barriers: pd.DataFrame,
    guessing: Collection[tuple] = (),
    architectures: Mapping[str, dict] | None = None,
) -> pd.DataFrame:
    """The verdict on each claim on widths, from `barriers` (`tables.BARRIERS`), by data set and recipe.

    `std` is the jackknife standard error, `n` the number of networks of a width, the first among them. Networks are
    compared that differ in width alone. Where all have one width there is no verdict; where those of several widths
    differ in more, the verdict is "not judged", and `missing` says in what. guessing: of `population_claims.at_chance`,
    which do not count. architectures: the values of networks in the config, by name; those that are not given are taken
    to differ in width alone.
    Raises ValueError naming the claim whose formula is wrong.
    """
    verdicts = []
    counts = [group not in guessing for group in barriers[STUDY].itertuples(index=False, name=None)]
    barriers = barriers[np.array(counts, dtype=bool)]
    for claim in claims[claims["table"] == "widths"].to_dict("records"):
        pattern = rf"(narrowest|widest)_\w+_({'|'.join(QUANTITIES)})"
        names = names_of(claim, pattern, f"<narrowest or widest>_<alignment>_<quantity>, with {', '.join(QUANTITIES)}")
        rows = barriers[(barriers["split"] == claim["split"]) & (barriers["attack"] == claim["attack"])]
        rows = tables.corrected(rows, "_")
        for (dataset, recipe, attack), of_recipe in rows.groupby(["dataset", "recipe", "attack"]):
            alike = _by_architecture(of_recipe, architectures or {})
            for part in alike:
                ends = {"narrowest": part["width"].min(), "widest": part["width"].max()}
                of_end = {end: part[part["width"] == width] for end, width in ends.items()}
                label = f"{ends['narrowest']:.0f} to {ends['widest']:.0f} units"
                if len(alike) > 1:
                    label = f"{' to '.join(found['network'].iloc[0] for found in of_end.values())}, {label}"
                group = (dataset, label, recipe, attack)
                if reason := _not_comparable(part, architectures or {}):
                    verdicts.append(population_claims.not_run(claim, [reason], group) | {"verdict": "not judged"})
                    continue
                wide = pd.concat([_by_alignment(found, end) for end, found in of_end.items()], axis=1)
                margin, missing = _margin(claim, names, wide)
                error, n = population_claims.standard_error(margin)
                networks = n + 1 if n else 0  # the first among them
                verdicts.append(population_claims.by_error(claim, group, margin, missing, error, networks, error))
    return pd.DataFrame(verdicts, columns=VERDICT_COLUMNS)


def _by_architecture(rows, architectures):
    """The rows of networks that differ in width alone, a frame for each architecture of several widths.

    All rows where no architecture has several widths but the networks have; nothing where all have one width.
    """
    names: dict[str, list] = {}
    for name in sorted(set(rows["network"])):
        names.setdefault(canonical(_without_width(architectures.get(name, {}))), []).append(name)
    parts = [rows[rows["network"].isin(alike)] for alike in names.values()]
    several = [part for part in parts if part["width"].nunique() > 1]
    return several or ([rows] if rows["width"].nunique() > 1 else [])


def _not_comparable(rows, architectures):
    """Why networks of `tables.BARRIERS` differ in more than width, as text; empty where they do not."""
    names = sorted(set(rows["network"]))
    kinds = [_without_width(architectures[name]) for name in names if name in architectures]
    keys = sorted({key for kind in kinds for key in kind})
    if differing := [key for key in keys if any(kind.get(key) != kinds[0].get(key) for kind in kinds)]:
        return f"{', '.join(names)} differ in more than width: {', '.join(differing)}"
    of_width = rows.groupby("width")["network"].unique()
    if len(same := max(of_width, key=len)) > 1:
        return f"{', '.join(sorted(same))} have the same width"
    return ""


def _without_width(values):
    """The values of a network without its width; units of hidden layers are given as ratios to the first."""
    kept = {key: value for key, value in values.items() if key != "width"}
    return kept | ({"hidden": [units / kept["hidden"][0] for units in kept["hidden"]]} if "hidden" in kept else {})


def _margin(claim, names, wide):
    """(the formula's value for each pair that has all of its names, those that no pair has); wide: a row a pair."""
    margin = wide.reindex(columns=names).eval(claim["formula"], engine="python").dropna()
    return margin, [name for name in names if name not in wide]


def _by_alignment(rows, end):
    """One row a pair without the first network, one column <end>_<alignment>_<quantity>; rows: of one architecture."""
    ends = rows["pair"].str.split("-", expand=True)
    first = ends[0].iloc[0] if len(ends) else ""
    rows = rows[(ends[0] != first) & (ends[1] != first)]
    wide = rows.pivot(index="pair", columns="alignment", values=list(QUANTITIES))
    return wide.set_axis([f"{end}_{alignment}_{quantity}" for quantity, alignment in wide.columns], axis=1)


def by_origin(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a pair, one column <alignment>_<along>_<origin>_<quantity>: means over moments.

    rows: of one network, recipe and split (`tables.SIMULTANEOUS`).
    """
    columns: dict[str, pd.Series] = {}
    for (alignment, along), cells in rows.groupby(["alignment", "along"]):
        unpermuted = (cells["permutation"] == "none").all()
        stacked = cells["permutation"].str.contains("+", regex=False)
        found_at = cells["moment"] if unpermuted else cells["permutation"].where(~stacked).astype(float)
        moments = sorted(set(cells["moment"]))
        origins = {"first": found_at == moments[0], "last": found_at == moments[-1], "own": found_at == cells["moment"]}
        origins["stacked"] = stacked
        # The last epoch and the first level are left out of the means.
        counts = cells["moment"] != (moments[-1] if along == "epochs" else moments[0])
        # The permutation of the last level is measured at that level only.
        known = ["own"] if unpermuted else [name for name in ORIGINS if (along, name) != ("levels", "last")]
        for origin in known:
            means = cells[counts & origins[origin]].groupby("pair")[list(QUANTITIES)].mean()
            columns |= {f"{alignment}_{along}_{origin}_{name}": means[name] for name in QUANTITIES if len(means)}
    return pd.DataFrame(columns)


def by_mask(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a pair, one column <alignment>_<mask>_<quantity>, the mean over levels.

    rows: of one network, recipe and split (`tables.MASKS`).
    """
    columns = {
        f"{alignment}_{mask}_{name}": of_mask.groupby("pair")[name].mean()
        for (alignment, mask), of_mask in rows.groupby(["alignment", "mask"])
        for name in MASK_QUANTITIES
    }
    return pd.DataFrame(columns)


def number_rows(rows: pd.DataFrame) -> list[list[str]]:
    """Header and rows of cells: barriers by where the permutation was found; rows: as for `by_origin`."""
    wide = by_origin(rows)
    lines: list[list[str]] = [["along", "alignment", "found at", "loss barrier", "error barrier", "n"]]
    for along, word in ALONG.items():
        ending = "_loss_barrier_linear"
        names = [name.removesuffix(ending) for name in map(str, wide.columns) if name.endswith(ending)]
        for name in (name for name in names if f"_{along}_" in name):
            alignment, _, origin = name.rpartition(f"_{along}_")
            loss, error = wide[f"{name}_loss_barrier_linear"], wide[f"{name}_error_barrier_linear"]
            shown = [number(loss.mean(), loss.std(), 1, 3), number(error.mean(), error.std(), 100, 1)]
            lines.append([word, alignment, "" if alignment == "none" else origin, *shown, str(error.count())])
    return lines


def mask_rows(rows: pd.DataFrame) -> list[list[str]]:
    """Header and rows of cells: accuracy by the share of weights left and mask; rows: of one study (`tables.MASKS`)."""
    moved = rows["mask"] == "transported"
    rows = rows.assign(column=rows["mask"].where(~moved, "by " + rows["alignment"]))
    columns = sorted(set(rows["column"][~moved])) + sorted(set(rows["column"][moved]))
    lines = [["left", *columns, "n"]]
    for share in sorted(set(rows["left"]), reverse=True):
        of_share = rows[rows["left"] == share]
        found = [of_share.loc[of_share["column"] == column, "accuracy"] for column in columns]
        shown = [number(values.mean(), values.std(), 100, 1) for values in found]
        lines.append([f"{100 * share:.1f} %", *shown, str(of_share["pair"].nunique())])
    return lines


def text(found: pd.DataFrame, masks: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """Text for a terminal: for each network and recipe the barriers by the origin of the permutation, and the claims.

    The accuracy under masks follows if there are any. verdicts: from `judge` and `judge_widths`.
    """
    blocks = []
    for (dataset, network, recipe), rows in found[found["split"] == "test"].groupby(tables.STUDY):
        title = f"{dataset} / {network} / {recipe}: one permutation for many moments"
        blocks += [f"{title}\n{'=' * len(title)}", f"{NUMBERS}\n\n{aligned(number_rows(rows), left=3)}"]
        masked = masks[(masks[tables.STUDY] == [dataset, network, recipe]).all(axis=1)]
        blocks += [f"{MASK_NUMBERS}\n\n{aligned(mask_rows(masked), left=1)}"] if len(masked) else []
        own = verdicts[(verdicts[tables.STUDY] == [dataset, network, recipe]).all(axis=1)]
        said = [
            textwrap.fill(f"{row['verdict']}: {row['statement']}", WIDTH, subsequent_indent="    ")
            for row in own.to_dict("records")
        ]
        blocks += ["\n".join(said)] if said else []
    widths = verdicts[verdicts["network"].str.endswith(" units")]
    said = [
        f"{row['verdict']}, {row['dataset']} / {row['recipe']}, {row['network']}"
        + (f": {row['missing']}" if row["verdict"] == "not judged" else "")
        for row in widths.to_dict("records")
    ]
    blocks += [f"{textwrap.fill(statement, WIDTH)}\n    {line}" for statement, line in zip(widths["statement"], said)]
    return "\n\n".join(blocks) + "\n" if blocks else ""
