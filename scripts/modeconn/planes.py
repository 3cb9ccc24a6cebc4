"""Planes in weight space: through three networks, to be measured on a grid (Garipov et al. 2018; Tatro et al. 2020)."""

from collections.abc import Iterator

import torch

from modeconn.measuring import Combination, Look


class Plane:
    """The plane through three networks, corners (3, D), in which they have the coordinates (0, 0), (1, 0) and (c, 1).

    x runs along the line through the first two, in units of their distance; y is perpendicular, in units of
    the height of the third above that line (Gram-Schmidt). lengths: both units, in weight space.
    Raises ValueError where the three lie on one line, to rounding.
    """

    def __init__(self, corners):
        self.corners = corners
        self._x, third = corners.double()[1:] - corners[0].double()
        x_square = self._x.square().sum()
        self._foot = (third @ self._x / x_square).item()
        self._y = third - self._foot * self._x
        self.lengths = x_square.sqrt().item(), self._y.norm().item()
        # NaN, where the first two are one network, has to be refused too.
        if not self.lengths[1] > 1e-6 * third.norm().item():
            raise ValueError(
                "three networks on one line span no plane: is the curve straight, or does the alignment change nothing?"
            )

    def at(self, x: float, y: float) -> Combination:
        """The network at the coordinates x, y: a sum of the corners, exact at the corners themselves."""
        second = x - self._foot * y
        return Combination(range(3), [1 - y - second, second, y])

    def looks(self, points: int, x: list[float], y: list[float]) -> Iterator[Look]:
        """The networks on a `grid`, each named by its coordinates."""
        return (Look({"x": x, "y": y}, [self.at(x, y)]) for x, y in grid(points, x, y))

    def coordinates(self, vectors):
        """(N, 2) float64: coordinates of the nearest points of the plane to vectors (N, D)."""
        moved = vectors.double() - self.corners[0].double()
        return torch.stack([moved @ axis / axis.square().sum() for axis in (self._x, self._y)], 1)


def grid(points, x, y):
    """(x, y) of points² places, row by row, at equal steps from x[0] to x[1] and from y[0] to y[1]."""
    columns, rows = (torch.linspace(*ends, points, dtype=torch.float64).tolist() for ends in (x, y))
    return [(column, row) for row in rows for column in columns]
