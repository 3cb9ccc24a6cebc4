"""The tables of the alignment study (Tatro et al. 2020): pairs of networks, and the curves between them."""

import pandas as pd

from modeconn import permutation_tables, tables


def tabulate(measured: dict[str, list[str]]) -> dict[str, pd.DataFrame]:
    """The points of curves, the averages and barriers of each curve, and their mean and deviation over pairs.

    Also the spectrum of the loss along each curve, the agreement of permutations of a pair, and the other measurements
    in a fixed order.
    """
    curves = tables.joined(measured["evaluations"], tables.EVALUATION)
    pairs = tables.pair_table(curves)
    signatures = tables.joined(measured["signatures"], tables.SIGNATURE)
    best = tables.joined(measured["selections"], tables.BEST)
    permutations = permutation_tables.compare(measured["permutations"], signatures)
    return {
        "curves": curves,
        "pairs": pairs,
        "summary": tables.summary_table(pairs),
        "signatures": signatures,
        "spectrum": tables.spectrum_table(curves),
        "planes": tables.joined(measured["planes"], tables.PLANE),
        "marks": tables.joined(measured["marks"], tables.MARKS),
        "activations": tables.joined(measured["activations"], tables.ACTIVATIONS),
        "candidates": tables.joined(measured["scores"], tables.CANDIDATES),
        "permutations": tables.ordered(permutations, tables.PERMUTATIONS),
        "best": best,
        "best_summary": tables.best_summary_table(best),
    }
