"""Check what a run's report shows before it is written: figures, tables and text, each against its manifest."""

import argparse
import json
from pathlib import Path

from modeconn import errors, manifests
from modeconn.figures import registry
from modeconn.identity import canonical, digest
from modeconn.studies import STUDIES

# Beside the run's config. Figures come from it: files of earlier settings may lie beside them.
SHOWN = {study: [f"tables/{name}.csv" for name in about.shown] for study, about in STUDIES.items()}
SHOWN["alignment"].append("tables/paper.html")


def check(config: Path, planned: str | None) -> None:
    """Raises ValueError, one line, where something that the report of a run shows is not what a job has made.

    config: of the run, complete, in its folder. planned: its digest, checked if given.
    Raises OSError where something is absent.
    """
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        figures = registry.of(values)
    except (ValueError, LookupError, TypeError, AttributeError):
        values = None
    if values is None or planned not in (None, digest(canonical(values))):
        raise ValueError(f"{config} is damaged, or of another config: delete it and run rule write_config again")
    studies = ["runs", *(study for study, entries in values["studies"].items() if entries)]
    tables = ["tables/claims.csv", *(place for study in studies for place in SHOWN[study])]
    for place in (*tables, *(f"figures/{figure}.{kind}" for figure in figures for kind in ("svg", "pdf"))):
        manifests.check(config.parent / place)


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, type=Path, metavar="JSON", help="of the run, in its folder")
    parser.add_argument("--planned", metavar="DIGEST", help="of the config; checked if given")
    arguments = parser.parse_args()
    check(arguments.config, arguments.planned)


if __name__ == "__main__":
    with errors.in_one_line():
        main()
