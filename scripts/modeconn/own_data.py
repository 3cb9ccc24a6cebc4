"""The files at the `path` of a user's data set, and the number of images in them.

Used by the plan and the estimate of costs, so this module does not import torch.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from modeconn.files import write_text

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
SPLITS = ("train", "test")
# Names, in lower case, of files that file managers, archivers and photo servers create; also names with a leading dot.
SYSTEM = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"}


def path_of(source):
    return Path(source["path"]).expanduser()


def folder(path):
    """split -> class -> its files, in alphabetical order, of an image_folder, without files that the system created.

    Raises ValueError for an absent folder, an empty class, or classes that only one split has.
    """
    files = {split: _classes(path / split) for split in SPLITS}
    for ours, others in (SPLITS, SPLITS[::-1]):
        if missing := sorted(files[ours].keys() - files[others].keys()):
            raise ValueError(f"{path / others} has no class {missing[0]}, {path / ours} has: it needs the same ones")
    return files


def _classes(folder):
    if not folder.is_dir():
        raise ValueError(f"folder {folder} does not exist: an image_folder has train/<class>/* and test/<class>/*")
    classes = [path for path in _entries(folder) if path.is_dir()]
    if not classes:
        raise ValueError(f"{folder} has no folders: an image_folder has one a class")
    found = {path.name: _entries(path) for path in classes}
    for name, files in found.items():
        if not files:
            raise ValueError(f"the class folder {folder / name} is empty: put images there, or remove it")
    return found


def _entries(folder):
    """The contents of a folder in alphabetical order, without files that the system created."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in SYSTEM)


def strays(path):
    """Files of an image_folder beside its class folders; they are not read."""
    return [file for split in SPLITS for file in _entries(path / split) if not file.is_dir()]


def digest(source, made, known=".snakemake/own_data.json"):
    """16 hex digits of the names and the contents of the files behind a source's `path`.

    made: the prepared file. If it exists and its source has gone, the last digest is returned.
    known: a JSON file, a cache of digests by names, sizes and dates of the files, so that contents are read again only
    where one of these has changed. Raises ValueError or OSError, one line, where the source is not as it has to be.
    """
    path, entry = path_of(source), f"{source['source']} {source['path']}"
    kept = _kept(known)
    last = kept.get(entry)
    if last and Path(made).exists() and not path.exists():
        return last["content"]
    found = files(source)
    names = [str(file.relative_to(path.parent)) for file in found]
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, map(Path.stat, found))]
    dated = _digest(stats)
    if not last or last["dated"] != dated:
        last = {"dated": dated, "content": _digest(list(zip(names, map(_checksum, found))))}
        with contextlib.suppress(OSError):  # the cache only saves time
            write_text(known, json.dumps(kept | {entry: last}, indent=1))
    return last["content"]


def _digest(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _kept(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files(source):
    """The files that a source reads, in an order that is always the same. Raises ValueError where there are none."""
    path = path_of(source)
    if source["source"] == "image_folder":
        return [file for classes in folder(path).values() for of_class in classes.values() for file in of_class]
    if not path.is_file():
        raise ValueError(f"{path} is no file: give the path of an .npz, from the folder that make is run in")
    return [path]


def sizes(source):
    """(training, test) images of a source with a `path`, without reading them.

    Raises ValueError, one line, where the files there are not as they have to be.
    """
    if source["source"] == "image_folder":
        return tuple(sum(map(len, classes.values())) for classes in folder(path_of(source)).values())
    (path,) = files(source)
    return tuple(_length(path, f"y_{split}") for split in SPLITS)


def _length(path, name):
    """First side of an array of an .npz, from its header."""
    from numpy.lib import format as npy  # imported here, since plans are made without numpy

    try:
        with ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            return read(file)[0][0]
    except (BadZipFile, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no .npz with an array {name}: {error}") from None
