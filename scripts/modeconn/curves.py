"""Curves in weight space, as a function of their control points.

A curve of k bends has k + 2 control points, the two endpoints first and last. It is not a network
of special layers: `weights_at` gives a parameter vector, and the plain network runs with it.
"""

from math import comb

import torch

from modeconn import classification

KINDS = ("linear", "bezier", "chain")


def coefficients(kind, points, t):
    """Weights (L, points) of the control points at t (L,), each row summing to one.

    bezier: Bernstein polynomials, (1-t)^2, 2t(1-t), t^2 for three points (Garipov et al. 2018;
    Tatro et al. 2020). chain: a polygonal chain, its corners at equal steps of t. linear: a chain
    of two points.
    Raises ValueError for another kind, or for a line with bends.
    """
    t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1)
    order = points - 1
    index = torch.arange(points, dtype=torch.float64, device=t.device)
    if kind == "bezier":
        # No tensor on the CPU, which a GPU would have to wait for.
        binomials = torch.stack([t.new_full((), comb(order, i)) for i in range(points)])
        return binomials * t**index * (1 - t) ** (order - index)
    if kind == "chain" or (kind == "linear" and points == 2):
        return torch.clamp(1 - (t * order - index).abs(), min=0)
    raise ValueError(
        f"curve kind {kind} with {points} control points: expected one of {', '.join(KINDS)}, 2 for linear"
    )


def weights_at(control_points, kind, t):
    """Parameter vectors (L, D) of the curves `control_points` (L or 1, k + 2, D) at t (L,)."""
    weights = coefficients(kind, control_points.shape[1], t).to(control_points)
    return torch.einsum("lk,lkd->ld", weights, control_points.expand(len(weights), -1, -1))


def midpoints(first, last, bends):
    """Bends (k, D) at equal distances on the straight line from first to last (D,): a curve's start."""
    t = torch.linspace(0, 1, bends + 2, dtype=first.dtype, device=first.device)[1:-1, None]
    return first + t * (last - first)


def random_t(generators):
    """One t ~ U[0, 1] for each lane, (L,), from its generator of the batch, on its device: no GPU has to wait."""
    return torch.stack([torch.rand((), generator=g, device=g.device) for g in generators])


def training_loss_at(functional, control_points, kind, t, batch, attack):
    """Points (L, D) at t (L,) of curves (L or 1, k + 2, D), and their `classification.training_loss`."""
    vectors = weights_at(control_points, kind, t)
    # Statistics gathered at random points of a curve are not used.
    buffers = functional.initial_buffers(len(vectors))
    return vectors, *classification.training_loss(functional, vectors, buffers, batch, attack)


def objective_of(functional, ends, bends, curve, attack):
    """Loss of a random point of each curve: training loss + wd/2 |phi(t)|^2 at one t ~ U[0, 1] a batch.

    ends: (L, 2, D) fixed; bends: (L, k, D) to be trained. The decay acts on the point of the curve,
    not on the bends (Garipov et al. 2018; Tatro et al. 2020), so it is part of the loss.
    """

    def objective(batch):
        points, t = torch.cat([ends[:, :1], bends, ends[:, 1:]], 1), random_t(batch[2])
        vectors, losses, entropies, correct = training_loss_at(functional, points, curve["kind"], t, batch, attack)
        decay = 0.5 * curve["weight_decay"] * vectors.square().sum(1)
        return losses + decay, entropies, correct

    return objective
