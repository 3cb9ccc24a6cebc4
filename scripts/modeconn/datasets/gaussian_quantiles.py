"""A disc and the ring around it: `count` normal points in the plane, halved by their distance from the origin.

As in Kalaivanan 2023, early experiments; variance 1 along each axis. Images of one pixel and two channels.
"""

import numpy as np
import torch
from sklearn.datasets import make_gaussian_quantiles


def read(source, downloads):
    points, labels = make_gaussian_quantiles(n_samples=source["count"], n_classes=2, random_state=source["seed"])
    return (torch.from_numpy(points).float()[:, :, None, None], labels.astype(np.int64)), None, None
