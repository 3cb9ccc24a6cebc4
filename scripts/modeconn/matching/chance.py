"""The control: a permutation at random, which does not look at the networks."""

from modeconn import permutation
from modeconn.randomness import generator


def match(population, a, b, spec, alignment, further=()):
    """A permutation drawn from the alignment's seed; of the networks of a population each has its own."""
    further = [b] if b > 1 else []  # of a pair the stream hangs on the seed alone
    return permutation.random(spec, generator("random permutation", alignment["seed"], *further))
