"""Join the measurements of jobs into the tables of a study.

Reads the measurements of the study and writes its tables as CSV, rows in a fixed order. Accuracies are fractions,
losses are in nats.
"""

import argparse
from importlib import import_module
from pathlib import Path

from modeconn import cost, errors, manifests, tables
from modeconn.identity import digest
from modeconn.studies import STUDIES


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name the file `listed` that arguments were read from."""

    listed = None

    def error(self, message):
        where = f" (arguments are read from {self.listed}: is it damaged?)" if self.listed else ""
        raise ValueError(f"{message}{where}")


def main():
    # A study may have more files than fit on a command line.
    listing = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    listing.add_argument("--study", default="alignment", choices=STUDIES, help="default: alignment")
    listing.add_argument("--measurements", metavar="TXT", help="a file with the options that name inputs, one a line")
    listing.add_argument("--listed", metavar="DIGEST", help="of the lines of this file; checked if given")
    listed, words = listing.parse_known_args()
    study = STUDIES[listed.study]

    parser = Parser(description=__doc__, allow_abbrev=False, parents=[listing])
    parser.listed = listed.measurements
    for name in study.measured:
        needed = name in study.needed
        parser.add_argument(
            f"--{name}", nargs="*", default=[], required=needed, metavar="FILE", help="what was measured"
        )
    for name, row in study.tables.items():
        parser.add_argument(f"--{name.replace('_', '-')}-table", required=True, metavar="CSV", help=f"one row {row}")
    arguments = parser.parse_args([*lines(listed.measurements, listed.listed), *words])

    measured = {name: getattr(arguments, name) for name in study.measured}
    for name in study.needed:
        if not measured[name]:
            parser.error(f"--{name}: expected at least one file")
    made = import_module(f"modeconn.studies.{listed.study}").tabulate(measured)
    contents = {getattr(arguments, f"{name}_table"): tables.csv(made[name]) for name in study.tables}
    first = next(iter(contents))
    manifest = Path(first).with_name(f"make_tables-{listed.study}{manifests.SUFFIX}")
    manifests.write_all("make_tables", contents, measured, [f"studies.{listed.study}"], manifest)
    cost.write(first)


def lines(path, expected):
    """The lines of the file at `path`, if it is given. Raises ValueError where `expected` is not their digest."""
    if path is None:
        return []
    try:
        found = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged, since it is not text: {error}") from None
    if expected is not None and digest(found) != expected:
        raise ValueError(
            f"{path} is damaged, it does not list what the config measures: delete it and run list_measurements again"
        )
    return found


if __name__ == "__main__":
    with errors.in_one_line():
        main()
