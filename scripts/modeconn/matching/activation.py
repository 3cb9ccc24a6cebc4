"""Matching by activations: Algorithm 1 of Tatro et al. 2020, and the similarity of two networks' neurons."""

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from modeconn import datasets
from modeconn import permutation as permutations
from modeconn.folding import fold
from modeconn.functional import arithmetic
from modeconn.matching import assign_blocks, check_tensors

LOGITS = "logits"
BATCH = 64  # images: the quickest on a CPU
STATISTICS = {"sum": sum, "first": lambda matrices: matrices[0]}
# The costs of the assignment. Dead channels cause ties, which the bits of the costs decide: for correlations they are
# the costs of the paper's own code, in its precision.
COSTS = {
    "correlation": lambda correlations, statistic: 1.01 - statistic([c.matrix for c in correlations]).float(),
    "inner": lambda correlations, statistic: -statistic([c.inner for c in correlations]),
    "cosine": lambda correlations, statistic: (
        -_cosines(statistic([c.inner for c in correlations]), statistic([c.squares for c in correlations]))
    ),
}


@dataclass(frozen=True)
class Correlation:
    """Similarity of two networks' channels at one place; [i, j] is of channel i of network a and j of network b.

    matrix: (n, n) float64, Pearson correlations. inner: (n, n) float64, inner products over all positions of an
    image, neither centred nor normalized, mean over images; squares: (2, n) float64, the channels' own such products,
    of a and of b; energy: ‖A‖² + ‖B‖², mean over images, so that energy - 2 trace(inner) is ‖A - B‖².
    """

    group: str  # of the permutation spec, or LOGITS
    matrix: torch.Tensor
    inner: torch.Tensor
    squares: torch.Tensor
    energy: float


