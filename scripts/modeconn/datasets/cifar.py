"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 and 10,000 colour images of 32x32."""

import tempfile

import numpy as np
import torch

from modeconn.datasets.downloads import Archive, fetch

ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", ("https://www.cs.toronto.edu/~kriz/",)
    ),
    "cifar100": Archive(
        "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", ("https://www.cs.toronto.edu/~kriz/",)
    ),
}
# Tatro et al. 2020, for both.
STATISTICS = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)


def read(source, downloads):
    from torchvision import datasets
    from torchvision.datasets.utils import extract_archive

    archive = fetch(ARCHIVES[source["source"]], downloads)
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[source["source"]]
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".unpacked") as folder:
        extract_archive(archive, folder)
        train, test = (_split(kind(folder, train=train)) for train in (True, False))
    return train, test, STATISTICS


def _split(dataset):
    return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), np.array(dataset.targets, dtype=np.int64)
