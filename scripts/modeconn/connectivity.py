"""The networks along a curve: their weights, and the statistics that go with them."""

import torch

from modeconn import curves, datasets
from modeconn.batchnorm import recalibrate


def along(control_points, kind, count):
    """The curve `control_points` (k + 2, D) at `count` values of t, evenly from 0 to 1.

    Yields (t, length, vectors (1, D)): length is the cumulated chord length from t = 0, in weight space.
    """
    length, previous = 0.0, None
    for t in torch.linspace(0, 1, count, dtype=torch.float64):
        vectors = curves.weights_at(control_points[None], kind, t[None])
        if previous is not None:
            length += (vectors - previous).double().norm().item()
        previous = vectors
        yield t.item(), length, vectors


def recalibrated(functional, vectors, dataset, recalibration, values=None):
    """Buffers of the networks `vectors` with statistics of `images` training images, see `datasets.mixed` (0: all).

    recalibration: {"images", "batch"}. values: a job's, of which these count, where they are there: "augmentation", the
    recipe's, for images that are changed as in training (Tatro et al. 2020 in their code), all networks' alike; and
    "attack", the recipe's, on each of whose iterates statistics are gathered then.
    """
    values = values or {}
    chosen, size = datasets.mixed(dataset.train_labels, recalibration["images"]), recalibration["batch"]
    images = datasets.in_order(dataset.train_images[chosen], size, values.get("augmentation"))
    return recalibrate(functional, vectors, images, values.get("attack"), dataset.train_labels[chosen].split(size))
