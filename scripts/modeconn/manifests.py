"""Manifests: the checksums of a job's files and what they were made from, written last, beside the files.

A manifest is NAME.manifest.json beside NAME.csv, NAME.history.csv and so on, or another manifest in the same folder
that names the file. It names files by their path under `results`, so that a file copied over another one is detected,
with its manifest or without. Programs read files of jobs through this module only. A user's own files elsewhere need no
manifest.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from modeconn import files
from modeconn.fingerprint import fingerprint
from modeconn.identity import canonical, plain

SUFFIX = ".manifest.json"
FOLDER = "results"


class Output(str):
    """The path of a file that a program makes."""


OUTPUT: dict[str, Any] = {"type": Output, "metavar": "FILE"}  # type of an argument


def beside(path: str | Path) -> Path:
    """The manifest of the job whose main output is `path`."""
    path = Path(path)
    return path.with_name(path.name.partition(".")[0] + SUFFIX)


def write(path: Path, outputs: Sequence[str], made: dict) -> None:
    """Write the manifest `path` of the files `outputs`.

    made: JSON values: the `rule` and, as far as known, `job`, `code`, `versions` and `inputs`.
    """
    content = {**made, "files": {_place(output): _checksum(output) for output in outputs}}
    content["artifacts"] = {_place(path): of for path in outputs if (of := _of_artifact(path)) is not None}
    whole = plain({**content, "checksum": _of_content(content)})
    files.write_text(path, json.dumps(whole, sort_keys=True, indent=1, ensure_ascii=False) + "\n")


def write_all(
    rule: str,
    contents: dict[str, bytes],
    inputs: dict[str, str | list[str] | None],
    uses: Iterable[str] = (),
    manifest: Path | None = None,
) -> None:
    """Write the files `contents` (path -> bytes) of a job of `rule`, and their manifest.

    inputs: argument of the rule's program -> the file or files that it names, if any. uses: further modules of
    the job's fingerprint. manifest: its path, for a rule with several jobs in a folder; else one in each folder.
    """
    for path, content in contents.items():
        files.write_bytes(path, content)
    given = {name: [paths] if isinstance(paths, str) else paths or [] for name, paths in inputs.items()}
    made: dict = {"inputs": {name: [checksum(path) for path in paths] for name, paths in given.items()}}
    made |= {"rule": rule, "code": fingerprint(rule, uses), "job": {}}
    folders = {Path(path).parent for path in contents}
    for place in [manifest] if manifest else [folder / (rule + SUFFIX) for folder in folders]:
        write(place, list(contents), made)


def find(path: str | Path) -> dict | None:
    """The values of the manifest of the file at `path`, without its checksum; None for a file elsewhere that has none.

    Raises ValueError, one line, where the manifest is absent, damaged or of other files, and OSError.
    """
    found = _found(Path(path))
    return found and found[1]


def place(path: str | Path) -> Path | None:
    """The path of the manifest of the file at `path`; None for a file elsewhere that has none. Errors: `find`."""
    found = _found(Path(path))
    return found and found[0]


def _found(path):
    nearest = beside(path)
    for manifest in [nearest] if nearest.exists() else sorted(path.parent.glob(f"*{SUFFIX}")):
        content = _read(manifest, path)
        if _place(path) in content["files"]:
            return manifest, content
    if nearest.exists():
        raise ValueError(
            f"{path} is of another job, by {nearest.name} beside it: delete {_places(path, nearest)} and run the rule "
            "that makes it again"
        )
    if FOLDER in Path(os.path.abspath(path)).parts:
        raise ValueError(
            f"{path} has no manifest beside it that names it: delete {_places(path)} and run the rule that makes it "
            "again"
        )
    return None


def check(path: str | Path) -> None:
    """Check the file at `path` against its manifest: ValueError, one line that says what to do, where they differ.

    Raises OSError where it is absent or cannot be read.
    """
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):  # reading from a pipe would block
        raise ValueError(f"{path} is no file: delete it and run the rule that makes it again")
    made = find(path)
    if made is not None and made["files"][_place(path)] != _checksum(path):
        raise ValueError(
            f"{path} is damaged, or of another job (its manifest has another checksum): delete {_places(path)} and run "
            f"rule {made['rule']} again"
        )


def check_artifact(path: str | Path, checksum: str | None) -> None:
    """As `check`, for an artifact whose tensors are verified on loading: compares the checksum in its header only."""
    made = find(path)
    if made is not None and made.get("artifacts", {}).get(_place(path)) != checksum:
        raise ValueError(
            f"{path} is of another job (its manifest has another checksum): delete {_places(path)} and run rule "
            f"{made['rule']} again"
        )


def read_bytes(path: str | Path) -> bytes:
    """The content of the file at `path`. Errors: `check`."""
    check(path)
    return Path(path).read_bytes()


def read_text(path: str | Path) -> str:
    """The text of the file at `path`. Errors: `check`."""
    return read_bytes(path).decode()


def checksum(path: str | Path) -> str:
    """The checksum of the file at `path`: from its manifest, or computed where it has none."""
    made = find(path)
    return _checksum(path) if made is None else made["files"][_place(path)]


def _read(manifest, path):
    """The content of `manifest`, which has to be that of the file at `path`."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if content.pop("checksum") != _of_content(content) or not {"rule", "files"} <= content.keys():
            raise ValueError("its checksum does not fit its content")
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{manifest} is damaged ({error}): delete {_places(path, manifest)} and run the rule that makes them again"
        ) from None
    return content


def _place(path):
    """The path of a file under `results`; of a file elsewhere its name."""
    parts = Path(os.path.abspath(path)).parts
    inside = len(parts) - parts[::-1].index(FOLDER) if FOLDER in parts else len(parts) - 1
    return "/".join(parts[inside:])


def _places(*paths):
    return " and ".join(files.places(path) for path in paths)


def _checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_artifact(path):
    """The checksum in the header of an artifact; None for any other file."""
    if Path(path).suffix != ".safetensors":
        return None
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.path.getsize(path):
            return None
        header = json.loads(file.read(length))
    return json.loads(header.get("__metadata__", {}).get("modeconn", "{}")).get("checksum")


def _of_content(content):
    return hashlib.sha256(canonical(content).encode()).hexdigest()
