"""Judge claims on all pairs of many networks from the table of barriers, and write them as text for the terminal.

A name in a formula is <alignment>_<quantity>, for example none_loss_barrier_max_endpoint, or, for corrected networks,
<alignment>_<correction>_<quantity>, for example none_temperature_loss_barrier_max_endpoint. The margin of a claim is
the mean of its formula over all pairs of a network by a recipe. Pairs share networks, so they are not independent: the
standard error of that mean is the jackknife's over networks, which leaves out each network with all of its pairs.

Let m be the margin plus the tolerance. A claim shows if m is above RESOLUTION standard errors, does not show if m is
below minus RESOLUTION standard errors, and is too close to say otherwise.
"""

import textwrap
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from modeconn import provenance, tables
from modeconn.claims import RESOLUTION, STUDY, VERDICT_COLUMNS, WIDTH, guesses, names_of, verdict_row
from modeconn.text import aligned, number

QUANTITIES = tuple(name for name in tables.BARRIERS.columns if "barrier" in name)
CONNECTED = 0.02  # error above the interpolant below which two networks count as connected (Sharma et al. 2024)

NUMBERS = (
    "Barriers between all pairs (test loss above the worse end: nats; error above the interpolant:\n"
    f"points), mean and deviation over n pairs; connected: error barrier below {CONNECTED:.0%}"
)


def at_chance(interpolations: pd.DataFrame, splits: Mapping[str, provenance.Splits]) -> set[tuple]:
    """The values of STUDY of populations that are no better than guessing on test images, in the median over pairs.

    interpolations: `tables.INTERPOLATIONS`; splits: data set -> how many images it has, and what guessing gives.
    """
    ends = interpolations[interpolations["t"].isin([0, 1]) & (interpolations["quantity"] == "accuracy")]
    return {
        group
        for group, rows in ends[ends["split"] == "test"].groupby(STUDY)
        if (size := splits.get(str(group[0]))) and guesses(rows["median"].mean(), size.test, size.chance)
    }


def judge(claims: pd.DataFrame, barriers: pd.DataFrame, guessing: Collection[tuple] = ()) -> pd.DataFrame:
    """The verdict on each claim on `barriers` (`tables.BARRIERS`) for each network and recipe, with VERDICT_COLUMNS.

    guessing: from `at_chance`; these populations are not judged, since networks that guess have no barrier under any
    permutation. `std` is the standard error, `n` the number of networks. Raises ValueError naming the claim whose
    formula is wrong.
    """
    verdicts = []
    for claim in claims[claims["table"] == "barriers"].to_dict("records"):
        pattern = rf"\w+_({'|'.join(QUANTITIES)})"
        meant = "<alignment>_<quantity> or <alignment>_<correction>_<quantity>, with a quantity of"
        names = names_of(claim, pattern, f"{meant} {', '.join(QUANTITIES)}")
        rows = barriers[(barriers["split"] == claim["split"]) & (barriers["attack"] == claim["attack"])]
        for group, of_network in rows.groupby(STUDY):
            wide = tables.corrected(of_network, "_").pivot(index="pair", columns="alignment", values=list(QUANTITIES))
            wide = wide.set_axis([f"{alignment}_{quantity}" for quantity, alignment in wide.columns], axis=1)
            missing = [name for name in names if name not in wide]
            margin = wide.reindex(columns=names).eval(claim["formula"], engine="python").dropna()
            error, n = standard_error(margin)
            row = by_error(claim, group, margin, missing, error, n, error)
            verdicts.append(row | ({"verdict": "at chance"} if n and group in guessing else {}))
        if rows.empty and len(barriers):
            verdicts.append(not_run(claim, names))
    return pd.DataFrame(verdicts, columns=VERDICT_COLUMNS)


