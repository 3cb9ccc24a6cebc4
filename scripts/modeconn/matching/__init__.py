"""Matching: the permutation of network b that brings it to network a, from activations or from weights.

Each method is a module, imported where the config names it, so that editing it reruns only its own alignments. It has a
function `match(population, a, b, spec, alignment, further=())`, which returns the permutation, group -> (n,), that
brings member b of a population to member a; `alignment` has the config's values, `further` the population at further
moments, all of which get one permutation. A new method needs its module, an entry in `dispatch.MATCHING`, and its keys
in the config's schema.
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
    """The spec with the symmetry, besides permutations, that an alignment asks for; prints which groups have it.

    example: images (N, C, H, W), of which only the shape is used.
    """
    if alignment.get("symmetry", "none") == "none":
        return spec
    from modeconn.permutation import scales  # here, so that its source decides only the jobs of such alignments

    spec = scales.discover(network, spec, example, generator("scales"))
    print(f"symmetry: {scales.report(spec)}", flush=True)
    return spec


def assign_blocks(similarity, members):
    """The best order of blocks, and of the channels within each block, for all groups that consist of these blocks.

    similarity: (n, n), of the n blocks of a to those of b, without their channels. members: group -> (n m, n m),
    similarity of its channels, m in each block. The similarity of two blocks is that of their channels in the best
    order.
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
    """The best order of channels, indices into b, for a given order of blocks; matrix as in `assign_blocks`."""
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
            # The sum is a quick check, but can overflow for finite numbers.
            if not math.isfinite(tensor.sum()) and not tensor.isfinite().all():
                raise ValueError(f"tensor {name} of network {network} is not finite: this network has diverged")
