"""What is said of a proof: that a spec is wrong, and how much of its network one that is right leaves free.

It decides whether a job fails and what it prints, never what it makes: what pins a group is in `proof`.
"""

from modeconn.permutation.spec import freedom, hidden

LARGEST_CHANGE = 1e-7
LEAST_FREEDOM = 0.5


def check(name, change, declared, worst):
    """Raises ValueError where permuting all groups of the network `name` changes an output by LARGEST_CHANGE.

    change: by how much it does, as a fraction of the output's largest value. declared: modules that were taken at their
    word. worst: a function that returns the group which changes it most.
    """
    if not change < LARGEST_CHANGE:  # nor NaN
        raise ValueError(
            f"{name}: the permutation spec is wrong: permuting all groups changes an output by {change:.1e} "
            f"of its largest value, most of all group {worst()}"
            + (f"; is what {', '.join(declared)} says by permutable true?" if declared else "")
        )


def report(spec, network):
    """What of a network is free, and what is pinned and why, as text; a warning where it is below LEAST_FREEDOM."""
    free = freedom(spec, network)
    text = f"{len(spec.groups)} groups of neurons may be permuted, {channels(spec)}, with {free:.1%} of the parameters"
    if free < LEAST_FREEDOM:
        text = f"WARNING: only {text}"
    return "\n".join([text, *(f"  pinned: {line}" for line in pinned(spec))])


def channels(spec):
    """How many hidden channels of how many are in groups, as text."""
    free, every = hidden(spec)
    return f"{free} of {every} hidden channels"


def pinned(spec):
    """For each reason a line: what is pinned, and the reason."""
    names = {}
    for name, reason in spec.pinned.items():
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(those)} ({reason})" for reason, those in names.items()]
