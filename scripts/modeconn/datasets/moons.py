"""Two half moons in the plane, `count` points with noise (Kalaivanan 2023): images of one pixel and two channels."""

import numpy as np
import torch
from sklearn.datasets import make_moons


def read(source, downloads):
    points, labels = make_moons(source["count"], noise=source["noise"], random_state=source["seed"])
    return (torch.from_numpy(points).float()[:, :, None, None], labels.astype(np.int64)), None, None
