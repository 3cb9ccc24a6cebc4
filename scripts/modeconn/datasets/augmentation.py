"""Random changes of training images, batched on their device; every image has its own.

An image is turned and scaled about its middle, mirrored, and cropped at a whole pixel out of its
zero-padded frame, in this order, that of the CIFAR transforms of Tatro et al. 2020 (for Tiny ImageNet
theirs crop first); then its contrast and saturation change, in random order. Turning takes the nearest
pixel and fills with zeros, as torchvision's RandomAffine does unless told otherwise and as theirs did.

Mirroring and cropping only renumber the pixels that turning looks up, so all three are one look-up:
exact, on uint8, and equal to doing one after the other.
"""

import torch
import torch.nn.functional as F

from modeconn.datasets import to_float

# Of red, green and blue in grey: ITU-R BT.601, rounded as torchvision does.
LUMA = (0.2989, 0.587, 0.114)


def augment(images, augmentation, rng):
    """Random changes of images (N, C, H, W), drawn from `rng` on their device.

    augmentation, each key off where it is missing:
    shift: largest move along each side, pixels. flip: mirror left and right, every other image.
    rotation: largest angle either way, degrees. scale: [least, most] factor of enlargement.
    contrast, saturation: largest change of the factor, from 1 either way but not below 0.
    Returns uint8, or float32 in [0, 1] where colours change. Raises ValueError for features (N, F, 1, 1).
    """
    count, channels = images.shape[:2]
    if images.shape[-2:] == (1, 1):
        raise ValueError("augmentation changes images, and this data set has features: leave it out of the recipe")

    def uniform(low, high):
        return low + (high - low) * torch.rand(count, generator=rng, device=images.device)

    def factor(change):
        return uniform(max(0.0, 1 - change), 1 + change)

    moves = {}
    if pixels := augmentation.get("shift", 0):
        drawn = torch.randint(0, 2 * pixels + 1, (2, count, 1), generator=rng, device=images.device)
        moves["down"], moves["right"] = drawn[..., 0] - pixels
    if augmentation.get("flip", False):
        moves["mirrored"] = uniform(0, 1) < 0.5
    if largest := augmentation.get("rotation", 0):
        moves["angle"] = uniform(-largest, largest)
    if (scale := augmentation.get("scale", [1, 1])) != [1, 1]:
        moves["scale"] = uniform(*scale)
    if moves:
        images = move(images, **moves)

    contrast, saturation = (augmentation.get(key, 0) for key in ("contrast", "saturation"))
    # Grey has no saturation.
    saturation = saturation if channels > 1 else 0
    if contrast or saturation:
        images = to_float(images)
    if contrast and saturation:
        factors, first = factor(contrast), uniform(0, 1) < 0.5
        images = with_contrast(images, torch.where(first, factors, 1))
        images = with_saturation(images, factor(saturation))
        images = with_contrast(images, torch.where(first, 1, factors))
    elif contrast:
        images = with_contrast(images, factor(contrast))
    elif saturation:
        images = with_saturation(images, factor(saturation))
    return images


def move(images, *, down=None, right=None, mirrored=None, angle=None, scale=None):
    """Images (N, C, H, W) turned, mirrored and cropped; zero where nothing was.

    All (N,): angle in degrees clockwise and scale, about the middle; mirrored, bool; then the crop,
    whose corner lies `down` and `right` pixels from the frame's.
    """
    count, channels, height, width = images.shape
    rows, columns = (torch.arange(length, device=images.device) for length in (height, width))
    rows = (rows if down is None else rows + down[:, None])[..., :, None]
    columns = (columns if right is None else columns + right[:, None])[..., None, :]
    inside = _within(rows, height) & _within(columns, width)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None, None], width - 1 - columns, columns)
    if angle is not None or scale is not None:
        sine, cosine = _sine_and_cosine(angle, scale)
        y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
        rows = torch.floor(cosine * y - sine * x + height / 2).long()
        columns = torch.floor(cosine * x + sine * y + width / 2).long()
        inside = inside & _within(rows, height) & _within(columns, width)
    # One more pixel, zero, is where everything outside is looked up.
    source = torch.where(inside, rows * width + columns, height * width).expand(count, height, width)
    padded = F.pad(images.flatten(2), (0, 1))
    return padded.gather(2, source.reshape(count, 1, -1).expand(-1, channels, -1)).view_as(images)


def _within(positions, length):
    return (positions >= 0) & (positions < length)


def _sine_and_cosine(angle, scale):
    """Entries (N, 1, 1) of the inverse of turning by `angle` and enlarging by `scale`."""
    given = angle if angle is not None else scale
    radians = torch.zeros_like(given) if angle is None else torch.deg2rad(angle)
    factor = torch.ones_like(given) if scale is None else scale
    return (torch.sin(radians) / factor)[:, None, None], (torch.cos(radians) / factor)[:, None, None]


def with_contrast(images, factors):
    """Images (N, C, H, W) in [0, 1] drawn away from their mean grey by factors (N,)."""
    return _blend(images, grey(images).mean((1, 2, 3), keepdim=True), factors)


def with_saturation(images, factors):
    """Images (N, 3, H, W) in [0, 1] drawn away from their grey by factors (N,)."""
    return _blend(images, grey(images), factors)


def grey(images):
    """Luma (N, 1, H, W) of grey or RGB images. Raises ValueError for other numbers of channels."""
    channels = images.shape[1]
    if channels == 1:
        return images
    if channels != 3:
        raise ValueError(f"contrast and saturation need grey or RGB images, not {channels} channels: leave them at 0")
    return sum(weight * channel for weight, channel in zip(LUMA, images.split(1, dim=1)))


def _blend(images, others, factors):
    factors = factors[:, None, None, None]
    return torch.lerp(others, images, factors).clamp_(0, 1)
