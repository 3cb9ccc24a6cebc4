"""A folder of pictures, `path`: train/<class>/* and test/<class>/*, classes in alphabetical order.

Files whose names begin with a dot, and those that operating systems create, are left out; every other file has to be a
picture.
"""

from pathlib import Path

import numpy as np

from modeconn import own_data
from modeconn.datasets import pictures, remarks


def read(source, downloads):
    folder = own_data.path_of(source)
    files = own_data.folder(folder)
    if strays := own_data.strays(folder):
        remarks.remark(f"{len(strays)} files lie beside the folders of classes and are not read: first {strays[0]}")
    options = source.get("size"), source.get("background", pictures.WHITE)
    train, test = (_split(of_class, *options) for of_class in files.values())
    names = [path for classes in files.values() for of_class in classes.values() for path in of_class]
    if not remarks.has_colour([images for images, _ in (train, test)], names):
        train, test = ((images[:, :1].contiguous(), labels) for images, labels in (train, test))
    return train, test, None


def _split(files, size, background):
    paths = [path for of_class in files.values() for path in of_class]
    images = pictures.decoded(paths, Path.read_bytes, size, background)
    return images, np.repeat(np.arange(len(files)), [len(of_class) for of_class in files.values()])
