"""The averages of several networks of a population to measure, and the ensembles of the same networks."""

from collections.abc import Iterator, Sequence

import torch

from modeconn.measuring import Combination, Look
from modeconn.randomness import generator


def choices(count: int, sizes: Sequence[int], draws: int) -> Iterator[tuple[int, int, list[int]]]:
    """(size, draw, members) of random choices among `count` members, drawn by size and draw.

    Single members and the choice of all members occur once each.
    """
    for size in sizes:
        if size == 1:
            yield from ((1, member, [member]) for member in range(count))
        elif size == count:
            yield size, 0, list(range(count))
        elif size < count:
            for draw in range(draws):
                order = torch.randperm(count, generator=generator("average", size, draw))
                yield size, draw, sorted(order[:size].tolist())


def looks(count: int, sizes: Sequence[int], draws: int) -> Iterator[Look]:
    """The mean of the weights of each choice, and the ensemble of its networks; of one network, the network."""
    for size, draw, members in choices(count, sizes, draws):
        place = {"size": size, "draw": draw}
        yield Look(place | {"mark": "average"}, [Combination(members, [1 / size] * size)])
        if size > 1:
            yield Look(place | {"mark": "ensemble"}, [Combination([member], [1.0]) for member in members])
