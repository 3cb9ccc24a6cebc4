"""What lies behind the `path` of a data set of one's own: its files, and how many images they hold.

Free of torch: what is planned and what it costs hang on it too.
"""

from pathlib import Path
from zipfile import BadZipFile, ZipFile

from numpy.lib import format as npy

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
SPLITS = ("train", "test")
# What file managers, archivers and photo servers leave in folders, in lower case; besides what begins with a dot.
SYSTEM = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"}


def path_of(source):
    return Path(source["path"]).expanduser()


def folder(path):
    """split -> class -> its files, in alphabetical order, of an image_folder; what the system left is not among them.

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
    """What lies in a folder, in alphabetical order, without what the system has left there."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in SYSTEM)


def strays(path):
    """Files of an image_folder that lie beside its class folders, where no image is read."""
    return [file for split in SPLITS for file in _entries(path / split) if not file.is_dir()]


def sizes(source):
    """(training, test) images of a source with a `path`, without reading them.

    Raises ValueError, one line, where what lies there is not as it has to be.
    """
    path = path_of(source)
    if source["source"] == "image_folder":
        return tuple(sum(map(len, classes.values())) for classes in folder(path).values())
    return tuple(_length(path, f"y_{split}") for split in SPLITS)


def _length(path, name):
    """First side of an array of an .npz, from its header."""
    if not path.is_file():
        raise ValueError(f"{path} is no file: give the path of an .npz, from the folder that make is run in")
    try:
        with ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            return read(file)[0][0]
    except (BadZipFile, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no .npz with an array {name}: {error}") from None
