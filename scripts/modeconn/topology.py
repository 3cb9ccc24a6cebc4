"""The topology of networks that are linearly connected: components, cliques and holes of their graph (Kalaivanan 2023).

Two networks are joined at a threshold if the barrier between them is at most the threshold. Three networks that are
joined in pairs span a triangle (flag complex; Vietoris-Rips complex of the barriers).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components


def by_threshold(barriers: ArrayLike, thresholds: Sequence[float]) -> list[dict[str, float]]:
    """Numbers of the graph at each threshold, one dict a threshold, in their order.

    barriers: (N, N), symmetric, in the unit of the thresholds; the diagonal is ignored; networks with an infinite
    barrier are never joined.
    edges, triangles: number of joined pairs and triples; maximal_cliques: number of cliques that no other network can
    join; largest_clique: size of the largest; betti_0: components; betti_1: loops that triangles do not fill, over
    GF(2).
    Raises ValueError where the matrix is not square, symmetric and without NaN off its diagonal.
    """
    matrix = _checked(barriers)
    filling = np.array(_filling(matrix))
    rows = []
    for threshold in thresholds:
        joined = (matrix <= threshold) & np.isfinite(matrix)
        edges = int(joined.sum()) // 2
        sizes = [len(clique) for clique in maximal_cliques(joined)]
        components = int(connected_components(joined, directed=False, return_labels=False))
        # Independent loops of the graph, less those that triangles of the complex fill.
        loops = edges - len(matrix) + components
        rows.append(
            {
                "threshold": threshold,
                "edges": edges,
                "triangles": _triangles(joined),
                "maximal_cliques": len(sizes),
                "largest_clique": max(sizes),
                "betti_0": components,
                "betti_1": loops - int((filling <= threshold).sum()),
            }
        )
    return rows


def maximal_cliques(joined: np.ndarray) -> Iterator[list[int]]:
    """The maximal cliques of a graph, joined (N, N) bool, symmetric, False on the diagonal; nodes in ascending order.

    Bron and Kerbosch 1973 with a pivot (Tomita et al. 2006): sets of nodes are bits of integers. In the worst case
    there are 3^(N/3) cliques.
    """
    near = [sum(1 << int(node) for node in np.flatnonzero(row)) for row in joined]

    def grow(clique, candidates, excluded):
        if not candidates | excluded:
            yield sorted(clique)
            return
        pivot = max(_bits(candidates | excluded), key=lambda node: (near[node] & candidates).bit_count())
        for node in _bits(candidates & ~near[pivot]):
            yield from grow([*clique, node], candidates & near[node], excluded & near[node])
            candidates &= ~(1 << node)
            excluded |= 1 << node

    yield from grow([], (1 << len(near)) - 1, 0)


def _filling(matrix):
    """The threshold at which each triangle that fills a loop appears, in ascending order.

    Columns of the boundary matrix of triangles over GF(2) are reduced from left to right (Edelsbrunner et al. 2002):
    the number of columns up to a threshold that do not vanish is the rank of the matrix there. A column is an integer,
    an edge a bit.
    """
    nodes = range(len(matrix))
    order = sorted((matrix[i, j], i, j) for i, j in combinations(nodes, 2) if np.isfinite(matrix[i, j]))
    bit = {}  # of the edges that are there, both ways round
    reduced = {}  # by their last edge, the columns that did not vanish
    found = []
    for position, (value, i, j) in enumerate(order):
        for k in nodes:
            if (i, k) not in bit or (j, k) not in bit:
                continue
            column = (1 << position) | bit[i, k] | bit[j, k]
            while column and column.bit_length() in reduced:
                column ^= reduced[column.bit_length()]
            if column:
                reduced[column.bit_length()] = column
                found.append(value)
        bit[i, j] = bit[j, i] = 1 << position
    return found


def _triangles(joined):
    counts = joined.astype(np.int64)
    return int((counts @ counts * counts).sum()) // 6


def _bits(number):
    """The places of the bits of an integer, ascending."""
    while number:
        least = number & -number
        yield least.bit_length() - 1
        number ^= least


def _checked(barriers):
    """(N, N) float64 with an infinite diagonal."""
    matrix = np.array(barriers, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) != matrix.shape[-1] or not len(matrix):
        raise ValueError(f"barriers: of shape {matrix.shape}, and they have to be a matrix (N, N), one row a network")
    np.fill_diagonal(matrix, np.inf)
    for i, j in np.argwhere(~(matrix == matrix.T)):
        raise ValueError(
            f"barriers: {matrix[i, j]} at row {i}, column {j} and {matrix[j, i]} the other way round: a barrier is a "
            "number, the same both ways"
        )
    return matrix
