"""Curves and planes, point by point, for tests."""

from modeconn import connectivity, measuring


def along(points, kind, count):
    """(t, length, vectors (1, D)) of each point of `connectivity.along`."""
    for look in connectivity.along(points, kind, count):
        yield look.place["t"], look.place["length"], measuring.combine(points, look.networks)


def at(plane, x, y):
    """Vector (D,) at the coordinates x, y of a plane."""
    return measuring.combine(plane.corners, [plane.at(x, y)])[0]
