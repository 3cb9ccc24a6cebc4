"""Permutations of hidden neurons: `discover` finds where a network has them, `apply` renumbers.

`capture` hands out activations on the way. That a spec is right is shown by `permutation.proof`, which is imported by
who proves and pins what cannot be shown.
"""

from modeconn.permutation.discovery import discover
from modeconn.permutation.graphs import capture
from modeconn.permutation.spec import (
    Axis,
    PermutationSpec,
    Segment,
    Site,
    apply,
    blockwise,
    clusters,
    compose,
    freedom,
    hidden,
    identity,
    invert,
    member,
    pin,
    random,
    stacked,
    straightened,
)

__all__ = [
    "Axis",
    "PermutationSpec",
    "Segment",
    "Site",
    "apply",
    "blockwise",
    "capture",
    "clusters",
    "compose",
    "discover",
    "freedom",
    "hidden",
    "identity",
    "invert",
    "member",
    "pin",
    "random",
    "stacked",
    "straightened",
    "verify",
]


def verify(network, spec, example, generator):
    """`proof.verify`, imported here, so that its source decides only what proves."""
    from modeconn.permutation import proof

    return proof.verify(network, spec, example, generator)
