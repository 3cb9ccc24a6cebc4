"""Two normal blobs in the plane, `count` points (Kalaivanan 2023): images of one pixel and two channels.

Their centres are drawn by the seed, uniformly from -10 to 10 along each axis.
"""

import numpy as np
import torch
from sklearn.datasets import make_blobs


def read(source, downloads):
    points, labels = make_blobs(source["count"], centers=2, cluster_std=source["noise"], random_state=source["seed"])
    return (torch.from_numpy(points).float()[:, :, None, None], labels.astype(np.int64)), None, None
