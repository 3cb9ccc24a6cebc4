"""Triangles between three networks, to be measured at the points of a grid (Sharma et al. 2024, strong connectivity).

A point of a triangle is its barycentric coordinates: the shares of the first, the second and the third network.
"""

from collections.abc import Iterator, Sequence

from modeconn.measuring import Combination, Look


def triples(count: int) -> list[range]:
    """Members 0, 1, 2, then 3, 4, 5 and so on of `count`: no two triangles share a network."""
    return [range(first, first + 3) for first in range(0, count - 2, 3)]


def shares(points: int) -> list[tuple[float, float, float]]:
    """The grid of a triangle with `points` along each side, (points + 1) points / 2 in all; the corners are exact."""
    steps = points - 1
    return [
        ((steps - second - third) / steps, second / steps, third / steps)
        for third in range(points)
        for second in range(points - third)
    ]


def looks(seeds: Sequence[int], points: int) -> Iterator[Look]:
    """The networks of each triangle, named by its seeds and the shares of the second and the third."""
    for members in triples(len(seeds)):
        name = "-".join(str(seeds[member]) for member in members)
        for coefficients in shares(points):
            place = {"triangle": name, "second": coefficients[1], "third": coefficients[2]}
            yield Look(place, [Combination(members, coefficients)])


def number_of_looks(count: int, points: int) -> int:
    """How many `looks` there are of `count` networks."""
    return len(triples(count)) * points * (points + 1) // 2
