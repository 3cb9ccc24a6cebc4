"""The networks along a curve that are measured."""

from collections.abc import Iterator

import torch

from modeconn import curves
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
