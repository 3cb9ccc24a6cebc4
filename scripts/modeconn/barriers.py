"""Numbers that describe a path between two networks: averages, extremes and barriers.

The works on mode connectivity measure a path L(t), 0 <= t <= 1, differently, and the barriers that they
report agree only when both endpoints are equally good. Every definition therefore has its name here:

    linear          Entezari et al. 2021; Sharma et al. 2024
    max-endpoint    Kalaivanan 2023
    mean-endpoint   Ainsworth et al. 2023 (Git Re-Basin)

Tatro et al. 2020 report no barrier, but the accuracy's minimum and its average over arc length. Barriers take values
(T,) of one path at t (T,), or (T, P) of P paths.
"""

import numpy as np


def arc_length_weights(length):
    """Weights (T,) of the trapezoid rule over arc length, not over t; they sum to one.

    `length` (T,) is the distance travelled along the path up to each point. With these weights, `weights @ loss`
    is the line integral of the loss divided by the path's length (Tatro et al. 2020).
    """
    step = np.diff(length)
    if not step.any():
        # A network joined to itself: the path is a point, and every average over it is the same.
        return np.full(len(length), 1 / len(length))
    return (np.append(step, 0) + np.append(0, step)) / 2 / step.sum()


def linear_barrier(t, values):
    """max over t of L(t) - [(1-t) L(0) + t L(1)]: the rise above the endpoints' linear interpolant.

    Source: Entezari et al. 2021 (arXiv 2110.06296), definition of the barrier; Sharma et al. 2024, whose threshold for
    "linearly connected" is 0.02 in error.
    """
    t = t.reshape(-1, *[1] * (values.ndim - 1))
    return np.max(values - ((1 - t) * values[0] + t * values[-1]), axis=0)


def max_endpoint_barrier(t, values):
    """max over t of L(t), minus max(L(0), L(1)): the rise above the worse endpoint. Source: Kalaivanan 2023."""
    return np.max(values, axis=0) - np.maximum(values[0], values[-1])


def mean_endpoint_barrier(t, values):
    """max over t of L(t), minus [L(0) + L(1)] / 2. Source: Ainsworth et al. 2023 (arXiv 2209.04836)."""
    return np.max(values, axis=0) - (values[0] + values[-1]) / 2


BARRIERS = {"linear": linear_barrier, "max-endpoint": max_endpoint_barrier, "mean-endpoint": mean_endpoint_barrier}


def path_quantities(t, length, loss, accuracy, clean_accuracy=None):
    """All quantities of one path, name -> number, in the order of `QUANTITIES`.

    t, length, loss, accuracy: arrays (T,). t rises from 0 to 1; length as in `arc_length_weights`; loss in nats;
    accuracy a fraction. Error is 1 - accuracy. Barriers are never negative, since t = 0 and t = 1 belong to the path.
    clean_accuracy: (T,) of the same networks without attack, if loss and accuracy are under one; it is reported for
    the networks of lowest and highest accuracy (Tatro et al. 2020, robust study), of equals for the first.

    Raises ValueError if t does not rise from 0 to 1 or the length falls.
    """
    clean_accuracy = accuracy if clean_accuracy is None else clean_accuracy
    t, length, loss, accuracy, clean_accuracy = (
        np.asarray(values, dtype=np.float64) for values in (t, length, loss, accuracy, clean_accuracy)
    )
    if len(t) < 2 or t[0] != 0 or t[-1] != 1 or np.any(np.diff(t) <= 0):
        raise ValueError(f"t must rise from 0 to 1, each point once: the first of {len(t)} are {t[:5]}")
    if np.any(np.diff(length) < 0):
        raise ValueError("length must not fall along the path: is it the cumulated distance from t = 0?")
    weights = arc_length_weights(length)
    return {
        "length": length[-1] - length[0],
        "endpoint_loss": (loss[0] + loss[-1]) / 2,
        "mean_loss": weights @ loss,
        "maximum_loss": loss.max(),
        "endpoint_accuracy": (accuracy[0] + accuracy[-1]) / 2,
        "mean_accuracy": weights @ accuracy,
        "minimum_accuracy": accuracy.min(),
        "maximum_accuracy": accuracy.max(),
        "clean_accuracy_at_minimum": clean_accuracy[accuracy.argmin()],
        "clean_accuracy_at_maximum": clean_accuracy[accuracy.argmax()],
        **{f"loss_barrier_{_identifier(name)}": barrier(t, loss) for name, barrier in BARRIERS.items()},
        **{f"error_barrier_{_identifier(name)}": barrier(t, 1 - accuracy) for name, barrier in BARRIERS.items()},
    }


def spectrum(loss):
    """|c_k| / ‖c‖ for the wave numbers k = 1 ... 8 (fewer for less than 16 points), c the Fourier transform of a path.

    loss: (T,) at equal steps of t; k counts periods over the T points. ‖c‖ is over all k from 0 on.
    Source: Tatro et al. 2020, spectrum of the loss along the curve.
    """
    coefficients = np.abs(np.fft.rfft(loss))
    return coefficients[1:9] / (np.linalg.norm(coefficients) or 1)


def _identifier(name):
    return name.replace("-", "_")


QUANTITIES = tuple(path_quantities([0, 1], [0, 1], [0, 0], [0, 0]))
