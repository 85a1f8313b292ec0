"""An image and its masks in, a picture for people out: colours over the image, outlines, captions.

Colours of classes come from a palette; of objects from hues a golden angle apart, so that neighbours in the list
differ. Pixels are HxWx3 uint8 RGB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import numpy as np

from shared.imaging.captions import Caption, Color, innermost, spacing, write_captions
from shared.imaging.label_runs import LabelRuns
from shared.imaging.png import picture_png
from shared.imaging.stripes import stripes
from shared.types import BoolArray, LabelArray, Region, UInt8Array

ALPHA = 0.5
"""How much of a colour covers the image."""
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
_NAMED_DEPTH = 0.035
"""A class is named in an overlay where it is so deep, as a share of the picture's shorter side."""


def overlay_labels(
    pixels: UInt8Array,
    labels: LabelArray,
    palette: UInt8Array,
    alpha: float = ALPHA,
    names: Sequence[str] = (),
) -> UInt8Array:
    """Every class in its palette colour (256x3 RGB) over the image, edges drawn; void stays as it is.

    With `names`, by id, each class that has room is named where it is deepest.
    """
    drawn = np.empty(pixels.shape, dtype=np.uint8)
    table, lines = np.ascontiguousarray(palette)[:, None], (palette * 0.5).astype(np.uint8) + 96
    least_void = min(int(np.iinfo(labels.dtype).max), 255)
    for rows in stripes(pixels):
        stripe, shown = drawn[rows], np.minimum(labels[rows], 255).astype(np.uint8)
        cv2.addWeighted(pixels[rows], 1 - alpha, cv2.applyColorMap(shown, table), alpha, 0, dst=stripe)
        void = labels[rows] >= least_void
        if void.any():
            cv2.copyTo(pixels[rows], void.view(np.uint8), stripe)
        edges = np.flatnonzero(borders(labels[rows.start : rows.stop + 1])[: len(stripe)])
        stripe.reshape(-1, 3)[edges] = lines[shown.ravel()[edges]]
    if names:
        write_captions(drawn, _class_captions(labels, palette, names))
    return drawn


def overlay_regions(
    pixels: UInt8Array, marked: Sequence[tuple[Region, str]], alpha: float = ALPHA, colors: Sequence[Color] = ()
) -> UInt8Array:
    """Masks with their captions over the image, the first on top; `colors` one a mask, else distinct ones."""
    drawn = pixels.copy()
    chosen = colors or [distinct(index) for index in range(len(marked))]
    for (region, _), color in reversed(list(zip(marked, chosen, strict=True))):
        _paint(drawn, region, color, alpha)
    write_captions(drawn, [Caption(text, region, color) for (region, text), color in zip(marked, chosen, strict=True)])
    return drawn


def overlay_one_by_one(pixels: UInt8Array, regions: Iterable[Region], alpha: float = ALPHA) -> UInt8Array:
    """Masks in distinct colours over the image, each on top of those before it; only one is held at a time."""
    drawn = pixels.copy()
    for index, region in enumerate(regions):
        _paint(drawn, region, distinct(index), alpha)
    return drawn


def distinct(index: int) -> Color:
    """The colour of the nth object, RGB: of three levels of lightness to the eye in turn (OKLCH, Ottosson 2020)."""
    lightness, chroma, hue = (0.72, 0.58, 0.84)[index % 3], 0.19, 4.5 + index * _GOLDEN_ANGLE
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    return _srgb(red), _srgb(green), _srgb(blue)


def borders(labels: LabelArray) -> BoolArray:
    """HxW bool: pixels whose right or lower neighbour has another value."""
    edges = np.zeros(labels.shape, dtype=np.bool_)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def encode_picture(pixels: UInt8Array, form: Literal["png", "jpeg"] = "png") -> bytes:
    """HxWx3 RGB or HxWx4 RGBA as a file; PNG as `picture_png` packs it, JPEG at quality 90 without alpha.

    Raises `ValueError` for what cannot be written.
    """
    if form == "png":
        return picture_png(pixels)
    order = cv2.COLOR_RGBA2BGR if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".jpeg", cv2.cvtColor(pixels, order), [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise ValueError(f"a picture of shape {pixels.shape} cannot be written as {form}")
    return data.tobytes()


def _srgb(linear: float) -> int:
    """A linear channel as an sRGB value, 0 to 255 (IEC 61966-2-1)."""
    clipped = min(1.0, max(0.0, linear))
    encoded = 12.92 * clipped if clipped <= 0.0031308 else 1.055 * clipped ** (1 / 2.4) - 0.055
    return round(255 * encoded)


def _class_captions(labels: LabelArray, palette: UInt8Array, names: Sequence[str]) -> list[Caption]:
    captions = []
    for label_id, region in LabelRuns.of(labels).regions().items():
        if label_id >= len(names):
            break
        step, (x0, y0, x1, y1) = spacing(region.shape), region.box
        deepest = innermost(region, labels[y0:y1:step, x0:x1:step] == label_id)
        if deepest[2] > _NAMED_DEPTH * min(labels.shape):
            red, green, blue = palette[min(label_id, 255)].tolist()
            captions.append(Caption(names[label_id], region, (red, green, blue), deepest))
    return captions


def _paint(drawn: UInt8Array, region: Region, color: Color, alpha: float) -> None:
    """Colour and outline one mask in place."""
    if region.empty:
        return
    x0, y0, x1, y1 = region.box
    box, bits = drawn[y0:y1, x0:x1], np.ascontiguousarray(region.bits).view(np.uint8)
    ink = np.empty((0, 0, 3), np.uint8)
    for rows in stripes(box):
        crop = box[rows]
        if len(ink) != len(crop):
            ink = np.full(crop.shape, color, dtype=np.uint8)
        cv2.copyTo(cv2.addWeighted(crop, 1 - alpha, ink, alpha, 0), bits[rows], crop)
    contours, _ = cv2.findContours(bits, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(min(region.size) / 500))
    cv2.drawContours(drawn, contours, -1, color, thickness, cv2.LINE_AA, offset=(x0, y0))
