"""Join what the jobs measured into the study's tables.

Reads the evaluation of every curve, the history of every training and curve fit, the signature of every alignment and
the selection of the best network on every curve, and writes CSV tables: each point of each curve, each curve with its
averages and barriers, their mean and standard deviation over pairs, the training histories, the signatures, and the
best networks with their mean and standard deviation over pairs. Accuracies are fractions, losses are in nats.
"""

import argparse
import sys

from modeconn import cost, files, tables


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument("--evaluations", nargs="+", required=True, metavar="CSV", help="points along a curve")
    inputs.add_argument("--histories", nargs="*", default=[], metavar="CSV", help="loss and accuracy against epoch")
    inputs.add_argument("--signatures", nargs="*", default=[], metavar="CSV", help="mean correlation of each group")
    inputs.add_argument("--selections", nargs="*", default=[], metavar="CSV", help="the best network on each curve")
    made = parser.add_argument_group("outputs")
    made.add_argument("--curves-table", required=True, metavar="CSV", help="one row a point of a curve")
    made.add_argument("--pairs-table", required=True, metavar="CSV", help="one row a curve: averages and barriers")
    made.add_argument("--summary-table", required=True, metavar="CSV", help="mean, std and n over pairs, long")
    made.add_argument("--training-table", required=True, metavar="CSV", help="one row an epoch")
    made.add_argument("--signatures-table", required=True, metavar="CSV", help="one row a group of an alignment")
    made.add_argument("--best-table", required=True, metavar="CSV", help="one row a network or ensemble and attack")
    made.add_argument("--best-summary-table", required=True, metavar="CSV", help="their mean, std and n over pairs")
    arguments = parser.parse_args()

    curves = tables.ordered(tables.read(arguments.evaluations, tables.EVALUATION), tables.EVALUATION)
    pairs = tables.pair_table(curves)
    training = tables.ordered(tables.read(arguments.histories, tables.HISTORY), tables.HISTORY)
    signatures = tables.ordered(tables.read(arguments.signatures, tables.SIGNATURE), tables.SIGNATURE)
    best = tables.ordered(tables.read(arguments.selections, tables.BEST), tables.BEST)
    outputs = {
        arguments.curves_table: tables.csv(curves),
        arguments.pairs_table: tables.csv(pairs),
        arguments.summary_table: tables.csv(tables.summary_table(pairs)),
        arguments.training_table: tables.csv(training),
        arguments.signatures_table: tables.csv(signatures),
        arguments.best_table: tables.csv(best),
        arguments.best_summary_table: tables.csv(tables.best_summary_table(best)),
    }
    for path, content in outputs.items():
        files.write_bytes(path, content)
    cost.write(arguments.curves_table)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"make_tables.py: {error}")
