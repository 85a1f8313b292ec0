"""Sizes and seeds in, drawn streets out as files: what every load here sends, so that it needs no data."""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
from PIL import Image

from shared.imaging.sample import street_scene

WIDTH, HEIGHT = 480, 360
"""Of the pictures that stand for ordinary photos."""
QUALITY = 90
"""Of JPEGs, as cameras write them."""
_LARGEST_DRAWN = 1920
"""Longest side that is drawn; larger pictures are enlarged from it, since drawing megapixels takes seconds."""


def drawn(seed: int, width: int = WIDTH, height: int = HEIGHT, form: Literal["JPEG", "PNG"] = "PNG") -> bytes:
    """A drawn street of this size as a file."""
    factor = min(1.0, _LARGEST_DRAWN / max(width, height))
    pixels, _ = street_scene(max(1, round(width * factor)), max(1, round(height * factor)), seed)
    image = Image.fromarray(pixels)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, form, quality=QUALITY)
    return buffer.getvalue()


def of_megapixels(megapixels: float, seed: int = 0) -> bytes:
    """A 4:3 JPEG of about so many million pixels."""
    height = math.sqrt(megapixels * 1e6 * 3 / 4)
    return drawn(seed, round(height * 4 / 3), round(height), "JPEG")


def padded_jpeg(size: int, side: int = 72) -> bytes:
    """A valid JPEG of `size` bytes that decodes in no time: a small grey square and comments. For null models."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 127, np.uint8)).save(buffer, "JPEG")
    plain = buffer.getvalue()
    comments, missing = b"", size - len(plain)
    while missing > 4:
        length = min(missing - 4, 65_533)
        comments += b"\xff\xfe" + (length + 2).to_bytes(2, "big") + bytes(length)
        missing -= length + 4
    return plain[:2] + comments + plain[2:]
