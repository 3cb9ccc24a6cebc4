"""The networks along a curve: where they are measured, and the statistics that go with them."""

from collections.abc import Iterator

import torch

from modeconn import curves, datasets
from modeconn.batchnorm import recalibrate
from modeconn.measuring import Combination, Look, combine


def along(control_points: torch.Tensor, kind: str, count: int) -> Iterator[Look]:
    """The curve `control_points` (k + 2, D) at `count` values of t, evenly from 0 to 1.

    The place of each is its t and its length, the cumulated chord length from t = 0 in weight space.
    """
    length, previous = 0.0, None
    for point, t in enumerate(torch.linspace(0, 1, count, dtype=torch.float64)):
        (shares,) = curves.coefficients(kind, len(control_points), t[None]).tolist()
        network = Combination(range(len(control_points)), shares)
        vectors = combine(control_points, [network])
        if previous is not None:
            length += (vectors - previous).double().norm().item()
        previous = vectors
        yield Look({"t": t.item(), "length": length}, [network], [point])


def recalibrating(population, recalibration, values):
    """A function (looks, vectors) -> buffers for `measuring.measure`: `recalibrated` for every network."""

    def statistics(looks, vectors):
        return recalibrated(population.functional, vectors, population.dataset, recalibration, values)

    return statistics


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
