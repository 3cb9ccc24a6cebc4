"""Remarks on a data set before networks are trained on it.

Data that are certainly useless raise a ValueError; data that may be give a `Remark`, a warning that `prepare_data`
collects and that the run shows when the data are made and again in its summary.
"""

import warnings

import torch

DARK = 32 / 255  # the brightest pixel of a data set is usually brighter
FEW = 0.05  # share of coloured pixels below which colour may be an accident


class Remark(UserWarning):
    """A property of the data that may be a mistake."""


def remark(text):
    warnings.warn(text, Remark, stacklevel=2)


def inspect(tensors):
    """Look through the splits of a prepared data set (the tensors of `datasets.prepare`).

    Warns with a `Remark` of images of one colour, of channels and features that are constant over the training split,
    and of pixels that use a small part of their range. Raises ValueError where a split has nothing to learn from or to
    measure on: its images are all the same, or each is of one colour.
    """
    for split, words in {"train": "training", "test": "test", "hold_out": "held-out"}.items():
        if f"{split}_images" in tensors:
            _images(tensors[f"{split}_images"], words)
    _channels(tensors["train_images"])


def _images(images, what):
    count, features = len(images), images.shape[-2:] == (1, 1)
    kind = "points" if features else "images"
    if count > 1 and bool((images == images[:1]).all()):
        raise ValueError(f"all {count} {what} {kind} are the same: there is nothing in them to tell classes by")
    if features:
        return
    pixels = images.flatten(2)
    constant = int((pixels == pixels[..., :1]).all(2).all(1).sum())
    if constant == count:
        raise ValueError(f"each of the {count} {what} images is of one colour: there is nothing in them to see")
    if constant:
        remark(f"{constant} of {count} {what} images are of one colour: there is nothing in them to see")


def _channels(images):
    features = images.shape[-2:] == (1, 1)
    kind = "features" if features else "channels"
    channels = images.transpose(0, 1).flatten(1)
    constant = (channels == channels[:, :1]).all(1).nonzero().flatten().tolist()
    if constant:
        which = ", ".join(map(str, constant[:5])) + (", ..." if len(constant) > 5 else "")
        remark(
            f"{len(constant)} of {len(channels)} {kind} are constant over the training split, counted from 0: {which}"
        )
    if features:
        return
    largest, whole = images.max().item(), 255 if images.dtype == torch.uint8 else 1
    if largest < DARK * whole:
        remark(
            f"the largest pixel of the training images is {largest:.3g} where white is {whole}: if a larger range is "
            f"meant, as where 0 and 1 stand for black and white, scale pixels to 0 to {whole}"
        )


def has_colour(splits, names):
    """Whether any pixel of `splits`, images (N, 3, H, W) each, has colour; warns where hardly any has.

    names: of all images, split after split.
    """
    red, green, blue = 0, 1, 2
    counts = torch.cat(
        [((of[:, red] != of[:, green]) | (of[:, red] != of[:, blue])).flatten(1).sum(1) for of in splits]
    )
    share = counts.sum().item() / sum(images[:, red].numel() for images in splits)
    if 0 < share < FEW:
        coloured = counts.nonzero().flatten().tolist()
        remark(
            f"only {share:.2g} of all pixels have colour, in {len(coloured)} of {len(counts)} images, and for them all "
            f"images have three channels: make them grey if that is not meant, first {names[coloured[0]]}"
        )
    return share > 0
