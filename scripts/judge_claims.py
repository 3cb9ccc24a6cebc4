"""Judge the claims of a study from its tables, and write the result as a table and as text for the terminal.

Each claim of the claims file is a formula over a table; it is judged by whether every pair of networks supports it. If
a file of published numbers is given, the summary table is compared with it. The text has the numbers of each recipe,
the verdicts, and the differences from the published numbers. A claim that does not show is a finding, not an error.
"""

import argparse
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
    "interpolations": tables.INTERPOLATIONS,
    "simultaneous": tables.SIMULTANEOUS,
    "masks": tables.MASKS,
}


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
    inputs.add_argument("--data", nargs="*", default=[], metavar="FILE", help="data sets, from prepare_data")
    inputs.add_argument("--published", metavar="CSV", help="rows of a summary table to compare with")
    inputs.add_argument(
        "--paper", nargs="*", default=[], metavar="TXT", help="from compare_paper.py, compare_targets.py: how it ends"
    )
    inputs.add_argument("--remarks", nargs="*", default=[], metavar="TXT", help="from prepare_data.py")
    inputs.add_argument("--partial", metavar="TEXT", help="how many curves of those asked for are whole")
    made = parser.add_argument_group("outputs")
    made.add_argument("--verdicts-table", required=True, metavar="CSV", help="one row a claim and recipe")
    made.add_argument("--comparison-table", required=True, metavar="CSV", help="one row a published number")
    made.add_argument("--text", required=True, metavar="TXT", help="the result for a terminal, 100 columns")
    arguments = parser.parse_args()

    given = {name: getattr(arguments, f"{name}_table") for name in TABLES}
    found = {name: tables.read([path] if path else [], TABLES[name]) for name, path in given.items()}
    pairs, best, summary, signatures, barriers, interpolations, simultaneous, masks = found.values()
    # The name of a data set is that of its file, without the hash of its values.
    splits = {Path(path).stem.rpartition("-")[0]: provenance.splits(path) for path in arguments.data}
    rows = tables.read([arguments.claims], tables.CLAIMS)
    # Read before claims are judged, so that what is damaged is said at once.
    papers = [manifests.read_text(path) for path in arguments.paper]
    remarked = "".join(map(manifests.read_text, arguments.remarks)).splitlines()
    verdicts = claims.judge(rows, pairs, best, signatures, splits)
    guessing = population_claims.at_chance(interpolations, splits)
    of_populations = population_claims.judge(rows, barriers, guessing)
    of_moments = simultaneous_claims.judge(rows, simultaneous, masks)
    of_widths = simultaneous_claims.judge_widths(rows, barriers, guessing)
    of_moments = pd.concat([v for v in (of_moments, of_widths) if len(v)] or [of_moments])
    published = tables.read([arguments.published] if arguments.published else [], tables.SUMMARY)
    comparison = claims.compare(published, summary)
    parts = [
        population_claims.text(barriers, of_populations),
        simultaneous_claims.text(simultaneous, masks, of_moments),
    ]
    text = "\n".join(part for part in parts if part)
    if len(pairs) or not text:
        text += claims.text(summary, verdicts, comparison)
    if arguments.partial is not None:
        text = f"PARTIAL: {arguments.partial} curves are whole, since jobs failed.\n\n{text}"
    for paper in papers:
        text += f"\n{paper}"
    text += remarks(remarked + of_identical(pairs))
    outputs = {
        # Concatenated with an empty frame, numbers would become objects, which are not rounded.
        arguments.verdicts_table: tables.csv(
            pd.concat([v for v in (verdicts, of_populations, of_moments) if len(v)] or [verdicts])
        ),
        arguments.comparison_table: tables.csv(comparison),
        arguments.text: text.encode(),
    }
    names = (*(f"{name}_table" for name in TABLES), "data", "remarks", "paper", "claims", "published")
    manifests.write_all("judge_claims", outputs, {name: getattr(arguments, name) for name in names})
    cost.write(arguments.verdicts_table)


if __name__ == "__main__":
    with errors.in_one_line():
        main()
