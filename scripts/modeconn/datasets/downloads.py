"""Archives of public data sets: downloaded once, resumed after an interruption, checked before use."""

import fcntl
import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from modeconn.datasets.progress import counter

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A file that `mirrors` (addresses of folders, tried in order) offer under one name."""

    name: str
    md5: str
    mirrors: tuple


def fetch(archive, folder):
    """The path of the archive in `folder`, downloaded if it is not there.

    An existing file is checked and used without network. Raises ValueError, one line, where its checksum
    is wrong (it is left unchanged), and where no mirror has it.
    """
    path = Path(folder) / archive.name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        with open(part, "ab") as file:
            # Two data sets of one archive may be prepared at once: one downloads, the other waits for its lock.
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists():
                _from_mirrors(archive, file, path)
                part.rename(path)
    elif (found := _md5(path)) != archive.md5:
        raise ValueError(
            f"{path} is damaged or another file (MD5 {found}, not {archive.md5}): delete it to download it "
            f"again, or put the right one there, from {_addresses(archive)}"
        )
    return path


def _from_mirrors(archive, file, path):
    """Fill `file` from the first mirror that gives the archive."""
    failures = []
    for mirror in archive.mirrors:
        address = f"{mirror}{archive.name}"
        print(f"downloading {address}", flush=True)
        try:
            _download(address, file)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{address}: {error or type(error).__name__}")
            continue
        found = _md5(file.name)
        if found == archive.md5:
            return
        failures.append(f"{address}: MD5 {found}, not {archive.md5}")
        file.truncate(0)
    raise ValueError(
        f"{archive.name} could not be downloaded ({'; '.join(failures)}): run again to go on, "
        f"or download it by hand and put it at {path}"
    )


def _download(address, file):
    """Append the missing rest of the file at `address` to `file`; start over if the server does not resume.

    Raises OSError where the connection fails or ends early; the received part is kept.
    """
    done = file.seek(0, 2)
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if done and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum says whether it is right
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.truncate(0)
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        advance = counter(total, Path(address).name, "bytes", done)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            advance(len(chunk))
        file.flush()
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _addresses(archive):
    return " or ".join(f"{mirror}{archive.name}" for mirror in archive.mirrors)
