"""Train sparse networks from a kept epoch on: shared by prune (each network's own mask) and train_masked."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from modeconn import classification, datasets, moments, pruning, training
from modeconn.functional import Functional


class Trained(NamedTuple):
    """Networks at the end of their training.

    tensors: name -> (L, ...), parameters, buffers and masks. loss, accuracy: of the test images, (L,) each.
    """

    history: list[dict]
    tensors: dict[str, torch.Tensor]
    loss: torch.Tensor
    accuracy: torch.Tensor


def retrain(
    job,
    dataset: datasets.Dataset,
    functional: Functional,
    rewound: Sequence[Mapping[str, torch.Tensor]],
    masks: Sequence[pruning.Mask],
    what: str,
    lanes: Mapping[str, int],
) -> Trained:
    """Train networks from the epoch that the job's recipe rewinds to, each under its mask (Frankle et al. 2020).

    rewound: state dicts of that epoch, and masks: one for each network, of the same weights. lanes: as in
    `training.fit`. Raises ValueError where a mask is another network's.
    """
    recipe = job.values["recipe"]
    vectors, buffers = functional.stack(pruning.apply(mask, tensors) for mask, tensors in zip(masks, rewound))
    vectors.requires_grad_(True)
    kept = torch.stack([pruning.vector(mask, functional.shapes) for mask in masks])
    history, _ = training.fit(
        job,
        dataset,
        functional,
        vectors,
        buffers,
        what,
        lanes=lanes,
        first=recipe["pruning"]["rewind"],
        after_step=pruning.hold([vectors], [kept]),
    )
    images, labels = dataset.split("test")
    loss, accuracy = classification.evaluate(functional, vectors.detach(), buffers, images, labels, recipe["batch"])
    for name, mask, value in zip(lanes, masks, accuracy.tolist(), strict=True):
        total = sum(of_layer.numel() for of_layer in mask.values())
        print(f"{name}: {pruning.remaining(mask):,} of {total:,} weights left, test accuracy {value:.2%}")
    return Trained(history, moments.with_masks(functional.named(vectors, buffers), masks), loss, accuracy)
