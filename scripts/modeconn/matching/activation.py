"""Matching by activations: Algorithm 1 of Tatro et al. 2020, and how alike two networks' neurons are."""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch.func import functional_call

from modeconn import permutation as permutations
from modeconn.matching import check_tensors

LOGITS = "logits"
STATISTICS = {"sum": sum, "first": lambda matrices: matrices[0]}


@dataclass(frozen=True)
class Correlation:
    """Pearson correlations between the channels of two networks at one place.

    matrix: (n, n) float64, [i, j]: channel i of network a with channel j of network b.
    """

    group: str  # of the permutation spec, or LOGITS
    matrix: torch.Tensor


class Moments:
    """First and second moments of the n channels of two networks over the samples seen so far.

    Memory is n² float64, whatever the number of samples. Products are float32, over blocks of
    samples, about a pilot mean (that of the first batch, n₁ of N samples), and are summed in
    float64. The pilot misses the true mean by at most std·√(N/n₁), so centring with it loses
    at most a factor N/n₁ of float32's precision, while raw moments lose (mean/std)².
    """

    BLOCK = 2**14  # samples: long enough for matrix products, short enough for caches and for float32 sums
    EPSILON = 1e-5  # in units of the activations; a dead channel correlates with nothing, not with NaN

    def __init__(self):
        self.samples = 0

    def add(self, a, b):
        """a, b: (n, images, ...) activations of the two networks; every position of every image is a sample.

        Any strides will do: centring makes the only copy, and keeps channels-last memory as it is.
        """
        if self.samples == 0:
            rest = tuple(range(1, a.ndim))
            self.pilot_a, self.pilot_b = a.mean(rest, keepdim=True), b.mean(rest, keepdim=True)
            self.sum_a, self.sum_b, self.square_a, self.square_b = a.new_zeros(4, len(a), dtype=torch.float64)
            self.product = a.new_zeros(len(a), len(b), dtype=torch.float64)
        positions = a[0, 0].numel()
        self.samples += a.shape[1] * positions
        images = max(1, self.BLOCK // positions)
        for x, y in zip(a.split(images, 1), b.split(images, 1), strict=True):
            x, y = (x - self.pilot_a).flatten(1), (y - self.pilot_b).flatten(1)
            self.product += x @ y.T
            self.sum_a += x.sum(1)
            self.sum_b += y.sum(1)
            self.square_a += torch.linalg.vecdot(x, x)
            self.square_b += torch.linalg.vecdot(y, y)

    def correlation(self):
        """(n, n) float64: mean of z_a z_bᵀ with z = (activation - mean) / (std + EPSILON), std over all samples."""
        mean_a, mean_b = self.sum_a / self.samples, self.sum_b / self.samples
        std_a = (self.square_a / self.samples - mean_a**2).clamp(min=0).sqrt()
        std_b = (self.square_b / self.samples - mean_b**2).clamp(min=0).sqrt()
        covariance = self.product / self.samples - torch.outer(mean_a, mean_b)
        return covariance / torch.outer(std_a + self.EPSILON, std_b + self.EPSILON)


@torch.no_grad()
def correlate(network, spec, tensors_a, tensors_b, batches):
    """Correlations of two networks' activations: one for every site of every group in graph order, last the logits.

    network: the architecture; its own weights are not used. tensors_a, tensors_b: state dicts.
    batches: images (N, C, H, W) as the network takes them, or pairs of them where each network sees
    its own (adversarial examples), on the device of network and tensors; they are read once.
    Evaluation mode, and every spatial position is a sample. Both networks are the original ones for
    every group: no group waits for another's matching (Tatro et al. 2020, Algorithm 1).
    On a CPU, batches of about 64 images in channels-last memory are fastest.
    Returns a list of Correlation. Raises ValueError where a tensor is missing, misshapen or not finite,
    or where there are no batches.
    """
    # Not the counters of batches: evaluation does not read them.
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    check_tensors(names, tensors_a, tensors_b)
    networks = [{name: tensors[name] for name in names} for tensors in (tensors_a, tensors_b)]
    sites = [(group, site) for group in spec.groups for site in spec.sites[group]]
    captured = permutations.capture(network, [site.node for _, site in sites])
    moments = [Moments() for _ in range(len(sites) + 1)]

    def observe(images_a, images_b):  # a function, so that one batch's activations are gone before the next one's
        values_a, logits_a = functional_call(captured, networks[0], (images_a,))
        values_b, logits_b = functional_call(captured, networks[1], (images_b,))
        for moment, (_, site), a, b in zip(moments, sites, values_a, values_b, strict=False):
            moment.add(_channels(a, site), _channels(b, site))
        moments[-1].add(logits_a.T, logits_b.T)

    for batch in batches:
        observe(*(batch if isinstance(batch, tuple) else (batch, batch)))
    if moments[-1].samples == 0:
        raise ValueError("activation matching: there are no images to match on")
    position = {node.name: i for i, node in enumerate(captured.graph.nodes)}
    order = sorted(range(len(sites)), key=lambda i: position[sites[i][1].node])
    found = [Correlation(sites[i][0], moments[i].correlation()) for i in order]
    return [*found, Correlation(LOGITS, moments[-1].correlation())]


def _channels(value, site):
    """View of the site's activations with the channels first: (channels, images, ...)."""
    return value.narrow(site.dim, site.offset, site.size).movedim(site.dim, 0)


def match_correlations(spec, correlations, statistic="sum"):
    """Permutation of b that maximizes, group by group, the trace of its correlations with a.

    statistic: what a group with several sites (a residual stream) is matched on: the "sum" of their
    correlations or the "first"; one for all groups, or group -> statistic ("sum" where not named).
    A group without sites (it exists in train mode only) keeps its order.
    Raises ValueError where a statistic or its group is unknown, or correlations are not finite.
    """
    statistics = statistic if isinstance(statistic, dict) else dict.fromkeys(spec.groups, statistic)
    for group, name in statistics.items():
        if group not in spec.groups or name not in STATISTICS:
            raise ValueError(
                f"statistic {name!r} of group {group!r}: the statistics are {', '.join(STATISTICS)}, "
                f"the groups {', '.join(spec.groups)}"
            )
    permutation = permutations.identity(spec)
    for group in spec.groups:
        matrices = [correlation.matrix for correlation in correlations if correlation.group == group]
        if matrices:
            matrix = STATISTICS[statistics.get(group, "sum")](matrices)
            if not matrix.isfinite().all():
                raise ValueError(f"group {group}: the activations' correlations are not finite: they overflow")
            # Dead channels make ties, and which of the best assignments comes out depends on the costs'
            # bits: these are the costs, in the precision, of the paper's own code.
            cost = 1.01 - matrix.float().cpu().numpy()
            permutation[group] = torch.from_numpy(linear_sum_assignment(cost)[1])
    return permutation


def match_activations(network, spec, tensors_a, tensors_b, batches, statistic="sum"):
    """(permutation of b that brings it to a, the correlations that it was found on).

    Algorithm 1 of Tatro et al. 2020. Arguments and errors: `correlate`, `match_correlations`.
    """
    correlations = correlate(network, spec, tensors_a, tensors_b, batches)
    return match_correlations(spec, correlations, statistic), correlations


def signature(correlations, permutation):
    """Mean correlation of paired channels at every site, before and after permuting b.

    Returns a list of (group, before, after) in the order of `correlations`; the logits are never permuted.
    """
    rows = []
    for correlation in correlations:
        matrix = correlation.matrix
        order = permutation.get(correlation.group, torch.arange(len(matrix))).to(matrix.device)
        after = matrix.gather(1, order[:, None]).mean()
        rows.append((correlation.group, matrix.diagonal().mean().item(), after.item()))
    return rows
