"""Permutations of hidden neurons: `discover` finds where a network has them, `apply` renumbers.

`capture` returns activations inside the network. `permutation.proof` proves that a spec is right, and pins the groups
that it cannot prove; only programs that prove import it.
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
    """`proof.verify`, imported here, so that its source is in the fingerprint only of jobs that prove."""
    from modeconn.permutation import proof

    return proof.verify(network, spec, example, generator)
