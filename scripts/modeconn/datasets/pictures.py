"""Encoded pictures become one tensor."""

import torch
import torch.nn.functional as F

from modeconn.datasets.progress import counter


def decoded(names, read, size=None):
    """uint8 (N, 3, H, W) of the pictures `names`; `read` gives the bytes of one.

    With `size` each is cut to its largest middle square and resized to that side; else they have to
    agree. Raises ValueError naming a picture that cannot be read or has another size.
    """
    from torchvision.io import ImageReadMode, decode_image

    advance = counter(len(names), "decode", "images")
    images = None
    for position, name in enumerate(names):
        try:
            content = torch.frombuffer(bytearray(read(name)), dtype=torch.uint8)
            image = decode_image(content, ImageReadMode.RGB, apply_exif_orientation=True)
            if image.dtype != torch.uint8:
                raise ValueError("it has 16 bits a channel")
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0].rpartition(", ")[2]
            raise ValueError(f"{name} cannot be read as an image ({reason}): replace or remove it") from None
        if size:
            image = square(image, size)
        if images is None:
            first, images = name, torch.empty((len(names), *image.shape), dtype=torch.uint8)
        if image.shape != images.shape[1:]:
            (_, height, width), (_, first_height, first_width) = image.shape, images.shape[1:]
            raise ValueError(
                f"{name} has {width}x{height} pixels and {first} {first_width}x{first_height}: "
                "make them agree, or give the data set a size that they are resized to"
            )
        images[position] = image
        advance()
    return images


def square(image, size):
    """The largest middle square of an image (C, H, W), resized to `size` (bilinear, antialiased)."""
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = image[:, top : top + side, left : left + side]
    return F.interpolate(cut[None], size=(size, size), mode="bilinear", antialias=True)[0]


def is_grey(images):
    """Whether the three channels of all images (N, 3, H, W) are equal."""
    return bool((images[:, 0] == images[:, 1]).all() and (images[:, 0] == images[:, 2]).all())