def standard_error(values: pd.Series) -> tuple[float, int]:
    """(jackknife standard error of the mean of `values`, number of networks); the index names pairs, "3-17".

    NaN for fewer than three networks.
    """
    if values.empty:
        return float("nan"), 0
    ends = values.index.str.split("-", n=1)
    networks, names = pd.factorize(np.concatenate([ends.str[0], ends.str[1]]))
    n = len(names)
    if n < 3:
        return float("nan"), n
    pairs, sums = (np.bincount(networks, weights, n) for weights in (None, np.tile(values, 2)))
    with np.errstate(invalid="ignore"):  # without one network no pair may be left
        left_out = (values.sum() - sums) / (len(values) - pairs)
    return float(np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum())), n


def by_error(
    claim: dict, group: Sequence, margin: pd.Series, missing: Sequence[str], error: float, n: int, std: float
) -> dict:
    """The verdict on a claim by the standard error of its mean margin: a row of VERDICT_COLUMNS.

    group: the values of STUDY; margin: a value a pair; missing: names in the formula that no pair has; error: the
    standard error; n: the number that is compared with the claim's least_pairs; std: the deviation that is reported.
    """
    supported = margin.mean() + claim["tolerance"]
    if n == 0:
        verdict = "not run"
    elif n < claim["least_pairs"] or np.isnan(error):
        verdict = "too few to say"
    elif abs(supported) <= RESOLUTION * error:
        verdict = "too close to say"
    else:
        verdict = "shows" if supported > 0 else "does not show"
    found = {"std": std, "resolution": RESOLUTION * error, "n": n, "verdict": verdict}
    return verdict_row(claim, group, margin, missing) | found


def not_run(claim: dict, missing: Sequence[str], group: Sequence = ("", "", "", "")) -> dict:
    """The verdict on a claim on what no pair has: a row of VERDICT_COLUMNS. group, missing: as in `by_error`."""
    return by_error(claim, group, pd.Series(dtype=np.float64), missing, np.nan, 0, np.nan)


def text(barriers: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """Text for the terminal: by data set and recipe the barriers of each network, and the verdict on each claim."""
    blocks = []
    for (dataset, recipe), rows in barriers[barriers["split"] == "test"].groupby(["dataset", "recipe"]):
        title = f"{dataset} / {recipe}"
        blocks += [f"{title}\n{'=' * len(title)}", f"{NUMBERS}\n\n{aligned(number_rows(rows), left=2)}"]
        judged = verdicts[(verdicts["dataset"] == dataset) & (verdicts["recipe"] == recipe)]
        order = rows.drop_duplicates("network").sort_values("width")["network"].tolist()
        blocks.append("\n".join(_said(judged, order)))
    return "\n\n".join(blocks) + "\n" if blocks else ""


def number_rows(rows: pd.DataFrame) -> list[list[str]]:
    """Header and rows of cells: the barriers of each network and alignment, from `tables.BARRIERS` of one recipe."""
    lines = [["network", "alignment", "units", "loss barrier", "error barrier", "connected", "n"]]
    for (_, network, alignment), pairs in tables.corrected(rows, " + ").groupby(["width", "network", "alignment"]):
        loss, error = pairs["loss_barrier_max_endpoint"], pairs["error_barrier_linear"]
        lines.append(
            [
                *[str(network), str(alignment), f"{pairs['width'].iloc[0]:.0f}"],
                *[number(loss.mean(), loss.std(), 1, 3), number(error.mean(), error.std(), 100, 1)],
                *[f"{(error < CONNECTED).mean():.0%}", str(len(pairs))],
            ]
        )
    return lines


def _said(verdicts, networks):
    """Lines of text: each claim, and by verdict the networks that have it."""
    for _, rows in verdicts.groupby("claim", sort=False):
        found = dict(zip(rows["network"], rows["verdict"]))
        yield textwrap.fill(rows["statement"].iloc[0], WIDTH)
        for verdict in dict.fromkeys(rows["verdict"]):
            line = f"{verdict}: {', '.join(name for name in networks if found.get(name) == verdict)}"
            yield textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent="        ")