class Moments:
    """First and second moments of the n channels of two networks over the samples seen so far.

    Memory is n² float64, whatever the number of samples. Products are float32, over blocks of samples, and are summed
    in float64. With raw samples, float32's precision decreases by a factor (mean/std)². If that is above LOSS in the
    first batch, n₁ of N samples, that batch's means are subtracted from all samples. They differ from the true means by
    at most std·√(N/n₁), so that the factor is at most N/n₁.
    """

    BLOCK = 2**12  # samples: long enough for matrix products, short enough for caches and for float32 sums
    EPSILON = 1e-5  # in units of the activations; a dead channel correlates with nothing, not with NaN
    LOSS = 10  # what rectified Gaussians lose is 0.5

    def __init__(self):
        self.samples = 0

    def add(self, a, b):
        """a, b: (n, images, ...) activations of the two networks; every position of every image is a sample.

        float32 or less precise, of any strides; those of channels-last memory are the fastest.
        """
        if self.samples:
            self._sum(a, b)
            return
        self._start(a.new_zeros(2, len(a), dtype=torch.float64))
        self._sum(a, b)
        mean = self.sum / self.samples
        if (mean**2 > self.LOSS * (self.square / self.samples - mean**2)).any():
            self._start(mean.float().double())
            self._sum(a, b)

    def _start(self, pilot):
        """Start again, with `pilot` (2, n) subtracted from all samples."""
        self.samples = self.images = 0
        self.pilot, self.centred = pilot, bool(pilot.any())
        self.sum, self.square = torch.zeros_like(pilot), torch.zeros_like(pilot)
        self.product = pilot.new_zeros(pilot.shape[1], pilot.shape[1])

    def _sum(self, a, b):
        a, b = a.movedim(0, -1), b.movedim(0, -1)
        positions = a[0, ..., 0].numel()
        self.images += len(a)
        self.samples += len(a) * positions
        images = max(1, self.BLOCK // positions)
        for block in zip(a.split(images), b.split(images), strict=True):
            x, y = (values.flatten(0, -2).float() for values in block)
            if self.centred:
                x, y = (values - pilot for values, pilot in zip((x, y), self.pilot.float()))
            self.product += x.T @ y
            self.sum += torch.stack([values.sum(0) for values in (x, y)])
            self.square += torch.stack([values.square().sum(0) for values in (x, y)])

    def correlation(self):
        """(n, n) float64: mean of z_a z_bᵀ with z = (activation - mean) / (std + EPSILON), std over all samples."""
        mean = self.sum / self.samples
        std = (self.square / self.samples - mean**2).clamp(min=0).sqrt() + self.EPSILON
        return (self.product / self.samples - torch.outer(*mean)) / torch.outer(*std)

    def inner(self):
        """(n, n) float64: A Bᵀ, un-centred, divided by the number of images. A channel of zeros has zeros."""
        pilot_a, pilot_b = self.pilot
        sum_a, sum_b = self.sum
        moved = torch.outer(pilot_a, sum_b) + torch.outer(sum_a + self.samples * pilot_a, pilot_b)
        return (self.product + moved) / self.images

    def squares(self):
        """(2, n) float64: ‖channel‖² of a and of b, un-centred, divided by the number of images."""
        return self._squares().clamp(min=0) / self.images

    def energy(self):
        """‖A‖² + ‖B‖², un-centred, divided by the number of images."""
        return self._squares().sum().item() / self.images

    def _squares(self):
        return self.square + self.pilot * (2 * self.sum + self.samples * self.pilot)


def batches_of(images):
    """Images uint8 (N, C, H, W), or floats as they are, in the batches that `correlate` is quickest with."""
    return (datasets.to_float(part) for part in images.split(BATCH))


@torch.no_grad()
def correlate(network, spec, tensors_a, tensors_b, batches, site="post", subsample=0):
    """Correlations of two networks' activations: one for every site of every group in graph order, last the logits.

    Groups that only the train graph has (auxiliary heads) come before the logits.
    network: the architecture; its own weights are not used. tensors_a, tensors_b: state dicts.
    batches: images (N, C, H, W) as the network takes them, or pairs of them where each network sees
    its own (adversarial examples), on the device of network and tensors; they are read once.
    site: activations after ("post") or before ("pre") the nonlinearities, see `PermutationSpec`.
    subsample: of a longer spatial axis every second, third ... position is taken, such that at most this many remain
    (Tatro et al. 2020 take every second of 64, for 32); 0 takes all.
    Evaluation mode, and every spatial position is a sample. Activations are those of the two networks as given: no
    group's matching affects another's (Tatro et al. 2020, Algorithm 1).
    Returns a list of Correlation. Raises ValueError where a tensor is missing, misshapen or not finite,
    or where there are no batches.
    """
    # Not the counters of batches: evaluation does not read them.
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    check_tensors(names, tensors_a, tensors_b)
    pairs = (batch if isinstance(batch, tuple) else (batch, batch) for batch in batches)
    first = next(pairs, None)
    if first is None or not len(first[0]):
        raise ValueError("activation matching: there are no images to match on")
    of_group = {"post": spec.sites, "pre": spec.pre_sites}[site]
    sites = [(group, place) for group in spec.groups for place in of_group[group]]
    sites.sort(key=lambda item: item[1].training)
    modes = sorted({False, *(place.training for _, place in sites)})
    captured = [
        permutations.capture(
            network, [place.node for _, place in sites if place.training == training], first[0][:2], training
        )
        for training in modes
    ]
    nodes = ((training, node.name) for training, graph in zip(modes, captured) for node in graph.graph.nodes)
    position = {node: i for i, node in enumerate(nodes)}
    order = sorted(range(len(sites)), key=lambda i: position[sites[i][1].training, sites[i][1].node])
    graphs = [fold(graph, names) for graph in captured]
    networks = [[graph.tensors(tensors) for graph in graphs] for tensors in (tensors_a, tensors_b)]
    moments = [Moments() for _ in range(len(sites) + 1)]

    def activations(network, images):
        values, outputs = zip(*(graph(tensors, images) for graph, tensors in zip(graphs, network)))
        return [*chain(*values), outputs[0]]

    def observe(images_a, images_b):  # a function, so that one batch's activations are gone before the next one's
        with arithmetic(network, images_a.device):
            *values_a, logits_a = activations(networks[0], images_a)
            *values_b, logits_b = activations(networks[1], images_b)
        for moment, (_, place), a, b in zip(moments, sites, values_a, values_b, strict=False):
            moment.add(_channels(a, place, subsample), _channels(b, place, subsample))
        moments[-1].add(logits_a.T, logits_b.T)

    for images_a, images_b in chain([first], pairs):
        observe(images_a, images_b)
    groups = [*(sites[i][0] for i in order), LOGITS]
    return [
        Correlation(group, moment.correlation(), moment.inner(), moment.squares(), moment.energy())
        for group, moment in zip(groups, [*(moments[i] for i in order), moments[-1]], strict=True)
    ]


def _channels(value, site, subsample):
    """View of the site's activations with the channels first: (channels, images, ...)."""
    channels = value.narrow(site.dim, site.offset, site.size).movedim(site.dim, 0)
    steps = (-(-side // subsample) if subsample else 1 for side in channels.shape[2:])
    return channels[:, :, *(slice(None, None, step) for step in steps)]


def of_members(population, a, b, spec, split, site="post", attack=None, subsample=0):
    """`correlate` for the members a and b of a population, on the images of a split.

    Under `attack` each of the two sees its own adversarial examples.
    """
    images, labels = population.dataset.split(split)
    pair = population.members[a], population.members[b]
    batches = batches_of(images)
    if attack:
        from modeconn.matching import adversarial  # here, so that its source decides only alignments under attack

        batches = adversarial.batches(population.functional, *pair, images, labels, attack, BATCH)
    return correlate(population.functional.network, spec, *pair, batches, site, subsample)


def match(population, a, b, spec, alignment, further=()):
    """Match member b of a population to member a by their activations on the alignment split (`match_correlations`).

    further: the population at further moments; all get one permutation, by the sum of their correlations.
    """
    site, attack = alignment.get("site", "post"), alignment.get("attack")
    found = [
        of_members(moment, a, b, spec, "alignment", site, attack, alignment.get("subsample", 0))
        for moment in (population, *further)
    ]
    correlations = [summed(of_site) for of_site in zip(*found, strict=True)]
    return match_correlations(spec, correlations, alignment["statistic"], alignment.get("kernel", "correlation"))


def summed(correlations):
    """The sum of the correlations of one place in a network at several moments."""
    first, *others = correlations
    if not others:
        return first
    sums = {
        name: sum((getattr(other, name) for other in others), getattr(first, name))
        for name in ("matrix", "inner", "squares", "energy")
    }
    return replace(first, **sums)


def check_statistic(spec, statistic):
    """`statistic`, as `match_correlations` takes it, as a dict of groups. Raises ValueError where it is unknown."""
    statistics = statistic if isinstance(statistic, dict) else dict.fromkeys(spec.groups, statistic)
    for group, name in statistics.items():
        if group not in spec.groups or name not in STATISTICS:
            raise ValueError(
                f"statistic {name!r} of group {group!r}: the statistics are {', '.join(STATISTICS)}, "
                f"the groups {', '.join(spec.groups)}"
            )
    return statistics


def match_correlations(spec, correlations, statistic="sum", kernel="correlation"):
    """Permutation of b that matches, group by group, its channels with those of a.

    kernel: "correlation" maximizes the trace of the correlations (Tatro et al. 2020, Algorithm 1), "inner" that of the
    inner products, which minimizes ‖A - P B‖² (same paper, Theorem 3.1, where activations are those before the
    nonlinearity; the linear kernel of Sharma et al. 2024), "cosine" that of the inner products of channels scaled to
    length one over all images and sites (Sharma et al. 2024); those of a dead channel are 0.
    statistic: what a group with several sites (a residual stream) is matched on: the "sum" over them or
    the "first"; one for all groups, or group -> statistic ("sum" where not named).
    A group without correlations keeps its order.
    Raises ValueError where a statistic or its group is unknown, or activations are not finite.
    """
    statistics = check_statistic(spec, statistic)
    permutation = permutations.identity(spec)
    costs = {}
    for group in spec.groups:
        of_group = [correlation for correlation in correlations if correlation.group == group]
        if of_group:
            cost = COSTS[kernel](of_group, STATISTICS[statistics.get(group, "sum")])
            if not cost.isfinite().all():
                raise ValueError(f"group {group}: the activations' correlations are not finite: they overflow")
            costs[group] = cost.cpu().numpy()
    for blocks, members in permutations.clusters(spec).items():
        known = {group: -costs.pop(group).astype(np.float64) for group in (blocks, *members) if group in costs}
        number = spec.groups[blocks]
        own = known.pop(blocks, np.zeros((number, number)))
        permutation[blocks], found = assign_blocks(own, known)
        for group in members:
            straight = [torch.arange(spec.groups[group] // number)] * number
            permutation[group] = found.get(group, permutations.blockwise(permutation[blocks], straight))
    for group, cost in costs.items():
        permutation[group] = torch.from_numpy(linear_sum_assignment(cost)[1])
    return permutation


def _cosines(inner, squares):
    """Inner products (n, n) of channels of squared lengths (2, n), divided by both lengths; zeros stay."""
    lengths = torch.outer(*squares.sqrt())
    return torch.where(lengths > 0, inner / lengths, 0)


def signature(correlations, permutation):
    """Mean correlation of paired channels at every site, before and after permuting b.

    Returns a list of (group, before, after) in the order of `correlations`; the logits are never permuted.
    """
    return [
        (c.group, *(_matched(c.matrix, c.group, order).mean().item() for order in ({}, permutation)))
        for c in correlations
    ]


def distances(correlations, permutation):
    """L2 distance ‖A - P B‖ / √images at every site, before and after permuting b, in the form of `signature`.

    Rounding leaves about 1e-4 of the activations' norm between activations that are equal.
    """
    rows = []
    for c in correlations:
        matched = c.inner.trace().item(), _matched(c.inner, c.group, permutation).sum().item()
        rows.append((c.group, *(max(c.energy - 2 * inner, 0) ** 0.5 for inner in matched)))
    return rows


def _matched(matrix, group, permutation):
    """The entries [i, permutation[i]] of a matrix of `group`."""
    order = permutation.get(group, torch.arange(len(matrix))).to(matrix.device)
    return matrix.gather(1, order[:, None])[:, 0]
