"""Encoded pictures become one tensor."""

import io

import numpy as np
import torch
from PIL import Image, ImageOps

from modeconn.datasets.progress import counter


def decoded(names, read, size=None):
    """uint8 (N, 3, H, W) of the pictures `names`; `read` gives the bytes of one.

    With `size` each is cut to its largest middle square and resized to that side (bilinear); else they
    have to agree. Raises ValueError naming a picture that cannot be read or has another size.
    """
    advance = counter(len(names), "decode", "images")
    images = None
    for position, name in enumerate(names):
        try:
            image = _rgb(read(name))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{name} cannot be read as an image ({error}): replace or remove it") from None
        if size:
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        if images is None:
            first, images = name, np.empty((len(names), 3, image.height, image.width), np.uint8)
        height, width = images.shape[2:]
        if image.size != (width, height):
            raise ValueError(
                f"{name} has {image.width}x{image.height} pixels and {first} {width}x{height}: "
                "make them agree, or give the data set a size that they are resized to"
            )
        images[position] = np.asarray(image).transpose(2, 0, 1)
        advance()
    return torch.from_numpy(images)


def _rgb(content):
    """The picture in `content`, upright, in colour."""
    image = Image.open(io.BytesIO(content))
    if image.mode[0] in "IF":
        # Pillow would clip what does not fit into eight bits.
        raise ValueError("it has more than eight bits a channel")
    return ImageOps.exif_transpose(image).convert("RGB")


def is_grey(images):
    """Whether the three channels of all images (N, 3, H, W) are equal."""
    return bool((images[:, 0] == images[:, 1]).all() and (images[:, 0] == images[:, 2]).all())
