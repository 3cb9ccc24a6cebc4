"""Predictions of networks for points in the plane, and the units of their first layer (Kalaivanan 2023)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from modeconn.datasets import Dataset

MARGIN = 0.15  # of the data's range, on each side


def grid(dataset: Dataset, count: int) -> tuple[Tensor, Tensor]:
    """`count` values of each coordinate, evenly over the range of the training data and a margin."""
    points = dataset.train_images.flatten(1)
    low, high = points.amin(0), points.amax(0)
    room = MARGIN * (high - low)
    x, y = (torch.linspace(*ends, count) for ends in zip((low - room).tolist(), (high + room).tolist()))
    return x, y


def answers(functional, vectors: Tensor, x: Tensor, y: Tensor) -> Iterator[list[dict]]:
    """For each of the networks `vectors` (L, 2 features, 2 classes) rows x, y, probability of the second class."""
    points = torch.cartesian_prod(x, y)
    inputs = points[:, :, None, None].to(vectors.device).expand(len(vectors), -1, -1, -1, -1)
    with torch.no_grad():
        found = functional(vectors, {}, inputs).softmax(-1)[..., 1]
    for probabilities in found.tolist():
        yield [{"x": a, "y": b, "probability": p} for (a, b), p in zip(points.tolist(), probabilities)]


def units(tensors: dict[str, Tensor], last: str) -> Iterator[dict]:
    """Angle, offset and outgoing weight of each unit of the first layer of a fully connected network in the plane.

    tensors: by name in the order of the network; last: the name of the layer that gives the logits. The unit is zero on
    one side of a line: `angle` is that of the line's normal, in radians, and `offset`, bias by norm of the incoming
    weights, its distance, both in coordinates of mean 0 and deviation 1. `outgoing` is the weight of the second class
    minus that of the first; in deeper networks it is the sum of the weights of the next layer.
    """
    weight, bias, following = list(tensors.values())[:3]
    outgoing = following[1] - following[0] if list(tensors)[2] == f"{last}.weight" else following.sum(0)
    angles, norms = torch.atan2(weight[:, 1], weight[:, 0]), weight.norm(dim=1).clamp(min=1e-12)
    for unit, values in enumerate(zip(angles.tolist(), (bias / norms).tolist(), outgoing.tolist())):
        yield {"unit": unit} | dict(zip(("angle", "offset", "outgoing"), values))
