"""Masks and their names in, plates of text on a picture out, placed so that they do not cover each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from shared.types import BoolArray, Region, UInt8Array

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ROOMY = 1.3
"""A plate goes into a mask that is so many times as wide and high around its innermost point."""
LOOKED_AT = 2**18
"""Pixels of a mask that are looked at for its innermost point, up to four times as many: thousands of rows tell no more
of where a word may stand."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What to write, about which mask, on a plate of which colour; what `innermost` says of the mask, if known."""

    text: str
    region: Region
    color: Color
    deepest: tuple[int, int, float] | None = None


def write_captions(picture: UInt8Array, captions: Sequence[Caption]) -> None:
    """Write captions into an HxWx3 picture in place; the first have the first choice of where to stand."""
    height, width = picture.shape[:2]
    scale = float(np.clip(min(height, width) / 1000, 0.38, 1.2))
    taken: list[Box] = []
    for caption in captions:
        if not caption.text or caption.region.empty:
            continue
        (wide, tall), below = cv2.getTextSize(caption.text, _FONT, scale, 1)
        pad = max(3, round(8 * scale))
        size = (wide + 2 * pad, tall + below + pad)
        plate = min(
            _places(caption, size, (height, width)),
            key=lambda place: sum(_overlap(place, other) for other in taken),
        )
        taken.append(plate)
        _plate(picture, plate, caption.color)
        origin = (plate[0] + pad, plate[1] + pad // 2 + tall)
        cv2.putText(picture, caption.text, origin, _FONT, scale, ink(caption.color), 1, cv2.LINE_AA)


def ink(color: Color) -> Color:
    """Black or white, whichever reads better on the colour (relative luminance, ITU-R BT.709)."""
    red, green, blue = color
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 120 else (255, 255, 255)


def spacing(shape: tuple[int, int]) -> int:
    """Every how many-th pixel of every how many-th row of a mask's crop is looked at."""
    return max(1, math.isqrt(shape[0] * shape[1] // LOOKED_AT))


def innermost(region: Region, looked_at: BoolArray | None = None) -> tuple[int, int, float]:
    """The pixel (x, y) of the image that lies deepest inside the mask, and its distance to the mask's edge: of a large
    mask as far as every nth pixel of every nth row tells. `looked_at`: these pixels of its crop, if they are known."""
    step = spacing(region.shape)
    padded = np.pad(region.bits[::step, ::step] if looked_at is None else looked_at, 1).view(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)
    _, deepest, _, (x, y) = cv2.minMaxLoc(depth)
    return region.x0 + (x - 1) * step, region.y0 + (y - 1) * step, deepest * step


def _places(caption: Caption, size: tuple[int, int], picture: tuple[int, int]) -> list[Box]:
    """Where a plate (width, height) may stand, best first: inside the mask if there is room, else above it or below."""
    wide, tall = size
    x0, y0, x1, y1 = caption.region.box
    x, y, depth = caption.deepest or innermost(caption.region)
    centre = (x - wide // 2, y - tall // 2)
    above, under = ((x0 + x1 - wide) // 2, y0 - tall), ((x0 + x1 - wide) // 2, y1)
    roomy = 2 * depth > _ROOMY * np.hypot(wide, tall) / 1.5
    order = [centre, above, under] if roomy else [above, under, centre, (x0 - wide, y0), (x1, y0)]
    return [_inside(left, top, size, picture) for left, top in order]


def _inside(left: int, top: int, size: tuple[int, int], picture: tuple[int, int]) -> Box:
    (wide, tall), (height, width) = size, picture
    x, y = max(0, min(left, width - wide)), max(0, min(top, height - tall))
    return x, y, x + wide, y + tall


def _overlap(one: Box, other: Box) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height)


def _plate(picture: UInt8Array, plate: Box, color: Color) -> None:
    x0, y0, x1, y1 = plate
    crop = picture[y0:y1, x0:x1]
    crop[:] = cv2.addWeighted(crop, 0.15, np.full_like(crop, color), 0.85, 0)
