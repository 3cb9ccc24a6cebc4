"""Judge the claims of the alignment study from its tables, and compare its numbers with published ones.

A claim is a row of `claims.csv`, which names its table. Its formula gives one number for each pair of networks, the
margin, which is positive where the claim holds. A name in it is <alignment>_<curve>_<quantity>, for example
activation_bezier_minimum_accuracy: the names of an alignment and a curve in the config (with _ for other characters)
and a column of the pairs table, or one of `tables.BEST_QUANTITIES`, of the best network on the curve and the networks
that it is compared with; or <alignment>_signature_before or _after: the mean correlation of matched neurons over all
groups of channels.

The resolution of a margin is the effect of chance on it by the choice of test images. Each accuracy in the formula
counts right answers among N images and has the variance p (1 - p) / N of a binomial count. Networks are tested on the
same images, which makes the variance of differences smaller by an unknown amount. So the sum of the variances of a
formula's accuracies, each times the square of its coefficient, is an upper bound of the margin's variance. The
resolution is RESOLUTION times the root of this bound, but at least one image. The mean over pairs has the same
resolution, since all pairs are tested on the same images. Losses and correlations are no counts and have no resolution:
every pair has to support a claim on them.

Let m be the margin plus the tolerance, and r that resolution. The claim does not show if m of *any* pair is below -r (a
mean could hide a pair that contradicts it), shows if the mean of m is above r, and is too close to say otherwise.
Nothing is judged where the endpoints are no better than guessing, or where both networks of a pair are the same.
"""

import ast
import re
import textwrap
from collections import Counter

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from modeconn import tables
from modeconn.barriers import QUANTITIES
from modeconn.text import aligned, number

STUDY = [*tables.STUDY, "attack"]
VERDICT_COLUMNS = [
    *["claim", "statement", "source", "unit", "tolerance", *STUDY],
    *["measured", "std", "worst_pair", "worst", "resolution", "n", "verdict", "missing"],
]
RESOLUTION = 2  # standard deviations
LEVEL = 0.95  # of the intervals of published numbers
ARITHMETIC = (
    *[ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant, ast.Load],
    *[ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub],
)
WIDTH = 100
JUDGED = ["verdict", "margin", "worst", "n", "claim"]
NUMBERS = "Test accuracy (%), and barriers above the endpoints' interpolant (loss: nats, error: points)"
# Tables of claims; those on barriers are judged by `population_claims`, those after it by `simultaneous_claims`.
TABLES = ("pairs", "best", "barriers", "widths", "simultaneous", "masks")


def judge(claims, pairs, best, signatures, splits=None):
    """The verdict on each claim (`tables.CLAIMS`) for each dataset, network, recipe and attack of `tables.PAIRS`.

    A claim on the best networks on curves is judged for each group of `tables.BEST`.
    signatures: `tables.SIGNATURE`; those on the test split, after the nonlinearity, can be named in a claim.
    splits: data set -> `provenance.Splits`; accuracies on other data sets count as exact.

    Returns a frame with `VERDICT_COLUMNS`: mean (`measured`), standard deviation and lowest value (`worst`, that of
    `worst_pair`) of the margin over n pairs, and its `resolution`. The verdict is "shows", "does not show", "too close
    to say", "too few to say" (n below the claim's least_pairs), "at chance" (the endpoints are), "identical" (those of
    each pair are) or "not run" (no pair has all of its names; `missing` are those that no pair has).

    A claim with attack "none" is judged on clean accuracy and loss; one with "any", on each attack by itself.
    Raises ValueError naming the claim whose formula, split or attack is wrong.
    """
    verdicts, same = [], identical(pairs)
    sources = {"pairs": (pairs, QUANTITIES), "best": (tables.best_pair_table(best), tables.BEST_QUANTITIES)}
    for claim in claims.to_dict("records"):
        if claim["table"] not in TABLES:
            raise ValueError(
                f"claim {claim['claim']}: table is '{claim['table']}', but must be one of {', '.join(TABLES)}"
            )
        if claim["table"] not in sources:
            continue
        source, quantities = sources[claim["table"]]
        names = _names(claim, quantities)
        rows = _rows_of(claim, source)
        for study, group in rows.groupby(STUDY):
            wide = _wide(group, quantities).join(_signatures(signatures, study))
            missing = [name for name in names if name not in wide]
            values = wide.reindex(columns=names)
            found = values.eval(claim["formula"], engine="python").dropna()
            margin = found.drop([pair for pair in found.index if (*study[: len(tables.STUDY)], pair) in same])
            size = (splits or {}).get(study[0])
            images = size and getattr(size, claim["split"])
            resolution = _resolution(claim["formula"], values.loc[margin.index], images) if images else 0.0
            void = "identical" if len(found) and margin.empty else ""
            if size and len(margin) and _at_chance(_clean(pairs, study, claim), images, size.chance):
                void = "at chance"
            verdicts.append(_verdict(claim, study, margin, missing, resolution, void))
        if rows.empty:
            verdicts.append(_verdict(claim, ("", "", "", ""), pd.Series(dtype=np.float64), names))
    return pd.DataFrame(verdicts, columns=VERDICT_COLUMNS)


