"""Proximal alternating minimization (PAM): the permutation itself is trained to lower the loss along the curve.

Tatro et al. 2020. Permutations are relaxed to doubly stochastic matrices, which descend on the loss
between network a and the mixed network b; rounding brings them back to permutations; training the
curve between a and the permuted b is the other half of the alternation, and is `fit_curve`. One
round of it, as in the paper's experiments: so the curve's bend is still at the midpoint while the
matrices are trained, and this Bézier curve is the straight line.
"""

from collections import defaultdict

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from modeconn import curves, datasets, optimization
from modeconn import permutation as permutations
from modeconn.randomness import generator

# Smaller entries of a doubly stochastic matrix count as zero when it is decomposed.
LEAST_ENTRY = 5e-4


# --- relaxed permutations ---


def mix(spec, matrices, tensors):
    """`permutation.apply` with a matrix for each group in place of a permutation; linear in each of them.

    spec: without blocks, since a mean of permutations would not keep their channels together.
    matrices: group -> (n, n), a row for each new neuron, holding its shares of the old ones. The matrix of a
    permutation, with ones at [i, permutation[i]], does what the permutation does.
    """
    alike = defaultdict(list)  # one product for all tensors with this axis: bias and normalization of a layer
    for axis in spec.axes:
        if axis.tensor in tensors:
            alike[axis.dim, axis.segments, axis.order, tensors[axis.tensor].shape].append(axis.tensor)
    mixed = dict(tensors)
    for (dim, segments, order, _), names in alike.items():
        stacked = torch.stack([mixed[name] for name in names], -1)
        if order is None:
            stacked = _mix_axis(dim, segments, matrices, stacked)
        else:
            order = torch.tensor(order, device=stacked.device)
            straight = _mix_axis(dim, segments, matrices, stacked.index_select(dim, order))
            stacked = straight.index_select(dim, order.argsort())
        mixed |= dict(zip(names, stacked.unbind(-1)))
    return mixed


def _mix_axis(dim, segments, matrices, tensor):
    mixed = []
    for segment, part in zip(segments, tensor.split([segment.size * segment.repeat for segment in segments], dim)):
        if segment.group is not None:
            channels = part.unflatten(dim, (segment.size, segment.repeat))
            channels = torch.tensordot(matrices[segment.group], channels, ([1], [dim]))
            part = channels.movedim(0, dim).flatten(dim, dim + 1)
        mixed.append(part)
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim)


class Relaxation:
    """A matrix for each group of a spec, from the identity on.

    variables: those of one size in one tensor (1, groups, n, n): few kernels a step for many groups.
    """

    def __init__(self, spec, device):
        sizes = defaultdict(list)
        for group, size in spec.groups.items():
            sizes[size].append(group)
        self.groups = list(sizes.values())
        self.variables = [
            torch.eye(size, device=device).repeat(1, len(groups), 1, 1).requires_grad_(True)
            for size, groups in sizes.items()
        ]

    def matrices(self):
        """group -> (n, n), differentiable in the variables."""
        return {
            group: matrix
            for groups, variable in zip(self.groups, self.variables)
            for group, matrix in zip(groups, variable[0].unbind())
        }


@torch.no_grad()
def project(matrices, times):
    """Bring matrices (..., n, n) towards the doubly stochastic ones, in place.

    `times` times: negative entries to zero, then to the nearest matrix whose rows and columns sum to one. The sums hold
    afterwards, and negative entries become as small as `times` allows. A permutation's matrix stays.
    """
    size = matrices.shape[-1]
    for _ in range(times):
        matrices.clamp_(min=0)
        rows, columns = matrices.mean(-1, keepdim=True), matrices.mean(-2, keepdim=True)
        matrices -= rows
        matrices -= columns - (columns.mean(-1, keepdim=True) + 1 / size)


def relax(pair, spec, settings, recipe, *, lane, report, state):
    """Train one matrix for each group to lower the loss between a pair's first network and its second one, mixed.

    pair: a `populations.Population` of two, with the permutation applied that the matrices start from.

    settings: {"epochs", "batch", "learning_rate", "nu", "projections"}: plain gradient descent on the cross-entropy at
    one t ~ U[0, 1] a batch, without decay; after each step the proximal step towards the identity, then `project`.
    recipe: of the networks; its augmentation and attack are used here too. lane: key of the random numbers, and name of
    the work in messages. report, state: see `optimization.minimize`.
    Returns (group -> (n, n), history).
    """
    functional, (first, _) = pair.functional, pair.vectors()
    parameters = {name: pair.members[1][name] for name in functional.shapes}
    relaxation = Relaxation(spec, first.device)

    def objective(batch):
        mixed = mix(spec, relaxation.matrices(), parameters)
        second = torch.cat([mixed[name].reshape(-1) for name in functional.shapes])
        line, t = torch.stack([first, second])[None], curves.random_t(batch[2])
        return curves.training_loss_at(functional, line, "linear", t, batch, recipe["attack"])[1:]

    approach = optimization.nearness(relaxation.variables, settings["nu"])

    def after_step(rate):
        approach(rate)
        for variable in relaxation.variables:
            project(variable, settings["projections"])

    plain = {"learning_rate": settings["learning_rate"], "momentum": 0, "nesterov": False, "weight_decay": 0}
    history = optimization.minimize(
        objective,
        relaxation.variables,
        lambda epoch, step: datasets.batches(
            pair.dataset, [lane], epoch, step, settings["batch"], recipe["augmentation"]
        ),
        {"epochs": settings["epochs"], "schedule": "halving", "optimizer": plain},
        lanes=[lane],
        report=report,
        state=state,
        after_step=after_step,
    )
    return {group: matrix.detach() for group, matrix in relaxation.matrices().items()}, history


