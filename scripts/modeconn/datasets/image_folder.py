"""A folder of pictures, `path`: train/<class>/* and test/<class>/*, classes in alphabetical order.

Files whose names begin with a dot are left out; every other one has to be a picture.
"""

from pathlib import Path

import numpy as np

from modeconn.datasets import pictures


def read(source, downloads):
    folder = Path(source["path"]).expanduser()
    files = {split: _files(folder / split) for split in ("train", "test")}
    for ours, others in (("train", "test"), ("test", "train")):
        if missing := sorted(files[ours].keys() - files[others].keys()):
            raise ValueError(
                f"{folder / others} has no class {missing[0]}, {folder / ours} has: it needs the same ones"
            )
    train, test = (_split(of_class, source.get("size")) for of_class in files.values())
    if pictures.is_grey(train[0]) and pictures.is_grey(test[0]):
        train, test = ((images[:, :1].contiguous(), labels) for images, labels in (train, test))
    return train, test, None


def _files(folder):
    """Class -> its files, both in alphabetical order. Raises ValueError for an absent folder or an empty class."""
    if not folder.is_dir():
        raise ValueError(f"folder {folder} does not exist: an image_folder has train/<class>/* and test/<class>/*")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} has no folders: an image_folder has one a class")
    found = {}
    for path in classes:
        found[path.name] = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        if not found[path.name]:
            raise ValueError(f"the class folder {path} is empty: put images there, or remove it")
    return found


def _split(files, size):
    images = pictures.decoded([path for of_class in files.values() for path in of_class], Path.read_bytes, size)
    return images, np.repeat(np.arange(len(files)), [len(of_class) for of_class in files.values()])
