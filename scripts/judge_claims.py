"""Judge the claims of a study from its tables, and write the result as a table and as text for the terminal.

Each claim of the claims file is a formula over a table; the modules that judge them explain how. If
a file of published numbers is given, the summary table is compared with it. The text has the numbers of each recipe,
the verdicts, and the differences from the published numbers. A claim that does not show is a finding, not an error.
"""

import argparse
import json
import textwrap
from pathlib import Path

from modeconn import claims, cost, errors, manifests, population_claims, provenance, simultaneous_claims, tables

# isort: split
import pandas as pd  # after ours, which installs the handler of Ctrl-C

# The tables that claims and the text use.
TABLES = {
    "pairs": tables.PAIRS,
    "best": tables.BEST,
    "summary": tables.SUMMARY,
    "signatures": tables.SIGNATURE,
    "barriers": tables.BARRIERS,
    "barrier_summary": tables.BARRIER_SUMMARY,
    "interpolations": tables.INTERPOLATIONS,
    "simultaneous": tables.SIMULTANEOUS,
    "masks": tables.MASKS,
}


def together(*verdicts):
    """The rows of all frames. Next to an empty frame numbers would become objects, which are not rounded."""
    return pd.concat([frame for frame in verdicts if len(frame)] or [verdicts[0]])


def remarks(lines):
    """The end of the text where there are remarks on the data, one line each."""
    if not lines:
        return ""
    wrapped = (textwrap.fill(line, claims.WIDTH, initial_indent="  ", subsequent_indent="      ") for line in lines)
    return "\n".join(["", "Look at the data, before believing these numbers:", *wrapped, ""])


def of_identical(pairs):
    """A line for each pair whose networks are the same."""
    return [
        f"{' / '.join(study)}: both networks of pair {pair} are the same, up to the order of their neurons: nothing is "
        "judged of it"
        for *study, pair in sorted(claims.identical(pairs))
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    inputs = parser.add_argument_group("inputs")
    for name in TABLES:
        inputs.add_argument(f"--{name}-table", metavar="CSV", help="from make_tables.py (default: no rows)")
    inputs.add_argument("--claims", required=True, metavar="CSV", help="claims and their formulas (config/claims.csv)")
    inputs.add_argument(
        "--networks", type=json.loads, metavar="JSON", help="the values of the config's networks, by name"
    )
    inputs.add_argument("--data", nargs="*", default=[], metavar="FILE", help="data sets, from prepare_data")
    inputs.add_argument("--published", metavar="CSV", help="rows of the table summary to compare with")
    inputs.add_argument("--published-barriers", metavar="CSV", help="rows of the table barrier_summary, likewise")
    inputs.add_argument(
        "--paper",
        nargs="*",
        default=[],
        metavar="TXT",
        help="texts from compare_paper.py and compare_targets.py, with which the result ends",
    )
    inputs.add_argument("--remarks", nargs="*", default=[], metavar="TXT", help="from prepare_data.py")
    inputs.add_argument("--partial", metavar="TEXT", help="how many of the planned curves are complete")
    made = parser.add_argument_group("outputs")
    made.add_argument("--verdicts-table", required=True, metavar="CSV", help="one row a claim and recipe")
    made.add_argument("--comparison-table", required=True, metavar="CSV", help="one row a published number")
    made.add_argument("--barrier-comparison-table", required=True, metavar="CSV", help="likewise, of populations")
    made.add_argument("--text", required=True, metavar="TXT", help="the result for a terminal, 100 columns")
    arguments = parser.parse_args()

    given = {name: getattr(arguments, f"{name}_table") for name in TABLES}
    found = {name: tables.read([path] if path else [], TABLES[name]) for name, path in given.items()}
    pairs, best, summary, signatures, barriers, barrier_summary, interpolations, simultaneous, masks = found.values()
    # The name of a data set is that of its file, without the hash of its values.
    splits = {Path(path).stem.rpartition("-")[0]: provenance.splits(path) for path in arguments.data}
    rows = tables.read([arguments.claims], tables.CLAIMS)
    # Read before claims are judged, so that what is damaged is said at once.
    papers = [manifests.read_text(path) for path in arguments.paper]
    remarked = "".join(map(manifests.read_text, arguments.remarks)).splitlines()
    verdicts = claims.judge(rows, pairs, best, signatures, splits)
    guessing = population_claims.at_chance(interpolations, splits)
    of_populations = population_claims.judge(rows, barriers, guessing)
    of_moments = together(
        simultaneous_claims.judge(rows, simultaneous, masks),
        simultaneous_claims.judge_widths(rows, barriers, guessing, arguments.networks),
    )
    comparisons = [
        claims.compare(tables.read([path] if path else [], table), measured, table)
        for path, measured, table in (
            (arguments.published, summary, tables.SUMMARY),
            (arguments.published_barriers, barrier_summary, tables.BARRIER_SUMMARY),
        )
    ]
    parts = [
        population_claims.text(barriers, of_populations),
        simultaneous_claims.text(simultaneous, masks, of_moments),
    ]
    parts += [claims.text(summary, verdicts)] if len(pairs) or not any(parts) else []
    if len(pairs) or any(map(len, comparisons)):
        parts.append(claims.comparison_text(*comparisons) + "\n")
    text = "\n".join(part for part in parts if part)
    if arguments.partial is not None:
        text = f"PARTIAL: jobs failed, and {arguments.partial} curves are complete.\n\n{text}"
    for paper in papers:
        text += f"\n{paper}"
    text += remarks(remarked + of_identical(pairs))
    outputs = {
        arguments.verdicts_table: tables.csv(together(verdicts, of_populations, of_moments)),
        arguments.comparison_table: tables.csv(comparisons[0]),
        arguments.barrier_comparison_table: tables.csv(comparisons[1]),
        arguments.text: text.encode(),
    }
    names = [*(f"{name}_table" for name in TABLES), "data", "remarks", "paper", "claims"]
    names += ["published", "published_barriers"]
    manifests.write_all("judge_claims", outputs, {name: getattr(arguments, name) for name in names})
    cost.write(arguments.verdicts_table)


if __name__ == "__main__":
    with errors.in_one_line():
        main()
