"""Judge a study's claims by its tables, and compare its numbers with published ones.

A claim is a row of `claims.csv`. Its formula gives one number for each pair of networks, the margin, which is positive
where the claim holds. A name in it is <alignment>_<curve>_<quantity>, for example activation_bezier_minimum_accuracy:
what an alignment and a curve are called in the config (with _ for other characters) and a column of the pairs table,
or one of `tables.BEST_QUANTITIES`, of the best network on the curve and what it is compared with; or
<alignment>_signature_before or _after: mean correlation of the neurons that it matches, over all groups of channels.
The claim shows if the margin of *every* pair is above -tolerance: a mean could hide a pair that contradicts it.
"""

import ast
import re
import textwrap

import numpy as np
import pandas as pd

from modeconn import tables
from modeconn.barriers import QUANTITIES
from modeconn.layout import aligned, number

STUDY = [*tables.STUDY, "attack"]
VERDICT_COLUMNS = [
    *["claim", "statement", "source", "unit", "tolerance", *STUDY],
    *["measured", "std", "worst_pair", "worst", "n", "verdict", "missing"],
]
ARITHMETIC = (
    *[ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant, ast.Load],
    *[ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub],
)
WIDTH = 100


def judge(claims, pairs, best, signatures):
    """The verdict on each claim (`tables.CLAIMS`) for each dataset, network, recipe and attack of `tables.PAIRS`.

    A claim on the best networks on curves is judged for each of those of `tables.BEST`.
    signatures: `tables.SIGNATURE`; those on the test split, after the nonlinearity, can be named in a claim.

    Returns a frame with `VERDICT_COLUMNS`: mean (`measured`), standard deviation and lowest value (`worst`, that of
    `worst_pair`) of the margin over n pairs. The verdict is "shows", "does not show", "too few to say" (n below the
    claim's least_pairs) or "not run" (no pair has all of its names; `missing` are those that no pair has).

    A claim with attack "none" is judged on clean accuracy and loss; one with "any", on each attack by itself.
    Raises ValueError naming the claim whose formula, split or attack is wrong.
    """
    verdicts = []
    sources = [(pairs, QUANTITIES), (tables.best_pair_table(best), tables.BEST_QUANTITIES)]
    for claim in claims.to_dict("records"):
        names, measured = _names(claim)
        source, quantities = next(source for source in sources if measured <= set(source[1]))
        rows = _rows_of(claim, source)
        for study, group in rows.groupby(STUDY):
            wide = _wide(group, quantities).join(_signatures(signatures, study))
            missing = [name for name in names if name not in wide]
            margin = wide.reindex(columns=names).eval(claim["formula"], engine="python").dropna()
            verdicts.append(_verdict(claim, study, margin, missing))
        if rows.empty:
            verdicts.append(_verdict(claim, ("", "", "", ""), pd.Series(dtype=np.float64), names))
    return pd.DataFrame(verdicts, columns=VERDICT_COLUMNS)


def _names(claim):
    """The names in a claim's formula, sorted, and the set of their quantities.

    ValueError if it is more than arithmetic on known names, or mixes those of paths with those of best networks.
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
    known, measured = (*QUANTITIES, *tables.BEST_QUANTITIES), set()
    for name in names:
        if re.fullmatch(r"\w+_signature_(before|after)", name):
            continue
        match = re.fullmatch(rf"\w+_\w+?_({'|'.join(known)})", name)
        if match is None:
            raise ValueError(
                f"claim {claim['claim']}: unknown name '{name}': a name is <alignment>_<curve>_<quantity>,"
                f" with a quantity of {', '.join(known)}, or <alignment>_signature_before or _after"
            )
        measured |= {match.group(1)} - {None}  # signatures go with either kind
    if not names:
        raise ValueError(f"claim {claim['claim']}: the formula '{claim['formula']}' names nothing that was measured")
    if not (measured <= set(QUANTITIES) or measured <= set(tables.BEST_QUANTITIES)):
        raise ValueError(
            f"claim {claim['claim']}: the formula '{claim['formula']}' mixes quantities of paths with those of the best"
            f" networks on them ({', '.join(tables.BEST_QUANTITIES)}): make two claims of it"
        )
    return names, measured


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


def _verdict(claim, study, margin, missing):
    n = len(margin)
    if n == 0:
        verdict = "not run"
    elif n < claim["least_pairs"]:
        verdict = "too few to say"
    else:
        verdict = "shows" if margin.min() > -claim["tolerance"] else "does not show"
    return {
        **{name: claim[name] for name in ("claim", "statement", "source", "unit", "tolerance")},
        **dict(zip(STUDY, study)),
        "measured": margin.mean(),
        "std": margin.std(),
        "worst_pair": margin.idxmin() if n else "",
        "worst": margin.min(),
        "n": n,
        "verdict": verdict,
        "missing": " ".join(missing),
    }


def compare(published, summary):
    """Each published row (`tables.SUMMARY`) beside this run's, with `comparison`:

    - "equal": the means agree to six digits;
    - "within spread": they differ by at most two standard deviations over pairs, the published ones or, where none
      are published (one pair), this run's;
    - "outside": neither;
    - "not run": this run has no such row.
    """
    rows = published.merge(summary, on=tables.SUMMARY.key, how="left", suffixes=("_published", ""))
    equal = np.isclose(rows["mean"], rows["mean_published"], rtol=1e-6, atol=1e-9)
    spread = 2 * rows["std_published"].fillna(rows["std"]).fillna(0)
    comparison = np.select(
        [rows["mean"].isna(), equal, (rows["mean"] - rows["mean_published"]).abs() <= spread],
        ["not run", "equal", "within spread"],
        "outside",
    )
    return rows.assign(comparison=comparison)


def text(summary, verdicts, comparison):
    """The result for a plain terminal: each recipe's numbers on the test split and claims, then the comparison."""
    summary = summary[summary["split"] == "test"]
    blocks = []
    studies = {*summary[STUDY].itertuples(index=False, name=None), *verdicts[STUDY].itertuples(index=False, name=None)}
    # Last what no study measures.
    for study in sorted(studies, key=lambda study: (not _title(study), study)):
        title = _title(study) or "measured nowhere"
        blocks.append(f"{title}\n{'=' * len(title)}")
        numbers, judged = (rows[(rows[STUDY] == list(study)).all(axis=1)] for rows in (summary, verdicts))
        blocks += [_numbers(numbers)] if len(numbers) else []
        blocks += [_claims(judged)] if len(judged) else []
    return "\n\n".join([*blocks, _comparison(comparison)]) + "\n"


