"""Corrections of an average of networks before it is measured: restored statistics, or calibrated logits.

    repair        REPAIR (Jordan et al. 2023, arXiv 2211.08403): layer by layer, mean and standard deviation of what
                  each unit's linear map gives on training images become the sum of the members' own
    closed_form   the same without computing the sum: as if its layers gave the sum of what the members' layers give
    temperature   the logits are divided by the number that makes the loss on training images least (Guo et al. 2017);
                  without permutation, the baseline of arXiv 2510.08023

Each changes the weights of a fully connected network. A combination that equals one member is not corrected.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from modeconn import datasets
from modeconn.datasets import Dataset
from modeconn.functional import Functional
from modeconn.measuring import Combination

Correction = Callable[[Sequence[Combination], Tensor], Tensor]
LAST = "network.dense"
STEPS = 30  # of Newton's method, or halvings
LEAST, MOST = 0.1, 10.0  # temperatures


def of(
    names: Sequence[str], functional: Functional, rows: Tensor, dataset: Dataset, images: int
) -> dict[str, Correction]:
    """Name -> correction: a function of L combinations of `rows` (K, D) and their vectors (L, D) that gives vectors.

    rows: the members. images: so many training images are used, of all classes by their shares; 0 for all.
    """
    chosen = datasets.mixed(dataset.train_labels, images)
    inputs, labels = datasets.to_float(dataset.train_images[chosen]), dataset.train_labels[chosen]

    def repair(networks, vectors):
        shares = _shares(networks, rows)
        targets = [(shares @ mean, shares @ deviation) for mean, deviation in zip(means, deviations)]
        return _unless_member(networks, vectors, repaired(functional, vectors, inputs, targets))

    def closed_form(networks, vectors):
        shares, tensors = _shares(networks, rows), named(functional, vectors)
        for place, (mean, deviation, covariance) in enumerate(zip(means, deviations, covariances)):
            spread = torch.einsum("li,lj,ijn->ln", shares, shares, covariance).clamp(min=0).sqrt()
            centre = shares @ mean
            _rescale(tensors, place, centre, spread, centre, shares @ deviation)
        return _unless_member(networks, vectors, packed(functional, tensors))

    def calibrate(networks, vectors):
        parts = [part.expand(len(vectors), *part.shape) for part in inputs.split(512)]
        logits = torch.cat([functional(vectors, {}, part) for part in parts], 1)
        return _unless_member(networks, vectors, tempered(functional, vectors, temperatures(logits, labels)))

    if {"repair", "closed_form"} & set(names):
        means, deviations, covariances = moments(functional, rows, inputs)
    known = {"repair": repair, "closed_form": closed_form, "temperature": calibrate}
    return {name: known[name] for name in names}


@torch.no_grad()
def moments(functional: Functional, rows: Tensor, inputs: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Means (K, n), deviations (K, n) and covariances (K, K, n) of each hidden layer of the networks `rows` (K, D).

    They are of the outputs of linear maps on the images `inputs` (N, C, H, W), before normalization and ReLU;
    covariances are between the same unit of two networks.
    """
    sums: list[Tensor] = []
    products: list[Tensor] = []
    for part in inputs.split(512):
        given = [layer.double() for layer in _linear_outputs(functional, rows, part)]
        if not sums:
            sums = [layer.new_zeros(len(rows), layer.shape[-1]) for layer in given]
            products = [layer.new_zeros(len(rows), len(rows), layer.shape[-1]) for layer in given]
        for total, product, layer in zip(sums, products, given):
            total += layer.sum(1)
            by_unit = layer.permute(2, 0, 1)  # (n, K, images)
            product += (by_unit @ by_unit.mT).permute(1, 2, 0)
    means = [total / len(inputs) for total in sums]
    covariances = [product / len(inputs) - mean[:, None] * mean for product, mean in zip(products, means)]
    deviations = [covariance.diagonal().T.clamp(min=0).sqrt() for covariance in covariances]
    return _rounded(means, rows), _rounded(deviations, rows), _rounded(covariances, rows)


