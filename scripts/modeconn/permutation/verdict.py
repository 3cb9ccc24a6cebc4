"""Messages on a proof: that a spec is wrong, or how much of its network a right one can permute.

This module decides whether a job fails and what it prints, never its result: `proof` decides which groups are pinned.
"""

from modeconn.permutation.spec import freedom, hidden

LARGEST_CHANGE = 1e-7
LEAST_FREEDOM = 0.5


def check(name, change, declared, worst):
    """Raises ValueError where permuting all groups of the network `name` changes an output by LARGEST_CHANGE.

    change: the change as a fraction of the output's largest value. declared: modules whose declaration was taken.
    worst: a function that returns the group which changes it most.
    """
    if not change < LARGEST_CHANGE:  # also true for NaN
        raise ValueError(
            f"{name}: the permutation spec is wrong: permuting all groups changes an output by {change:.1e} "
            f"of its largest value, most of all group {worst()}"
            + (f"; check the attribute permutable of {', '.join(declared)}" if declared else "")
        )


def report(spec, network):
    """The permutable share of a network, and what is pinned and why, as text; a warning below LEAST_FREEDOM."""
    free = freedom(spec, network)
    text = f"{len(spec.groups)} groups of neurons may be permuted, {channels(spec)}, with {free:.1%} of the parameters"
    if free < LEAST_FREEDOM:
        text = f"WARNING: only {text}"
    return "\n".join([text, *(f"  pinned: {line}" for line in pinned(spec))])


def channels(spec):
    """How many of the hidden channels are in groups, as text."""
    free, every = hidden(spec)
    return f"{free} of {every} hidden channels"


def pinned(spec):
    """A line for each reason: what is pinned, and the reason."""
    names = {}
    for name, reason in spec.pinned.items():
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(those)} ({reason})" for reason, those in names.items()]
