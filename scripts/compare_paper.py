"""Put a run's numbers beside those of the main results table of Tatro et al. 2020.

Cells that were not run are marked. Where a run's data, recipe, curve or evaluation differ from the paper's, each value
that differs is listed beside its number.
"""

import argparse
from pathlib import Path

from modeconn import configuration, cost, errors, manifests, paper, tables

# isort: split
import yaml  # after ours, which installs the handler of Ctrl-C


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument("--summary-table", required=True, metavar="CSV", help="from make_tables.py")
    inputs.add_argument("--config", required=True, metavar="JSON", help="the run's complete config")
    inputs.add_argument("--published", required=True, metavar="CSV", help="the paper's numbers")
    inputs.add_argument("--paper-config", required=True, metavar="YAML", help="what the names of these numbers mean")
    inputs.add_argument("--schema", required=True, metavar="YAML", help="the config's schema")
    inputs.add_argument("--cells", metavar="DIGEST", help="of what the comparison asks of the config; checked if given")
    made = parser.add_argument_group("outputs")
    made.add_argument("--paper-table", required=True, metavar="CSV", help="one row a number of the paper")
    made.add_argument("--page", required=True, metavar="HTML", help="the table in the paper's form")
    made.add_argument("--text", required=True, metavar="TXT", help="the table for a terminal")
    arguments = parser.parse_args()

    schema = yaml.safe_load(Path(arguments.schema).read_text(encoding="utf-8"))
    theirs = configuration.read(arguments.paper_config)
    configuration.complete(theirs, schema)
    rows = paper.compare(
        tables.read([arguments.published], tables.PUBLISHED),
        tables.read([arguments.summary_table], tables.SUMMARY),
        cells(arguments.config, schema, arguments.cells),
        configuration.cells(theirs, schema),
    )
    outputs = {
        arguments.paper_table: tables.csv(rows),
        arguments.page: paper.page(rows).encode(),
        arguments.text: paper.text(rows).encode(),
    }
    read = {"summary_table": arguments.summary_table, "published": arguments.published}
    manifests.write_all("compare_paper", outputs, read)
    cost.write(arguments.paper_table)


def cells(path, schema, expected):
    """`configuration.cells` of the run's config at `path`. Raises ValueError where `expected` is not their digest."""
    found = configuration.of_run(path, lambda config: sorted(configuration.cells(config, schema).items()), expected)
    return dict(found)


if __name__ == "__main__":
    with errors.in_one_line():
        main()
