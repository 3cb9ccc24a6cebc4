"""Matching under attack: each network of a pair sees its own adversarial examples (Tatro et al. 2020, robust study)."""

import torch

from modeconn import classification, datasets
from modeconn.randomness import generator


def batches(functional, tensors_a, tensors_b, images, labels, attack, size):
    """Pairs of batches (N, C, H, W), `images` as network a and as network b see them under `attack`, in eval mode.

    images: uint8 (N, C, H, W); labels: (N,). Random starts are drawn by position, the same for both networks.
    """
    networks = [functional.stack([tensors]) for tensors in (tensors_a, tensors_b)]
    for step, (part, targets) in enumerate(zip(images.split(size), labels.split(size), strict=True)):
        clean = datasets.to_float(part)[None]
        seen = []
        with torch.enable_grad():  # who asks for a batch matches without gradients
            for vectors, buffers in networks:
                rng = [generator("matching under attack", step, device=vectors.device)]
                own = classification.attacked(
                    functional, vectors, buffers, clean, targets[None], attack, rng, train=False
                )
                seen.append(own[0].detach())
        yield tuple(seen)
