"""Components, cliques and Betti numbers of graphs worked by hand, and against definitions written out."""

from itertools import combinations

import numpy as np
import pytest

from modeconn import topology


def barriers(count, edges):
    """(count, count) with these barriers, (i, j) -> value, both ways round; infinite where none is given."""
    matrix = np.full((count, count), np.inf)
    for (i, j), value in edges.items():
        matrix[i, j] = matrix[j, i] = value
    return matrix


def at(matrix, threshold):
    (row,) = topology.by_threshold(matrix, [threshold])
    return {key: value for key, value in row.items() if key != "threshold"}


SQUARE = dict.fromkeys([(0, 1), (1, 2), (2, 3), (0, 3)], 0.1)
# Each node is joined to all others but its opposite: 0-1, 2-3, 4-5.
OCTAHEDRON = {pair: 0.1 for pair in combinations(range(6), 2) if pair not in [(0, 1), (2, 3), (4, 5)]}


def test_a_square_is_a_loop_until_a_diagonal_fills_it():
    rows = topology.by_threshold(barriers(4, SQUARE | {(0, 2): 0.3}), [0.05, 0.1, 0.2, 0.3])
    keys = ("threshold", "edges", "triangles", "maximal_cliques", "largest_clique", "betti_0", "betti_1")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        (0.05, 0, 0, 4, 1, 4, 0),
        (0.1, 4, 0, 4, 2, 1, 1),
        (0.2, 4, 0, 4, 2, 1, 1),
        (0.3, 5, 2, 2, 3, 1, 0),
    ]


def test_an_octahedron_is_a_sphere_without_loops():
    found = at(barriers(6, OCTAHEDRON), 0.1)
    assert found == {
        "edges": 12,
        "triangles": 8,
        "maximal_cliques": 8,
        "largest_clique": 3,
        "betti_0": 1,
        "betti_1": 0,
    }


def test_loops_and_components_add_up():
    """A square, a pentagon that shares a corner with it, a triangle apart, and a node alone."""
    pentagon = dict.fromkeys([(3, 4), (4, 5), (5, 6), (6, 7), (3, 7)], 0)
    triangle = dict.fromkeys([(8, 9), (9, 10), (8, 10)], -0.01)
    found = at(barriers(12, SQUARE | pentagon | triangle), 0.1)
    assert (found["betti_0"], found["betti_1"]) == (3, 2)
    assert (found["maximal_cliques"], found["largest_clique"]) == (9 + 1 + 1, 3)


def test_fifty_networks_that_are_all_connected_are_one_clique():
    found = at(np.zeros((50, 50)), 0)
    assert found == {
        "edges": 1225,
        "triangles": 19600,
        "maximal_cliques": 1,
        "largest_clique": 50,
        "betti_0": 1,
        "betti_1": 0,
    }


def test_what_diverged_is_connected_at_no_threshold():
    assert at(barriers(3, {(0, 1): 0.5}), np.inf)["edges"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_random_graphs_against_definitions(seed):
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.integers(0, 6, (9, 9)), 1) / 10
    matrix += matrix.T
    for row in topology.by_threshold(matrix, [0, 0.1, 0.2, 0.3, 0.4, 0.5]):
        joined = (matrix <= row["threshold"]) & ~np.eye(9, dtype=bool)
        cliques = [
            set(nodes)
            for size in range(1, 10)
            for nodes in combinations(range(9), size)
            if all(joined[pair] for pair in combinations(nodes, 2))
        ]
        maximal = [clique for clique in cliques if not any(clique < other for other in cliques)]
        found = [set(clique) for clique in topology.maximal_cliques(joined)]
        assert sorted(map(sorted, found)) == sorted(map(sorted, maximal))
        assert row["largest_clique"] == max(map(len, maximal))
        edges, triangles = ([sorted(clique) for clique in cliques if len(clique) == size] for size in (2, 3))
        assert (row["edges"], row["triangles"]) == (len(edges), len(triangles))
        # Ranks over the reals are the same here: complexes with torsion have more nodes.
        first = np.zeros((9, len(edges)))
        for column, (i, j) in enumerate(edges):
            first[i, column], first[j, column] = -1, 1
        second = np.zeros((len(edges), len(triangles)))
        for column, (i, j, k) in enumerate(triangles):
            second[edges.index([j, k]), column] = second[edges.index([i, j]), column] = 1
            second[edges.index([i, k]), column] = -1
        rank = np.linalg.matrix_rank(first) if edges else 0
        assert row["betti_0"] == 9 - rank
        assert row["betti_1"] == len(edges) - rank - (np.linalg.matrix_rank(second) if triangles else 0)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.zeros((2, 3)), ["(2, 3)", "(N, N)"]),
        (np.zeros((0, 0)), ["(0, 0)"]),
        ([[0, 0.1], [0.2, 0]], ["0.1 at row 0, column 1", "0.2"]),
        ([[0, np.nan], [np.nan, 0]], ["nan at row 0, column 1"]),
    ],
)
def test_what_is_no_matrix_of_barriers_is_refused(one_line, matrix, words):
    with one_line(ValueError, *words):
        topology.by_threshold(matrix, [0.1])
