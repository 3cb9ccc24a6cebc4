"""Tiny ImageNet: 100,000 and 10,000 colour images of 64x64 in 200 classes, or resized to `size`.

Its validation images are the test split (the test images have no public labels). Classes are in the
order of their WordNet names.
"""

import zipfile

import numpy as np

from modeconn.datasets import pictures
from modeconn.datasets.downloads import Archive, fetch

ARCHIVE = Archive(
    "tiny-imagenet-200.zip",
    "90528d7ca1a48142e341f4ef8d21d0de",
    ("http://cs231n.stanford.edu/", "https://zenodo.org/records/10720917/files/"),
)
ROOT = "tiny-imagenet-200"
# Of ImageNet.
STATISTICS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read(source, downloads):
    with zipfile.ZipFile(fetch(ARCHIVE, downloads)) as archive:
        classes = sorted(archive.read(f"{ROOT}/wnids.txt").decode().split())
        number = {name: label for label, name in enumerate(classes)}
        files = sorted(name for name in archive.namelist() if name.endswith(".JPEG"))
        train = {name: number[name.split("/")[2]] for name in files if name.startswith(f"{ROOT}/train/")}
        lines = archive.read(f"{ROOT}/val/val_annotations.txt").decode().splitlines()
        test = {f"{ROOT}/val/images/{line.split()[0]}": number[line.split()[1]] for line in lines}
        splits = [_split(archive, labels, source.get("size")) for labels in (train, test)]
    return *splits, STATISTICS


def _split(archive, labels, size):
    images = pictures.decoded(labels, archive.read, size)
    return images, np.array(list(labels.values()), dtype=np.int64)
