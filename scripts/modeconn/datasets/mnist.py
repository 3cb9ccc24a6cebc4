"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 grey images of 28x28."""

import tempfile
from pathlib import Path

from modeconn.datasets.downloads import Archive, fetch


def _archives(mirrors, checksums):
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return [Archive(f"{name}-ubyte.gz", md5, mirrors) for name, md5 in zip(names, checksums, strict=True)]


ARCHIVES = {
    "mnist": _archives(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion_mnist": _archives(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
}


def read(source, downloads):
    from torchvision import datasets
    from torchvision.datasets.utils import extract_archive

    name = source["source"]
    kind = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
    # Files of both have the same names.
    archives = [fetch(archive, Path(downloads) / name) for archive in ARCHIVES[name]]
    with tempfile.TemporaryDirectory(dir=archives[0].parent, prefix=".unpacked") as folder:
        # The folder in which torchvision's class looks for them.
        raw = Path(folder) / kind.__name__ / "raw"
        raw.mkdir(parents=True)
        for archive in archives:
            extract_archive(archive, raw)
        train, test = (_split(kind(folder, train=train)) for train in (True, False))
    return train, test, None


def _split(dataset):
    return dataset.data[:, None], dataset.targets.numpy()
