"""Put a run's barriers beside those that were read off the figures of Sharma et al. 2024.

Where a run's data, network, recipe or alignment of a name are not the paper's, each value that differs is listed.
"""

import argparse
from pathlib import Path

from modeconn import configuration, cost, errors, manifests, tables, targets

# isort: split
import yaml  # after ours, which installs the handler of Ctrl-C


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument("--barriers-table", metavar="CSV", help="from make_tables.py (default: no rows)")
    inputs.add_argument("--simultaneous-table", metavar="CSV", help="from make_tables.py (default: no rows)")
    inputs.add_argument("--config", required=True, metavar="JSON", help="the run's complete config")
    inputs.add_argument("--published", required=True, metavar="CSV", help="the paper's numbers")
    inputs.add_argument("--paper-config", required=True, metavar="YAML", help="what the names of these numbers mean")
    inputs.add_argument("--schema", required=True, metavar="YAML", help="the config's schema")
    inputs.add_argument("--planned", metavar="DIGEST", help="of the run's complete config; checked if given")
    made = parser.add_argument_group("outputs")
    made.add_argument("--table", required=True, metavar="CSV", help="one row a number of the paper")
    made.add_argument("--text", required=True, metavar="TXT", help="the numbers that were run, for a terminal")
    arguments = parser.parse_args()

    schema = yaml.safe_load(Path(arguments.schema).read_text(encoding="utf-8"))
    config = configuration.of_run(arguments.config, lambda config: config, arguments.planned)
    theirs = configuration.read(arguments.paper_config)
    configuration.complete(theirs, schema)
    measured = {"barriers": arguments.barriers_table, "simultaneous": arguments.simultaneous_table}
    found = [
        tables.read([path] if path else [], table)
        for path, table in zip(measured.values(), (tables.BARRIERS, tables.SIMULTANEOUS))
    ]
    rows = targets.compare(
        tables.read([arguments.published], tables.TARGETS),
        *found,
        *(configuration.meanings(of, schema) for of in (config, theirs)),
    )
    outputs = {arguments.table: tables.csv(rows), arguments.text: targets.text(rows).encode()}
    manifests.write_all("compare_targets", outputs, {**measured, "published": arguments.published})
    cost.write(arguments.table)


if __name__ == "__main__":
    with errors.in_one_line():
        main()