def identical(pairs):
    """The pairs of `tables.PAIRS` whose networks are equal up to the order of neurons: a set of (study, pair).

    Their straight line has length zero, without an alignment or with one.
    """
    return set(pairs[pairs["length"] == 0][[*tables.STUDY, "pair"]].itertuples(index=False, name=None))


def names_of(claim, pattern, known):
    """The names in a claim's formula, sorted. ValueError if it is more than arithmetic on names of `pattern`.

    known: the form of a name, in words, for the message.
    """
    try:
        nodes = list(ast.walk(ast.parse(claim["formula"], mode="eval")))
    except SyntaxError:
        nodes = [None]
    if not all(isinstance(node, ARITHMETIC) and not isinstance(getattr(node, "value", 0), str) for node in nodes):
        raise ValueError(
            f"claim {claim['claim']}: the formula '{claim['formula']}' must be arithmetic (+ - * /) on names"
            " that is positive where the claim holds: write 'a - b', not 'a > b'"
        )
    names = sorted({node.id for node in nodes if isinstance(node, ast.Name)})
    for name in names:
        if not re.fullmatch(pattern, name):
            raise ValueError(
                f"claim {claim['claim']}: unknown name '{name}' for table {claim['table']}: a name is {known}"
            )
    if not names:
        raise ValueError(f"claim {claim['claim']}: the formula '{claim['formula']}' names nothing that was measured")
    return names


def _names(claim, quantities):
    """`names_of` a claim on curves with these quantities."""
    known = "|".join(quantities)
    return names_of(
        claim,
        rf"\w+_signature_(before|after)|\w+_\w+?_({known})",
        f"<alignment>_<curve>_<quantity>, with a quantity of {', '.join(quantities)}, or <alignment>_signature_before"
        " or _after",
    )


def _rows_of(claim, pairs):
    clean = pairs["attack"] == "none"
    if claim["attack"] not in ("none", "any"):
        raise ValueError(f"claim {claim['claim']}: attack is '{claim['attack']}', but must be 'none' or 'any'")
    if claim["split"] not in ("train", "test"):
        raise ValueError(f"claim {claim['claim']}: split is '{claim['split']}', but must be 'train' or 'test'")
    return pairs[(pairs["split"] == claim["split"]) & (clean if claim["attack"] == "none" else ~clean)]


def _signatures(signatures, study):
    """One row a pair, columns <alignment>_signature_before and _after, for a study."""
    rows = signatures[(signatures[tables.STUDY] == list(study[: len(tables.STUDY)])).all(axis=1)]
    rows = rows[(rows["split"] == "test") & (rows["site"] == "post") & (rows["group"] != "logits")]
    means = rows.pivot_table(index="pair", columns="alignment", values=["before", "after"])
    return means.set_axis([f"{alignment}_signature_{when}" for when, alignment in means.columns], axis=1)


def _wide(pairs, quantities):
    """One row a pair, one column <alignment>_<curve>_<quantity>."""
    path = (pairs["alignment"] + "_" + pairs["curve"]).str.replace(r"\W", "_", regex=True)
    wide = pairs.assign(path=path).pivot(index="pair", columns="path", values=list(quantities))
    return wide.set_axis([f"{path}_{quantity}" for quantity, path in wide.columns], axis=1)


def _resolution(formula, values, images):
    """The resolution of a formula with `images` test images (see above); values: a frame, one row per pair."""
    if values.empty:
        return 0.0
    mean, step, variance = values.mean().to_frame().T, 1e-6, 0.0
    accuracies = [name for name in values if name.endswith("_accuracy")]
    for name in accuracies:
        moved = mean.assign(**{name: mean[name] + step})
        slope = (moved.eval(formula, engine="python") - mean.eval(formula, engine="python")).iloc[0] / step
        share = min(max(mean[name].iloc[0], 0.0), 1.0)
        variance += slope**2 * share * (1 - share) / images
    return max(RESOLUTION * float(np.sqrt(variance)), 1 / images) if accuracies else 0.0


def _clean(pairs, study, claim):
    """The rows of a study's pairs on the claim's split without attack."""
    same = (pairs[tables.STUDY] == list(study[: len(tables.STUDY)])).all(axis=1)
    return pairs[same & (pairs["split"] == claim["split"]) & (pairs["attack"] == "none")]