@torch.no_grad()
def repaired(
    functional: Functional, vectors: Tensor, inputs: Tensor, targets: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """The networks `vectors` (L, D) with the means and deviations `targets` of the units of each hidden layer.

    targets: (L, n) each. Layers are corrected from the first on, each on the outputs of the corrected layers before it.
    A unit that is constant over the images keeps its weights, and its bias is changed to give the mean.
    """
    tensors = named(functional, vectors)
    for place, (mean, deviation) in enumerate(targets):
        *_, given = _linear_outputs(functional, packed(functional, tensors), inputs, place)
        _rescale(tensors, place, given.mean(1), given.std(1, correction=0), mean, deviation)
    return packed(functional, tensors)


@torch.no_grad()
def temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """(L,): the temperatures that divide logits (L, N, classes) for the least mean cross-entropy with labels (N,).

    They lie between LEAST and MOST: if all predictions are right, as may be on training images, the loss falls with the
    temperature down to 0, at which a wrong prediction on another image would have an infinite loss. The loss is convex
    in the inverse of the temperature. Newton's method, with bisection where a step would leave the interval of the
    minimum.
    """
    logits = logits.double()
    truth = logits.gather(-1, labels.expand(len(logits), -1)[..., None])[..., 0]
    low, high = torch.full_like(logits[:, 0, 0], 1 / MOST), torch.full_like(logits[:, 0, 0], 1 / LEAST)
    inverse = torch.ones_like(low)
    for _ in range(STEPS):
        probabilities = (inverse[:, None, None] * logits).softmax(-1)
        expected = (probabilities * logits).sum(-1)
        slope = (expected - truth).mean(1)
        curvature = ((probabilities * logits.square()).sum(-1) - expected.square()).mean(1)
        low, high = torch.where(slope < 0, inverse, low), torch.where(slope > 0, inverse, high)
        newton = inverse - slope / curvature.clamp(min=1e-300)
        inverse = torch.where((low < newton) & (newton < high), newton, (low * high).sqrt())
    return 1 / inverse


def tempered(functional: Functional, vectors: Tensor, temperature: Tensor) -> Tensor:
    """The networks `vectors` (L, D) with the weights of their last layer divided by `temperature` (L,)."""
    tensors = named(functional, vectors)
    for name in (f"{LAST}.weight", f"{LAST}.bias"):
        tensors[name] = tensors[name] / temperature.to(vectors.dtype).view(-1, *[1] * (tensors[name].ndim - 1))
    return packed(functional, tensors)


def named(functional: Functional, vectors: Tensor) -> dict[str, Tensor]:
    """Name -> tensors with a leading axis of lanes, views of the vectors (L, D)."""
    parts = vectors.split(functional.sizes, 1)
    return {name: part.view(-1, *shape) for (name, shape), part in zip(functional.shapes.items(), parts)}


def packed(functional: Functional, tensors: dict[str, Tensor]) -> Tensor:
    """(L, D): the inverse of `named`."""
    return torch.cat([tensors[name].flatten(1) for name in functional.shapes], 1)


def _linear_outputs(functional, vectors, inputs, last=None):
    """The outputs of the linear map of each hidden layer (L, N, n), up to the layer `last`, for images (N, C, H, W)."""
    whole, tensors = functional.network, named(functional, vectors)
    passed = ((inputs - whole.mean) / whole.std).flatten(1).expand(len(vectors), len(inputs), -1)
    for place, layer in enumerate(whole.network.layers):
        weight, bias = (tensors[_name(place, part)] for part in ("weight", "bias"))
        given = torch.baddbmm(bias[:, None], passed, weight.mT)
        yield given
        if place == last:
            return
        prefix = f"network.layers.{place}."
        rest = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(f"{prefix}norm")}
        passed = torch.vmap(lambda own, values, layer=layer: functional_call(layer[1:], own, (values,)))(rest, given)


def _name(place, part):
    return f"network.layers.{place}.linear.{part}"


def _rescale(tensors, place, mean, deviation, new_mean, new_deviation):
    """Change the linear map of a hidden layer so that mean and deviation of its units (L, n) become the new ones."""
    gain = torch.where(deviation > 0, new_deviation / deviation, 1)
    weight, bias = (_name(place, part) for part in ("weight", "bias"))
    tensors[weight] = gain[..., None] * tensors[weight]
    tensors[bias] = gain * (tensors[bias] - mean) + new_mean


def _shares(networks, rows):
    """(L, K): the coefficients of the combinations."""
    shares = rows.new_zeros(len(networks), len(rows))
    for lane, network in enumerate(networks):
        shares[lane, list(network.members)] = shares.new_tensor(network.coefficients)
    return shares


def _rounded(values, rows):
    return [value.to(rows.dtype) for value in values]


def _unless_member(networks, vectors, corrected):
    """`corrected`, but the vectors themselves where a combination is a single member."""
    alone = [sum(share != 0 for share in network.coefficients) == 1 for network in networks]
    return torch.where(torch.tensor(alone, device=vectors.device)[:, None], vectors, corrected)
