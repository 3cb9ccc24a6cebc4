"""The control: a random permutation, which does not depend on the networks."""

from modeconn import permutation
from modeconn.randomness import generator


def match(population, a, b, spec, alignment, further=()):
    """A permutation drawn with the alignment's seed, another one for each network of a population."""
    further = [b] if b > 1 else []  # for a pair, the random numbers depend on the seed alone
    return permutation.random(spec, generator("random permutation", alignment["seed"], *further))
