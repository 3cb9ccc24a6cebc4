"""AutoAttack (Croce and Hein 2020): four attacks without parameters to tune, by the authors' package.

It is used for measuring only. The package is not in the lock file; if it is missing, a message says how to install it.
"""

import torch

# The targeted loss compares the four highest logits; the standard version targets nine classes.
LEAST_CLASSES, TARGETS = 4, 9


def attack(logits, images, labels, epsilon):
    """Images (L, N, C, H, W) within epsilon of the given ones: adversarial where an attack succeeds, else unchanged.

    logits: (a slice of one lane, images (1, N, C, H, W)) -> (1, N, classes). images: pixels in [0, 1]; labels: (L, N).
    The standard version in the L-infinity ball, its random numbers drawn from seed 0. Images that withstand stay
    unchanged: the accuracy on the result is AutoAttack's, but its loss has no meaning.
    Raises ValueError where the package is not installed, or there are fewer than four classes.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise ValueError(
            "AutoAttack is not installed: pip install 'pyautoattack>=0.2', or take method pgd with more steps"
        ) from None
    found = []
    for lane in range(len(images)):

        def model(batch, lane=slice(lane, lane + 1)):
            return logits(lane, batch[None])[0]

        with torch.no_grad():
            classes = model(images[lane, :1]).shape[1]
        if classes < LEAST_CLASSES:
            raise ValueError(
                f"AutoAttack needs {LEAST_CLASSES} classes, and the data set has {classes}: take method pgd"
            )
        suite = AutoAttack(model, eps=epsilon, seed=0, device=images.device)
        suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = min(TARGETS, classes - 1)
        attacked, _ = suite.run_standard_evaluation(images[lane], labels[lane], batch_size=len(images[lane]))
        found.append(attacked)
    return torch.stack(found)
