"""Check the figures, tables and text of a run's report against their manifests, before the report is written."""

import argparse
import json
from pathlib import Path

from modeconn import errors, manifests
from modeconn.figures import registry
from modeconn.identity import canonical, digest
from modeconn.studies import STUDIES

# Paths beside the run's config. The config names the figures: others may be left from earlier settings.
SHOWN = {study: [f"tables/{name}.csv" for name in about.shown] for study, about in STUDIES.items()}
SHOWN["alignment"].append("tables/paper.html")


def check(config: Path, planned: str | None) -> None:
    """Raises ValueError, one line, where a file that the report of a run shows does not match its manifest.

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
