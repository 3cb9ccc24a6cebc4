"""Matching by weights of networks whose channels may be multiplied too: scales and signs are divided out first."""

from collections.abc import Iterable, Mapping

import torch

from modeconn import permutation as permutations
from modeconn.matching.weight import match_weights
from modeconn.permutation import PermutationSpec, scales
from modeconn.permutation.scales import Rescaled

ROUNDS = 100


@torch.no_grad()
def match_scaled(
    spec: PermutationSpec,
    tensors_a: Mapping[str, torch.Tensor],
    tensors_b: Mapping[str, torch.Tensor],
    names: Iterable[str],
    seed: int = 0,
    restarts: int = 1,
    *,
    order: str = "random",
) -> Rescaled:
    """The permutation of b that brings it to a where both have their `scales.canonical` scales and signs.

    By `weight.match_weights`, whose arguments and errors these are. Then channels whose signs are free and whose inner
    product with those of a is negative change their sign, in turns with matching, until there are none; either step can
    only raise the inner product. The result's `scales` are the factors that bring the permuted b to the scales of a.
    """
    names = list(names)
    (a, factors_a), (b, factors_b) = (scales.canonical(spec, tensors) for tensors in (tensors_a, tensors_b))
    found = match_weights(spec, a, b, names, seed, restarts, order=order)
    for _ in range(ROUNDS):
        signs = scales.opposed(spec, a, permutations.apply(spec, found, b), names)
        if not signs:
            break
        signs = {group: torch.empty_like(own).scatter_(0, found[group], own) for group, own in signs.items()}
        b = scales.apply(spec, signs, b)
        factors_b |= {group: own * factors_b[group] for group, own in signs.items()}
        found = match_weights(spec, a, b, names, seed, initial=found, order=order)
    return Rescaled(found, {group: factors_a[group] / factors_b[group][found[group]] for group in spec.scales})
