"""Disagreement of networks: the share of images for which two of them predict different classes."""

from collections.abc import Callable

import torch

from modeconn import datasets
from modeconn.functional import Functional


@torch.no_grad()
def answers(
    functional: Functional,
    vectors: torch.Tensor,
    statistics: Callable[[torch.Tensor], dict[str, torch.Tensor]],
    images: torch.Tensor,
    batch: int,
) -> torch.Tensor:
    """The class (N, M) that each of the networks `vectors` (N, D) predicts for each of the images (M, C, H, W).

    statistics: vectors -> buffers that go with them, name -> (N, ...).
    """
    found = []
    for chunk in vectors.split(functional.together(batch)):
        buffers = statistics(chunk)
        batches = datasets.in_order(images, batch)
        of_chunk = [functional(chunk, buffers, inputs.expand(len(chunk), *inputs.shape[1:])) for inputs in batches]
        found.append(torch.cat([logits.argmax(-1) for logits in of_chunk], dim=1))
    return torch.cat(found)


def shares(named: torch.Tensor) -> torch.Tensor:
    """(N, N): the share of images on which two rows of `named` (N, M) differ, float64."""
    return torch.stack([(named != own).double().mean(1) for own in named])
