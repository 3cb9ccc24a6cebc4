"""Decode pictures into one tensor."""

import io
import re

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from modeconn.datasets.progress import counter
from modeconn.datasets.remarks import remark

WHITE = (255, 255, 255)
# Of a picture whose content is in its transparency alone, less than this share of its contrast is left.
LEAST_CONTRAST = 1 / 16

FRAMES = "have several frames, of which the first is taken"
TRANSPARENT = "are transparent in parts, and laid on the data set's background"
DEPTH = "have 16 bits a channel, of which the upper eight are taken"
SPACE = "are not in RGB but in another colour space, and converted without a colour profile"


def decoded(names, read, size=None, background=WHITE):
    """uint8 (N, 3, H, W) of the pictures `names`; `read` gives the bytes of one.

    With `size` each is cut to its largest middle square and resized to that side (bilinear); else they
    have to agree. What is transparent is laid on `background` (red, green, blue). Warns with a `Remark` of what is
    left out or converted. Raises ValueError naming a picture that cannot be read, has another size, or
    can hardly be seen on the background.
    """
    advance = counter(len(names), "decode", "images")
    images, told = None, {}
    for position, name in enumerate(names):
        try:
            image, facts = _rgb(read(name), background)
        except MemoryError:
            raise
        except UnidentifiedImageError:
            raise ValueError(f"{name} is no image in a format that Pillow knows: replace or remove it") from None
        except Exception as error:  # libraries may raise any exception on a damaged file
            raise ValueError(f"{name} cannot be read as an image ({error}): replace or remove it") from None
        if image is None:
            raise ValueError(
                f"{name} can hardly be seen on the background {list(background)}, since its content is in its "
                "transparency: give the data set another background, such as [0, 0, 0] or [128, 128, 128]"
            )
        for fact in facts:
            told.setdefault(fact, []).append(name)
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
    for fact, of in told.items():
        remark(f"{len(of)} of {len(names)} images {fact}: first {of[0]}")
    return torch.from_numpy(images)


def _rgb(content, background):
    """The picture in `content`, upright, in colour, and remarks on it.

    None in place of the picture if it can hardly be seen on the background.
    """
    image = Image.open(io.BytesIO(content))
    if image.mode[0] in "IF":
        # Pillow would clip values of more than eight bits.
        raise ValueError("it has more than eight bits a channel")
    facts = []
    if getattr(image, "n_frames", 1) > 1:
        facts.append(FRAMES)
    if _is_deep(image):
        facts.append(DEPTH)
    if image.mode in ("CMYK", "LAB", "HSV"):
        facts.append(SPACE)
    image = ImageOps.exif_transpose(image)
    if not image.has_transparency_data:
        return image.convert("RGB"), facts
    layer = image.convert("RGBA")
    if layer.getextrema()[3][0] == 255:
        return image.convert("RGB"), facts
    laid = Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")
    seen = _contrast(laid) >= LEAST_CONTRAST * _contrast(layer)
    return laid if seen else None, [*facts, TRANSPARENT]


def _is_deep(image):
    """Whether Pillow is about to read 16 bits a channel as eight; before the image is loaded."""
    return any(re.search(r";16[BLN]|, 65535\b", str(tile.args)) for tile in image.tile)


def _contrast(image):
    """The largest difference between two pixels, of any channel."""
    return max(high - low for low, high in image.getextrema())