def _title(study):
    return " / ".join(name for name in study if name not in ("", "none"))


def _numbers(summary):
    shown = [
        *[("endpoint_accuracy", 100, 1), ("mean_accuracy", 100, 1), ("minimum_accuracy", 100, 1)],
        *[("loss_barrier_linear", 1, 3), ("error_barrier_linear", 100, 1)],
    ]
    rows = []
    for (alignment, curve), group in summary.groupby(["alignment", "curve"]):
        cells = group.set_index("quantity")
        numbers = [number(*cells.loc[name, ["mean", "std"]], scale, digits) for name, scale, digits in shown]
        rows.append([curve, alignment, *numbers, f"{cells['n'].iloc[0]:.0f}"])
    # The straight line and the unaligned pair are what the others are compared with: they come first.
    rows.sort(key=lambda row: (row[0] != "linear", row[0], row[1] != "none", row[1]))
    header = ["curve", "alignment", "endpoints", "mean", "minimum", "loss barrier", "error barrier", "n"]
    title = "Test accuracy (%), and barriers above the endpoints' interpolant (loss: nats, error: points)"
    return f"{title}\n\n{aligned([header, *rows], left=2)}"


def _claims(verdicts):
    not_run = verdicts["verdict"] == "not run"
    parts = []
    if not not_run.all():
        parts += ["Claims: by which margin each holds, mean over pairs and worst pair", _judged(verdicts[~not_run])]
    if not_run.any():
        parts.append("\n".join(textwrap.wrap(f"Not run here: {', '.join(verdicts['claim'][not_run])}.", WIDTH)))
    return "\n\n".join(parts)


def _judged(verdicts):
    rows, statements = [["verdict", "margin", "worst", "n"]], ["claim"]
    for row in verdicts.to_dict("records"):
        scale, digits = (100, 1) if row["unit"] == "points" else (1, 3)
        margin = f"{number(row['measured'], row['std'], scale, digits, '+')} {row['unit']}"
        rows.append([row["verdict"], margin, number(row["worst"], np.nan, scale, digits, "+"), str(row["n"])])
        tolerance = f" (Tolerance: {scale * row['tolerance']:.{digits}f} {row['unit']}.)" if row["tolerance"] else ""
        statements.append(f"{row['statement']}{tolerance}")
    lines = aligned(rows, left=1).splitlines()
    indent = " " * (len(lines[0]) + 2)
    wrapped = (f"\n{indent}".join(textwrap.wrap(statement, WIDTH - len(indent))) for statement in statements)
    return "\n".join(f"{line}  {statement}" for line, statement in zip(lines, wrapped))


def _comparison(comparison):
    if comparison.empty:
        return "Published numbers: none for this config."
    counts = sorted(comparison["comparison"].value_counts().items())
    lines = [f"Published numbers: {', '.join(f'{n} {name}' for name, n in counts)}."]
    for row in comparison[comparison["comparison"] == "outside"].to_dict("records"):
        published = number(row["mean_published"], row["std_published"], 1, 4)
        lines.append(f"  {' '.join(row[name] for name in tables.SUMMARY.key)}")
        lines.append(f"      outside: {number(row['mean'], row['std'], 1, 4)}, published {published}")
    return "\n".join(lines)
