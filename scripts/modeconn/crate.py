"""Write files and their metadata as one RO-Crate: a zip file with JSON-LD that describes each file.

Source: RO-Crate Metadata Specification 1.1 (https://w3id.org/ro/crate/1.1), sections *Root Data Entity*, *Data
Entities*, *Contextual Entities* and *Provenance of entities*.
"""

import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from modeconn import files

METADATA = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
ENCODINGS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".safetensors": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
# The earliest date of a zip file, always the same, so that equal files give equal bytes.
DATE = (1980, 1, 1, 0, 0, 0)
MODE = 0o100644 << 16  # a plain file, rw-r--r--


class Software(NamedTuple):
    """A program and its version."""

    name: str
    version: str


class Facts(NamedTuple):
    """The metadata of a crate beside its files.

    finished: ISO 8601, when the run that made them ended. licence: (URL, name). software: programs that ran;
    environment: libraries and system. asked, shown: the run's inputs and its main results, by their paths in the crate.
    requirements: the path of the list of packages.
    """

    name: str
    description: str
    finished: str
    licence: tuple[str, str]
    software: Software
    environment: Iterable[Software]
    asked: Iterable[str]
    shown: Iterable[str]
    requirements: str


def metadata(sizes: Mapping[str, int], facts: Facts) -> dict:
    """The JSON-LD of a crate; sizes: place in the crate -> bytes, of every file but the metadata.

    Raises ValueError for a kind of file that ENCODINGS does not name.
    """
    url, licence = facts.licence
    environment = {f"#{software.name}-{quote(software.version)}": software for software in facts.environment}
    described = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": SPECIFICATION},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": facts.name,
            "description": facts.description,
            "datePublished": facts.finished,
            "license": {"@id": url},
            "hasPart": _references(sizes),
            "mentions": {"@id": "#run"},
        },
        {"@id": url, "@type": "CreativeWork", "name": licence, "description": f"{licence}, {url}"},
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"The run of {facts.software.name} that made these results",
            "endTime": facts.finished,
            "instrument": [{"@id": "#workflow"}, *({"@id": identity} for identity in environment)],
            "object": _references(facts.asked),
            "result": _references(facts.shown),
        },
        {
            "@id": "#workflow",
            "@type": "SoftwareApplication",
            **facts.software._asdict(),
            "license": {"@id": url},
            "softwareRequirements": {"@id": quote(facts.requirements)},
        },
    ]
    described += [
        {"@id": identity, "@type": "SoftwareApplication", **software._asdict()}
        for identity, software in environment.items()
    ]
    described += [
        {"@id": quote(place), "@type": "File", "contentSize": str(size), "encodingFormat": _encoding(place)}
        for place, size in sorted(sizes.items())
    ]
    return {"@context": CONTEXT, "@graph": described}


def write(output: Path, contents: Mapping[str, Path], facts: Facts) -> None:
    """Write the files `contents`, place in the crate -> path, and their metadata to the zip file `output`.

    Equal files and facts give equal bytes, with the same zlib. Raises ValueError as `metadata`; OSError.
    """
    text = json.dumps(metadata({place: path.stat().st_size for place, path in contents.items()}, facts), indent=1)
    with files.replacing(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(_entry(METADATA), f"{text}\n")
        for place, path in sorted(contents.items()):
            entry = _entry(place)
            entry.file_size = path.stat().st_size  # decides whether the entry may exceed 2 GiB
            with open(path, "rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 2**20)


def _entry(place):
    entry = zipfile.ZipInfo(place, DATE)
    entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, MODE, 3  # 3: Unix
    return entry


def _references(places):
    return [{"@id": quote(place)} for place in sorted(places)]


def _encoding(place):
    suffix = Path(place).suffix
    if suffix not in ENCODINGS:
        raise ValueError(f"{place}: no media type is known for {suffix or 'no suffix'}: add it to crate.ENCODINGS")
    return ENCODINGS[suffix]
