"""Matching: the permutation of network b that brings it to network a, from activations or from weights.

A module a method, imported where the config names it: editing one reruns its own alignments only. Each has a function
`match(population, a, b, spec, alignment)`: the permutation, group -> (n,), of member b of a population that brings it
to member a, as the values of an alignment say. To add a method is its module, its entry in `dispatch.MATCHING`, and its
values in the config's schema.
"""

import math
from collections.abc import Callable
from importlib import import_module

from modeconn.dispatch import MATCHING


def method_of(name: str) -> Callable:
    """The function `match` of the method `name`. Raises ValueError where there is none."""
    if name not in MATCHING:
        raise ValueError(f"alignment method {name!r} is unknown to align, which knows {', '.join(MATCHING)}")
    return import_module(f"modeconn.matching.{MATCHING[name]}").match


def check_tensors(names, tensors_a, tensors_b):
    for name in names:
        a, b = (tuple(tensors[name].shape) if name in tensors else None for tensors in (tensors_a, tensors_b))
        if a is None or a != b:
            raise ValueError(
                f"tensor {name}: its shape is {a} in network a and {b} in network b: "
                "matching needs two networks of one architecture"
            )
        for network, tensor in (("a", tensors_a[name]), ("b", tensors_b[name])):
            # The sum is quicker to look at; of large numbers it can be infinite, too.
            if not math.isfinite(tensor.sum()) and not tensor.isfinite().all():
                raise ValueError(f"tensor {name} of network {network} is not finite: this network has diverged")
