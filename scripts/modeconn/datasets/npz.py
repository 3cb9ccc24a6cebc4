"""A user's arrays in a NumPy file, `path`: x_train, y_train, x_test, y_test.

Images (N, H, W) or (N, H, W, C), uint8 or floats in [0, 1], or features (N, F); labels are integers from 0.
"""

import numpy as np
import torch

from modeconn import own_data
from modeconn.datasets import remarks

MOST_CLASSES = 10**6
# Rounding to float32, in units of a feature's range, from which on a warning is given.
ROUNDING = 1e-5


def read(source, downloads):
    (path,), names = own_data.files(source), own_data.ARRAYS
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it holds a single array")
        with file:
            missing = [name for name in names if name not in file]
            arrays = {name: file[name] for name in names if not missing}
    except MemoryError:
        raise
    except Exception as error:  # libraries may raise any exception on a damaged file
        raise ValueError(f"{path} is no .npz of plain arrays: {error}") from None
    if missing:
        raise ValueError(f"{path} has no array {missing[0]}: it needs {', '.join(names)}")
    splits = []
    for split in own_data.SPLITS:
        images = _images(arrays[f"x_{split}"], f"{path}, x_{split}")
        labels = _labels(arrays[f"y_{split}"], len(images), f"{path}, y_{split}")
        splits.append((images, labels))
    if splits[0][0].dtype != splits[1][0].dtype:
        raise ValueError(f"{path}: one of x_train and x_test is uint8 and the other float: they have to agree")
    if all(images.shape[1] == 3 and images.shape[-2:] != (1, 1) for images, _ in splits):
        names = [f"{path}, x_{split}[{i}]" for split, of in zip(own_data.SPLITS, splits) for i in range(len(of[0]))]
        if not remarks.has_colour([images for images, _ in splits], names):
            remarks.remark(f"the three channels of all images in {path} are equal: store one of them, N×H×W")
    return *splits, None


def _images(array, where):
    """Tensor (N, C, H, W), uint8 or float32; features are channels of one pixel."""
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{where} is of type {array.dtype}: images are uint8, or floats in [0, 1]")
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"{where} has shape {array.shape}: it needs N×H×W, N×H×W×C or, for features, N×F")
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise ValueError(f"{where} has shape {array.shape}, channels first: it needs N×H×W×C")
    if 0 in array.shape[1:]:
        raise ValueError(f"{where} has shape {array.shape}: there is nothing in an image")
    if array.dtype == np.uint8:
        tensor = torch.from_numpy(array)
    else:
        tensor = torch.from_numpy(_float32(array, where))
        if array.ndim > 2 and len(tensor) and not 0 <= tensor.min() <= tensor.max() <= 1:
            raise ValueError(f"{where} has values outside [0, 1]: divide the pixels by their largest possible value")
    if array.ndim == 2:
        return tensor[:, :, None, None]
    return (tensor[:, None] if array.ndim == 3 else tensor.permute(0, 3, 1, 2)).contiguous()


def _float32(array, where):
    """A floating array as float32. Raises ValueError for what is not finite there; warns where digits are lost."""
    if not np.isfinite(array).all():
        raise ValueError(f"{where} has values that are not finite")
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError(f"{where} has values too large for float32, in which data are kept: scale them")
    if array.ndim == 2 and len(array) and array.dtype.itemsize > 4:
        error, range_ = np.abs(array - rounded).max(0), np.ptp(array, 0)
        lost = (error > ROUNDING * range_) & (range_ > 0)
        if lost.any():
            first = int(np.flatnonzero(lost)[0])
            remarks.remark(
                f"{where} is {array.dtype}, kept as float32: {lost.sum()} of {array.shape[1]} features lose digits, "
                f"first feature {first}, by up to {error[first]:.1g} in a range of {range_[first]:.1g}: "
                "subtract the mean of such features first"
            )
    return rounded


def _labels(array, count, where):
    if not np.issubdtype(array.dtype, np.integer) or array.ndim != 1:
        raise ValueError(f"{where} is {array.dtype} of shape {array.shape}: labels are integers, one an image")
    if len(array) != count:
        raise ValueError(f"{where} has {len(array)} labels for {count} images")
    if len(array) and array.min() < 0:
        raise ValueError(f"{where} has the label {array.min()}: classes are numbered from 0")
    if len(array) and array.max() >= MOST_CLASSES:
        raise ValueError(f"{where} has the label {array.max()}: classes are numbered from 0 without gaps")
    return array.astype(np.int64)
