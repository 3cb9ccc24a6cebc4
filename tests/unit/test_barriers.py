"""Averages and barriers of curves that can be worked out by hand."""

import numpy as np
import pytest

from modeconn import barriers

# The interpolant of the endpoints is 1.0, 1.25, 1.75, 2.0: the highest point (t = 0.75) is not the one that rises most.
T = np.array([0, 0.25, 0.75, 1])
LOSS = np.array([1, 3.5, 3.6, 2])


def test_linear_barrier_is_the_largest_rise_above_the_interpolant():
    assert barriers.linear_barrier(T, LOSS) == pytest.approx(3.5 - 1.25)


def test_max_endpoint_barrier_is_the_rise_above_the_worse_endpoint():
    assert barriers.max_endpoint_barrier(T, LOSS) == pytest.approx(3.6 - 2)


def test_mean_endpoint_barrier_is_the_rise_above_the_endpoints_mean():
    assert barriers.mean_endpoint_barrier(T, LOSS) == pytest.approx(3.6 - 1.5)


def test_definitions_agree_where_the_endpoints_are_equal():
    loss = np.array([1, 0.5, 3, 1])
    assert {barrier(T, loss) for barrier in barriers.BARRIERS.values()} == {2.0}


@pytest.mark.parametrize("barrier", barriers.BARRIERS.values(), ids=barriers.BARRIERS)
def test_a_path_below_its_endpoints_has_no_negative_barrier(barrier):
    assert barrier(T, np.array([1, 0.2, 0.3, 2])) == (0.5 if barrier is barriers.mean_endpoint_barrier else 0)


def test_arc_length_weights_are_those_of_the_trapezoid_rule():
    np.testing.assert_allclose(barriers.arc_length_weights([0, 1, 3, 4]), np.array([0.5, 1.5, 1.5, 0.5]) / 4)


def test_a_stretch_counts_by_its_length_and_not_by_its_points():
    length = np.array([0, 1, 2, 10])
    assert barriers.arc_length_weights(length) @ np.array([0, 0, 0, 1]) == pytest.approx(0.4)


def test_a_path_without_length_has_the_mean_of_its_points():
    assert barriers.arc_length_weights(np.zeros(4)) @ np.full(4, 0.7) == pytest.approx(0.7)


def test_line_integrals_of_the_papers_code():
    """Loss and accuracy (%) that the code of Tatro et al. 2020 measured at nine points, and its integrals."""
    t = np.linspace(0, 1, 9)
    length = [0, 3.86195441, 7.66815564, 11.43822159, 15.19233675, 18.95094256, 22.73440769, 26.56270403, 30.45511344]
    loss = [1.8216567, 1.69783509, 1.6855247, 1.71707308, 1.72407722, 1.68701601, 1.63016164, 1.66015792, 1.84451783]
    accuracy = [46.8, 48.6, 48.0, 47.6, 45.8, 46.6, 51.6, 51.0, 47.6]
    quantities = barriers.path_quantities(t, length, loss, accuracy)
    assert quantities["mean_loss"] == pytest.approx(1.7045690842, rel=1e-7)
    assert quantities["mean_accuracy"] == pytest.approx(48.3099230774, rel=1e-7)


def test_all_quantities_of_a_path():
    accuracy = np.array([0.9, 0.5, 0.6, 0.8])
    assert barriers.path_quantities(T, [0, 1, 3, 4], LOSS, accuracy) == pytest.approx(
        {
            "length": 4,
            "endpoint_loss": 1.5,
            "mean_loss": (0.5 * 1 + 1.5 * 3.5 + 1.5 * 3.6 + 0.5 * 2) / 4,
            "maximum_loss": 3.6,
            "endpoint_accuracy": 0.85,
            "mean_accuracy": (0.5 * 0.9 + 1.5 * 0.5 + 1.5 * 0.6 + 0.5 * 0.8) / 4,
            "minimum_accuracy": 0.5,
            "maximum_accuracy": 0.9,
            "clean_accuracy_at_minimum": 0.5,
            "clean_accuracy_at_maximum": 0.9,
            "loss_barrier_linear": 2.25,
            "loss_barrier_max_endpoint": 1.6,
            "loss_barrier_mean_endpoint": 2.1,
            # Errors 0.1, 0.5, 0.4, 0.2; interpolant 0.1, 0.125, 0.175, 0.2.
            "error_barrier_linear": 0.375,
            "error_barrier_max_endpoint": 0.3,
            "error_barrier_mean_endpoint": 0.35,
        }
    )


def test_under_attack_the_clean_accuracy_of_the_worst_and_the_best_network_is_told():
    quantities = barriers.path_quantities(T, [0, 1, 3, 4], LOSS, [0.3, 0.1, 0.6, 0.1], [0.91, 0.52, 0.63, 0.84])
    assert (quantities["minimum_accuracy"], quantities["clean_accuracy_at_minimum"]) == (0.1, 0.52)
    assert (quantities["maximum_accuracy"], quantities["clean_accuracy_at_maximum"]) == (0.6, 0.63)
    assert quantities["endpoint_accuracy"] == pytest.approx(0.2)


@pytest.mark.parametrize("t", [[0, 0.5, 0.9], [0.1, 0.5, 1], [0, 0.5, 0.5, 1], [0]])
def test_t_must_rise_from_0_to_1(t):
    with pytest.raises(ValueError, match="t must rise from 0 to 1"):
        barriers.path_quantities(t, t, t, t)


def test_length_must_not_fall():
    with pytest.raises(ValueError, match="length must not fall"):
        barriers.path_quantities([0, 0.5, 1], [0, 2, 1], [0, 0, 0], [1, 1, 1])


@pytest.mark.parametrize("wave", [1, 3, 8])
def test_the_spectrum_of_a_cosine_is_one_line(wave):
    t = np.arange(65) / 65
    expected = [float(wave == other) for other in range(1, 9)]
    np.testing.assert_allclose(barriers.spectrum(0.7 * np.cos(2 * np.pi * wave * t + 0.4)), expected, atol=1e-12)


def test_the_spectrum_is_a_share_of_the_whole_with_its_mean():
    loss = 2 + np.cos(2 * np.pi * np.arange(64) / 64) + np.cos(2 * np.pi * 20 * np.arange(64) / 64)
    whole = np.hypot(2 * 64, np.hypot(32, 32))
    np.testing.assert_allclose(barriers.spectrum(loss), [32 / whole] + [0] * 7, atol=1e-12)
    np.testing.assert_allclose(barriers.spectrum(10 * loss), barriers.spectrum(loss), atol=1e-12)


def test_short_and_vanishing_paths_have_a_spectrum():
    assert len(barriers.spectrum(np.ones(5))) == 2
    np.testing.assert_array_equal(barriers.spectrum(np.zeros(65)), np.zeros(8))
