"""Matching: the permutation of network b that brings it to network a, from activations or from weights.

A module a method, imported where the config names it: editing one reruns its own alignments only.
"""

import math


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
