"""A curve as tests look at it, point by point."""

from modeconn import connectivity, measuring


def along(points, kind, count):
    """(t, length, vectors (1, D)) of each point of `connectivity.along`."""
    for look in connectivity.along(points, kind, count):
        yield look.place["t"], look.place["length"], measuring.combine(points, look.networks)