def _at_chance(rows, images, chance):
    """Whether the endpoints of these paths are no better than guessing; False if there are no paths."""
    return bool(len(rows)) and guesses(rows["endpoint_accuracy"].mean(), images, chance)


def guesses(accuracy: float, images: int, chance: float) -> bool:
    """Whether an accuracy on so many images is no better than `chance`, that of guessing."""
    return bool(accuracy <= chance + RESOLUTION * np.sqrt(chance * (1 - chance) / images))


def _verdict(claim, study, margin, missing, resolution=0.0, void=""):
    n, supported = len(margin), margin + claim["tolerance"]
    if void:
        verdict = void
    elif n == 0:
        verdict = "not run"
    elif n < claim["least_pairs"]:
        verdict = "too few to say"
    elif supported.min() < -resolution:
        verdict = "does not show"
    else:
        verdict = "shows" if supported.mean() > resolution else "too close to say"
    found = {"std": margin.std(), "resolution": resolution, "n": n, "verdict": verdict}
    return verdict_row(claim, study, margin, missing) | found


def verdict_row(claim, study, margin, missing):
    """A row of VERDICT_COLUMNS without `std`, `resolution`, `n` and `verdict`.

    margin: a series over pairs; missing: the names in the formula that no pair has.
    """
    return {
        **{name: claim[name] for name in ("claim", "statement", "source", "unit", "tolerance")},
        **dict(zip(STUDY, study)),
        "measured": margin.mean(),
        "worst_pair": margin.idxmin() if len(margin) else "",
        "worst": margin.min(),
        "missing": " ".join(missing),
    }


def compare(published, measured, table=tables.SUMMARY):
    """Each published row (of `table`, which is SUMMARY or BARRIER_SUMMARY) beside this run's, with `comparison`:

    - "equal": the means agree to six digits;
    - "inside", "outside" their interval, in which LEVEL of the means of n new pairs lie: published mean m with the
      standard error e of N pairs, m ± t(N - 1) e √(1 + N/n) with Student's t (the prediction interval for a mean of
      normal values; Hahn and Meeker 1991, 4.8), n this run's pairs. In SUMMARY pairs are independent, and e is s / √N
      for the standard deviation s; in BARRIER_SUMMARY they share networks, so networks are counted, and e is the
      jackknife's over them;
    - "far outside": outside also at the Bonferroni level, at which one of all numbers together lies outside by chance
      in 1 - LEVEL of the runs;
    - "no interval": one pair is published, which has no standard deviation, or several that agree, whose standard
      deviation of zero does not predict the next one;
    - "not run": this run has no such row.

    `low` and `high` are the interval at LEVEL.
    """
    rows = published.merge(measured, on=table.key, how="left", suffixes=("_published", ""))
    equal = np.isclose(rows["mean"], rows["mean_published"], rtol=1e-6, atol=1e-9)
    if "networks" in table.columns:
        there, here, error = rows["networks_published"], rows["networks"], rows["standard_error_published"]
    else:
        there, here = rows["n_published"], rows["n"]
        error = rows["std_published"] / np.sqrt(there)
    known = (error > 0) & rows["mean"].notna()
    error = error * np.sqrt(1 + there / here)
    freedom = (there - 1).clip(lower=1)
    away = (rows["mean"] - rows["mean_published"]).abs()
    inside = stdtrit(freedom, (1 + LEVEL) / 2) * error
    together = stdtrit(freedom, 1 - (1 - LEVEL) / 2 / max(int((known & ~equal).sum()), 1)) * error
    comparison = np.select(
        [rows["mean"].isna(), equal, ~known, away <= inside, away <= together],
        ["not run", "equal", "no interval", "inside", "outside"],
        "far outside",
    )
    low, high = rows["mean_published"] - inside, rows["mean_published"] + inside
    return rows.assign(low=low, high=high, comparison=comparison)


def text(summary, verdicts):
    """The result for a plain terminal: each recipe's numbers on the test split, and claims."""
    summary = summary[summary["split"] == "test"]
    blocks = []
    studies = {*summary[STUDY].itertuples(index=False, name=None), *verdicts[STUDY].itertuples(index=False, name=None)}
    # Claims that no study measures come last.
    for study in sorted(studies, key=lambda study: (not _title(study), study)):
        title = _title(study) or "Claims on what no study here measures"
        blocks.append(f"{title}\n{'=' * len(title)}")
        numbers, judged = (rows[(rows[STUDY] == list(study)).all(axis=1)] for rows in (summary, verdicts))
        blocks += [_numbers(numbers)] if len(numbers) else []
        blocks += [_claims(judged)] if len(judged) else []
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _title(study):
    return " / ".join(name for name in study if name not in ("", "none"))


