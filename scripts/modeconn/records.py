"""Records by which Snakemake knows what an output was made from, restored where they are lost.

Without its record an output is taken as it is, whatever was edited since. The format is Snakemake 9's, version 6: a
file of JSON for each output; a record of another format it leaves aside.
"""

import base64
import json
import os
from pathlib import Path

from modeconn import files

FOLDER = Path(".snakemake/metadata")
VERSION = 6


def is_known(path: str) -> bool:
    """Whether there is a record of the output `path`."""
    return _record(path).exists()


def restore(path: str, rule: str, params: list[str] | None, code: str | None = None) -> None:
    """Write a record of the output `path`.

    params: values of the rule's params when it was made. code: the rule's shell command then. Snakemake makes the
    output again where they are others now; what is None is not compared.
    """
    given = None if params is None else sorted(map(repr, params))
    record: dict = {"rule": rule, "code": code, "params": given, "record_format_version": VERSION}
    record |= {"incomplete": False, "input_checksums": {}}
    files.write_text(_record(path), json.dumps(record))


def _record(path):
    """Where Snakemake keeps its record of `path`: by its name in base64, a long one in pieces, folders of a file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = base64.urlsafe_b64encode(path.encode()).decode()
    longest = os.pathconf(FOLDER, "PC_NAME_MAX") - 1
    *folders, last = (name[start : start + longest] for start in range(0, len(name), longest))
    return FOLDER.joinpath(*(f"@{folder}" for folder in folders), last)
