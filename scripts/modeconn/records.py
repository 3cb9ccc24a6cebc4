"""Snakemake's records of what an output was made from, restored where they are lost.

Without a record Snakemake keeps an output, even if its source or values were edited since. The format is that of
Snakemake 9, version 6: a JSON file for each output. Snakemake ignores records of another format.
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
    output again where they differ from the present ones; None is not compared.
    """
    given = None if params is None else sorted(map(repr, params))
    record: dict = {"rule": rule, "code": code, "params": given, "record_format_version": VERSION}
    record |= {"incomplete": False, "input_checksums": {}}
    files.write_text(_record(path), json.dumps(record))


def _record(path):
    """The path of Snakemake's record of `path`: its name in base64, a long one split into folders and a file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = base64.urlsafe_b64encode(path.encode()).decode()
    longest = os.pathconf(FOLDER, "PC_NAME_MAX") - 1
    *folders, last = (name[start : start + longest] for start in range(0, len(name), longest))
    return FOLDER.joinpath(*(f"@{folder}" for folder in folders), last)