# --- rounding ---


def nearest(matrix):
    """The permutation (n,) whose matrix is nearest to `matrix` (n, n)."""
    return torch.from_numpy(linear_sum_assignment(matrix.cpu().numpy(), maximize=True)[1])


def birkhoff(matrix, terms):
    """A doubly stochastic matrix (n, n) as a convex combination of permutations: the `terms` largest coefficients.

    Birkhoff and von Neumann, greedily: the best assignment within the positive entries of what is left, as often as its
    least entry; what falls below LEAST_ENTRY is dropped. Ends when no coefficient to come can be among the largest.
    Returns (coefficients (k,), descending and summing to one, permutations (k, n)), k <= terms.
    """
    rest = matrix.double().cpu().numpy().copy()
    size = len(rest)
    rows = np.arange(size)
    found = []
    while True:
        rest[rest < LEAST_ENTRY] = 0
        columns = linear_sum_assignment(np.where(rest > 0, rest, -size), maximize=True)[1]
        coefficient = rest[rows, columns].min()
        if coefficient == 0:
            break
        found.append((coefficient, columns))
        rest[rows, columns] -= coefficient
        found.sort(key=lambda term: -term[0])  # stable: equal coefficients stay in the order of their discovery
        found = found[:terms]
        if len(found) == terms and found[-1][0] >= rest.sum(1).min():
            break
    if not found:  # all entries are small
        return torch.ones(1, dtype=torch.float64), nearest(matrix)[None]
    coefficients = torch.tensor([coefficient for coefficient, _ in found], dtype=torch.float64)
    return coefficients / coefficients.sum(), torch.from_numpy(np.stack([columns for _, columns in found]))


def candidates(spec, matrices, settings):
    """Permutations that the matrices may be rounded to, by name: the start, the nearest ones, samples.

    settings: {"samples", "terms", "seed"}. A sample draws one term of each group's decomposition, by its coefficient.
    """
    rng = generator("rounding", settings["seed"])
    drawn = {}
    for group in spec.groups:
        coefficients, terms = birkhoff(matrices[group], settings["terms"])
        drawn[group] = terms[torch.multinomial(coefficients, settings["samples"], replacement=True, generator=rng)]
    found = {
        "start": permutations.identity(spec),
        "nearest": {group: nearest(matrices[group]) for group in spec.groups},
    }
    for sample in range(settings["samples"]):
        found[f"sample {sample + 1}"] = {group: drawn[group][sample] for group in spec.groups}
    return found


def score(functional, ends, images, labels, size, attack):
    """Mean cross-entropy (nats) along the line between `ends` (2, D): t goes from 0 to 1 over the batches.

    With two batches or fewer t = 0 and 1 are left out, where every permutation has the same score.

    images: uint8 (N, C, H, W), labels: (N,), in their order, `size` a batch; normalization by the batch's statistics.
    """
    parts = list(zip(datasets.in_order(images, size), labels.split(size), strict=True))
    total = 0.0
    inner = len(parts) <= 2
    values = torch.linspace(0, 1, len(parts) + 2 * inner, dtype=torch.float64)
    for t, (inputs, targets) in zip(values[1:-1] if inner else values, parts):
        batch = inputs, targets[None], [generator("score", t.item(), device=ends.device)]
        _, _, entropies, _ = curves.training_loss_at(functional, ends[None], "linear", t[None], batch, attack)
        total += entropies.item() * len(targets)
    return total / len(labels)


def choose(pair, spec, found, batch, attack, state):
    """(permutation, scores by name) of the candidate `found` with the lowest score on the pair.

    The paper's own code compares samples with the nearest permutation only, and so may return a permutation that is
    worse than the start. Of equal scores the first wins.
    All are scored on the same images, mixed over classes.
    state: a `resume.State`, which may stop the job after each candidate.
    """
    first, _ = pair.vectors()
    images, labels = pair.dataset.split("train")
    order = datasets.mixed(labels)
    images, labels = images[order], labels[order]
    scores, known = {}, {}
    for name, permutation in found.items():
        key = torch.cat([permutation[group] for group in spec.groups]).numpy().tobytes()
        if key not in known:
            second, _ = pair.functional.pack(permutations.apply(spec, permutation, pair.members[1]))
            ends = torch.stack([first, second])
            known[key] = score(pair.functional, ends, images, labels, batch, attack)
            state.answer()
        scores[name] = known[key]
    return found[min(scores, key=scores.get)], scores
