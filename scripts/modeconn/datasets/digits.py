"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 in 17 levels, enlarged to `size`."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits


def read(source, downloads):
    bunch = load_digits()
    images = torch.from_numpy(bunch.images)[:, None]
    enlarged = F.interpolate(images, size=(source["size"],) * 2, mode="bilinear", align_corners=False)
    return ((enlarged * (255 / 16)).round().to(torch.uint8), bunch.target.astype(np.int64)), None, None
