"""Join what the jobs measured into the study's tables.

Reads the evaluation of every curve, the history of every training and curve fit and the signature of every alignment,
and what was measured besides: planes, activations along curves, refinements, permutations and the best network on every
curve. Writes CSV tables: each point of each curve, each curve with its averages and barriers, their mean and standard
deviation over pairs, the spectrum of the loss along each curve, how far the permutations of a pair agree, in which
environments it was computed, and the rest as it was measured, in one order. Accuracies are fractions, losses
are in nats.
"""

import argparse
from pathlib import Path

from modeconn import agreement, cost, manifests, mistakes, provenance, tables
from modeconn.identity import digest


class Parser(argparse.ArgumentParser):
    """Names the file `listed` that arguments were read from: what is wrong with them may be wrong there."""

    listed = None

    def error(self, message):
        where = f" (arguments are read from {self.listed}: is it damaged?)" if self.listed else ""
        raise ValueError(f"{message}{where}")


def main():
    # A study may have more files than a command line holds.
    listing = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    listing.add_argument("--measurements", metavar="TXT", help="a file with the options that name inputs, one a line")
    listing.add_argument("--listed", metavar="DIGEST", help="of the lines of this file; checked if given")
    listed, words = listing.parse_known_args()

    parser = Parser(description=__doc__, allow_abbrev=False, parents=[listing])
    parser.listed = listed.measurements
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument("--evaluations", nargs="+", required=True, metavar="CSV", help="points along a curve")
    inputs.add_argument("--histories", nargs="*", default=[], metavar="CSV", help="loss and accuracy against epoch")
    inputs.add_argument("--signatures", nargs="*", default=[], metavar="CSV", help="mean correlation of each group")
    inputs.add_argument("--planes", nargs="*", default=[], metavar="CSV", help="points of a plane")
    inputs.add_argument("--marks", nargs="*", default=[], metavar="CSV", help="networks and curve in a plane")
    inputs.add_argument("--activations", nargs="*", default=[], metavar="CSV", help="how alike to the endpoints")
    inputs.add_argument("--scores", nargs="*", default=[], metavar="CSV", help="loss of a refinement's candidates")
    inputs.add_argument("--permutations", nargs="*", default=[], metavar="FILE", help="permutations (safetensors)")
    inputs.add_argument("--selections", nargs="*", default=[], metavar="CSV", help="the best network on each curve")
    inputs.add_argument("--artifacts", nargs="*", default=[], metavar="FILE", help="what was computed (safetensors)")
    made = parser.add_argument_group("outputs")
    made.add_argument("--curves-table", required=True, metavar="CSV", help="one row a point of a curve")
    made.add_argument("--pairs-table", required=True, metavar="CSV", help="one row a curve: averages and barriers")
    made.add_argument("--summary-table", required=True, metavar="CSV", help="mean, std and n over pairs, long")
    made.add_argument("--training-table", required=True, metavar="CSV", help="one row an epoch")
    made.add_argument("--signatures-table", required=True, metavar="CSV", help="one row a group of an alignment")
    made.add_argument("--spectrum-table", required=True, metavar="CSV", help="one row a wave number of a curve")
    made.add_argument("--planes-table", required=True, metavar="CSV", help="one row a point of a plane")
    made.add_argument("--marks-table", required=True, metavar="CSV", help="one row a network or point of a curve")
    made.add_argument("--activations-table", required=True, metavar="CSV", help="one row a group, t and endpoint")
    made.add_argument("--candidates-table", required=True, metavar="CSV", help="one row a candidate of a refinement")
    made.add_argument("--permutations-table", required=True, metavar="CSV", help="one row a group of two alignments")
    made.add_argument("--best-table", required=True, metavar="CSV", help="one row a network or ensemble and attack")
    made.add_argument("--best-summary-table", required=True, metavar="CSV", help="their mean, std and n over pairs")
    made.add_argument("--environments-table", required=True, metavar="CSV", help="one row an environment of artifacts")
    arguments = parser.parse_args([*lines(listed.measurements, listed.listed), *words])

    curves = joined(arguments.evaluations, tables.EVALUATION)
    pairs = tables.pair_table(curves)
    signatures = joined(arguments.signatures, tables.SIGNATURE)
    best = joined(arguments.selections, tables.BEST)
    permutations = agreement.table(arguments.permutations, signatures)
    outputs = {
        arguments.curves_table: curves,
        arguments.pairs_table: pairs,
        arguments.summary_table: tables.summary_table(pairs),
        arguments.training_table: joined(arguments.histories, tables.HISTORY),
        arguments.signatures_table: signatures,
        arguments.spectrum_table: tables.spectrum_table(curves),
        arguments.planes_table: joined(arguments.planes, tables.PLANE),
        arguments.marks_table: joined(arguments.marks, tables.MARKS),
        arguments.activations_table: joined(arguments.activations, tables.ACTIVATIONS),
        arguments.candidates_table: joined(arguments.scores, tables.CANDIDATES),
        arguments.permutations_table: tables.ordered(permutations, tables.PERMUTATIONS),
        arguments.best_table: best,
        arguments.best_summary_table: tables.best_summary_table(best),
        arguments.environments_table: provenance.environments(arguments.artifacts),
    }
    contents = {path: tables.csv(rows) for path, rows in outputs.items()}
    measured = {name: paths for name, paths in vars(arguments).items() if isinstance(paths, list)}
    manifests.write_all("make_tables", contents, measured)
    cost.write(arguments.curves_table)


def lines(path, expected):
    """The lines of the file at `path`, none without one. Raises ValueError where `expected` is not their digest."""
    if path is None:
        return []
    try:
        found = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged, it is no text: {error}") from None
    if expected is not None and digest(found) != expected:
        raise ValueError(
            f"{path} is damaged, it does not list what the config measures: delete it and run list_measurements again"
        )
    return found


def joined(paths, table):
    """The rows of all files `paths`, in the order of `table`."""
    return tables.ordered(tables.read(paths, table), table)


if __name__ == "__main__":
    with mistakes.in_one_line():
        main()
