"""Matching: the permutation of network b that brings it to network a, from activations or from weights.

A module a method, imported where the config names it: editing one reruns its own alignments only. Each has a function
`match(population, a, b, spec, alignment, further=())`: the permutation, group -> (n,), of member b of a population that
brings it to member a, as the values of an alignment say; with the population at further moments one for all of them. To
add a method is its module, its entry in `dispatch.MATCHING`, and its values in the config's schema.
"""

import math
from collections.abc import Callable
from importlib import import_module

import torch
from scipy.optimize import linear_sum_assignment

from modeconn import permutation
from modeconn.dispatch import MATCHING
from modeconn.randomness import generator


def method_of(name: str) -> Callable:
    """The function `match` of the method `name`. Raises ValueError where there is none."""
    if name not in MATCHING:
        raise ValueError(f"alignment method {name!r} is unknown to align, which knows {', '.join(MATCHING)}")
    return import_module(f"modeconn.matching.{MATCHING[name]}").match


def symmetric(network, spec, example, alignment):
    """The spec with what an alignment's `symmetry` lets networks differ by besides permutations, which is printed.

    example: images (N, C, H, W), of which only the shape counts.
    """
    if alignment.get("symmetry", "none") == "none":
        return spec
    from modeconn.permutation import scales  # here, so that its source decides only the jobs of such alignments

    spec = scales.discover(network, spec, example, generator("scales"))
    print(f"symmetry: {scales.report(spec)}", flush=True)
    return spec


def assign_blocks(similarity, members):
    """The best order of blocks, and of the channels within each, for all groups that permute these blocks at once.

    similarity: (n, n), of n blocks of a to those of b for their own sake. members: group -> (n m, n m), of its
    channels, m to a block. Each pair of blocks counts what the best order within it makes of it.
    Returns (indices (n,) of the blocks, group -> indices (n m,)), both into b, int64.
    """
    similarity, within = similarity.copy(), {}
    number = len(similarity)
    for group, matrix in members.items():
        size = len(matrix) // number
        parts = matrix.reshape(number, size, number, size).swapaxes(1, 2)
        found = [[linear_sum_assignment(part, maximize=True) for part in row] for row in parts]
        similarity += [[part[order].sum() for part, order in zip(*row)] for row in zip(parts, found)]
        within[group] = [[torch.from_numpy(order) for _, order in row] for row in found]
    order = linear_sum_assignment(similarity, maximize=True)[1]
    chosen = {
        group: permutation.blockwise(torch.from_numpy(order), [row[block] for row, block in zip(orders, order)])
        for group, orders in within.items()
    }
    return torch.from_numpy(order), chosen


def assign_within(matrix, order):
    """The best order of channels, indices into b, where the blocks have an order; matrix as of `assign_blocks`."""
    number = len(order)
    parts = matrix.reshape(number, len(matrix) // number, number, -1).swapaxes(1, 2)
    found = [linear_sum_assignment(parts[i, block], maximize=True)[1] for i, block in enumerate(order.tolist())]
    return permutation.blockwise(order, list(map(torch.from_numpy, found)))


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
