"""Adversarial examples."""

import torch


def attempts(objective, images, attack, generators):
    """Yield the adversarial images (L, N, C, H, W) of each of the attack's `restarts` runs of `pgd`.

    generators: one a lane, from which its random starts are drawn one after another.
    """
    for _ in range(attack.get("restarts", 1)):
        start = random_start(images, attack["epsilon"], generators) if attack["random_start"] else None
        yield pgd(objective, images, start=start, **{key: attack[key] for key in ("epsilon", "step", "steps")})


def random_start(images, epsilon, generators):
    """Uniform noise in the L-infinity ball, (L, N, C, H, W), lane l drawn from generators[l]."""
    return torch.stack(
        [
            torch.empty_like(lane).uniform_(-epsilon, epsilon, generator=generator)
            for lane, generator in zip(images, generators, strict=True)
        ]
    )


def pgd(objective, images, *, epsilon, step, steps, start=None):
    """Projected gradient ascent in the L-infinity ball (Madry et al. 2018; Tatro et al. 2020, robust study).

    objective: images -> scalar to be raised, a sum over images, so that gradients do not depend on their number.
    images: pixels in [0, 1], any shape; epsilon and step are in the same unit.
    start: noise added first, same shape as images; none starts at the images themselves.
    Returns images within epsilon of the given ones and within [0, 1].
    """
    low = (images - epsilon).clamp_(min=0)
    high = (images + epsilon).clamp_(max=1)
    attacked = images.clone() if start is None else torch.clamp(images + start, low, high)
    for _ in range(steps):
        attacked.requires_grad_(True)
        (gradient,) = torch.autograd.grad(objective(attacked), attacked)
        attacked = torch.clamp(attacked.detach() + step * gradient.sign(), low, high)
    return attacked
