"""Pixels with the ICC profile that was embedded beside them in, sRGB pixels out: what networks are trained on.

A photo in Display P3 or Adobe RGB looks pale, and one in CMYK wrong, when its numbers are taken for sRGB. A profile
that cannot be read, or that is of another kind than the pixels, is left out of account, as browsers do.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from shared.types import UInt8Array

SAME = 2
"""A profile that moves no colour by more levels than this is sRGB in other words, and not applied."""
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour spaces of profiles, by Pillow's mode of the pixels."""
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def to_srgb(pixels: UInt8Array, profile: bytes, *, grey: bool = False) -> UInt8Array:
    """HxWx3 uint8 in the colours of `profile` -> the same in sRGB; unchanged where it is sRGB.

    The profile is one for RGB, or, where all three channels of the pixels are the same `grey`, for grey."""
    mode, transform = _transform(profile)
    if transform is None or mode == "CMYK" or (mode == "L" and not grey):
        return pixels
    image = Image.fromarray(pixels if mode == "RGB" else np.ascontiguousarray(pixels[..., 0]))
    return np.asarray(ImageCms.applyTransform(image, transform))


def cmyk_to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """An image of mode CMYK in sRGB by its `profile`; None where that is not one for CMYK."""
    mode, transform = _transform(profile)
    return ImageCms.applyTransform(image, transform) if transform is not None and mode == "CMYK" else None


@lru_cache(maxsize=32)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The mode of the pixels that the profile describes, and the way to sRGB; none where there is nothing to do."""
    try:
        found = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = _SPACES.get(found.profile.xcolor_space.strip(), "")
        if not mode:
            return mode, None
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(found, srgb, mode, "RGB", renderingIntent=_INTENT, flags=_FLAGS)
        return mode, None if mode != "CMYK" and _changes_nothing(mode, transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "", None


def _changes_nothing(mode: str, transform: ImageCms.ImageCmsTransform) -> bool:
    """Tried on a grid of colours."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    if mode == "L":
        grid, expected = levels[None], np.repeat(levels[None, :, None], 3, axis=2)
    else:
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        expected = grid
    seen = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform))
    return bool(np.abs(seen.astype(np.int16) - expected.astype(np.int16)).max() <= SAME)