def number_rows(summary):
    """Header and rows of cells: curves and alignments of one study (`tables.SUMMARY`), mean ± deviation over pairs."""
    shown = [
        *[("endpoint_accuracy", 100, 1), ("mean_accuracy", 100, 1), ("minimum_accuracy", 100, 1)],
        *[("loss_barrier_linear", 1, 3), ("error_barrier_linear", 100, 1)],
    ]
    rows = []
    for (alignment, curve), group in summary.groupby(["alignment", "curve"]):
        cells = group.set_index("quantity")
        numbers = [number(*cells.loc[name, ["mean", "std"]], scale, digits) for name, scale, digits in shown]
        rows.append([curve, alignment, *numbers, f"{cells['n'].iloc[0]:.0f}"])
    # The straight line and the unaligned pair come first, since the others are compared with them.
    rows.sort(key=lambda row: (row[0] != "linear", row[0], row[1] != "none", row[1]))
    return [["curve", "alignment", "endpoints", "mean", "minimum", "loss barrier", "error barrier", "n"], *rows]


def _numbers(summary):
    return f"{NUMBERS}\n\n{aligned(number_rows(summary), left=2)}"


def _claims(verdicts):
    not_run, same = (verdicts["verdict"] == verdict for verdict in ("not run", "identical"))
    parts = []
    if len(measured := verdicts[~not_run & ~same]):
        parts += ["Claims: by which margin each holds, mean over pairs and worst pair", _judged(measured)]
    if (verdicts["verdict"] == "too close to say").any():
        parts.append("Too close to say: within the effect of chance on the accuracies by the choice of test images.")
    if same.any():
        line = f"Not judged, since both networks of each pair are the same: {', '.join(verdicts['claim'][same])}."
        parts.append("\n".join(textwrap.wrap(line, WIDTH)))
    if not_run.any():
        parts.append("\n".join(textwrap.wrap(f"Not run here: {', '.join(verdicts['claim'][not_run])}.", WIDTH)))
    return "\n\n".join(parts)


def judged_row(row):
    """The cells, named by JUDGED, of one row of verdicts (VERDICT_COLUMNS) that is not *not run*."""
    scale, digits = (100, 1) if row["unit"] == "points" else (1, 3)
    margin = f"{number(row['measured'], row['std'], scale, digits, '+')} {row['unit']}"
    tolerance = f" (Tolerance: {scale * row['tolerance']:.{digits}f} {row['unit']}.)" if row["tolerance"] else ""
    worst = number(row["worst"], np.nan, scale, digits, "+")
    return [row["verdict"], margin, worst, str(row["n"]), f"{row['statement']}{tolerance}"]


def _judged(verdicts):
    found = [JUDGED, *map(judged_row, verdicts.to_dict("records"))]
    rows, statements = [cells[:-1] for cells in found], [cells[-1] for cells in found]
    lines = aligned(rows, left=1).splitlines()
    indent = " " * (len(lines[0]) + 2)
    wrapped = (f"\n{indent}".join(textwrap.wrap(statement, WIDTH - len(indent))) for statement in statements)
    return "\n".join(f"{line}  {statement}" for line, statement in zip(lines, wrapped))


def comparison_text(*comparisons):
    """How many of a run's numbers agree with published ones, and which are far outside, from the rows of `compare`."""
    rows = [row for comparison in comparisons for row in comparison.to_dict("records")]
    if not rows:
        return "Published numbers: none for this config."
    counts = Counter(row["comparison"] for row in rows)
    parts = []
    if equal := counts.get("equal", 0):
        parts.append(f"{equal} equal")
    others = " others" if equal else ""
    outside = counts.get("outside", 0) + counts.get("far outside", 0)
    if judged := counts.get("inside", 0) + outside:
        parts.append(
            f"{judged - outside} of {judged}{others} inside their {LEVEL:.0%} interval, of which about "
            f"{(1 - LEVEL) * judged:.0f} are expected outside by chance"
        )
    if unknown := counts.get("no interval", 0):
        parts.append(f"{unknown}{others} without an interval (one pair published, or values without a spread)")
    if absent := counts.get("not run", 0):
        parts.append(f"{absent} not run")
    lines = textwrap.wrap(f"Published numbers: {'; '.join(parts)}.", WIDTH)
    for row in rows:
        if row["comparison"] != "far outside":
            continue
        name = " ".join(row[name] for name in dict.fromkeys([*tables.GROUP, "correction", "quantity"]) if name in row)
        line = f"far outside: {name}: {row['mean']:.4f}, published {row['low']:.4f} to {row['high']:.4f}"
        lines += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)
