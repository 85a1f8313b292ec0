"""An image and one mask in, the subject out: cut free, in front of a blurred background or of another one, or dyed.

Edges are soft: `Subject` holds alpha and the subject's own colours of the part of the image around the mask. Pixels are
HxWx3 uint8 RGB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from shared.imaging.matting import band_of, foreground, matte
from shared.imaging.resizing import enlarged_rows, lowered, row_groups
from shared.imaging.stripes import Place, rows_at_once, stripes
from shared.types import Float32Array, Region, UInt8Array

FEATHER = 2.0
"""Width of the soft edge in pixels where nothing better is known."""
BLUR = 0.025
"""Standard deviation of the portrait blur, as a share of the image's shorter side."""
TINT = 0.7
"""How much of a new colour replaces the old one."""
SHADING = 0.35
"""How far a dye moves the subject's lightness towards its own; shading and texture stay."""


_WHOLE = 1 - 1e-6
"""A mean of ones may be as much below one."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A mask with its soft edge. `alpha` hxw, 0 to 1, and `colours` hxwx3, without the background that shines through,
    of the part of an image of `size` (H, W) that begins at (x0, y0). An empty mask has 0x0."""

    size: tuple[int, int]
    x0: int
    y0: int
    alpha: Float32Array
    colours: UInt8Array

    @property
    def place(self) -> Place:
        """Rows and columns of the image."""
        height, width = self.alpha.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def subject_of(pixels: UInt8Array, region: Region, *, matted: bool = True, feather: float = FEATHER) -> Subject:
    """The subject with hair and soft edges, or (not `matted`) with the mask's own edge `feather` pixels wide."""
    if region.empty:
        return Subject(region.size, 0, 0, np.zeros((0, 0), np.float32), np.zeros((0, 0, 3), np.uint8))
    band = band_of(region) if matted else 0.0
    # As far as alpha and the windows of its fit reach.
    margin = math.ceil(max(5 * band, feather + 4))
    left, top, right, bottom = region.box
    x0, y0 = max(0, left - margin), max(0, top - margin)
    x1, y1 = min(region.size[1], right + margin), min(region.size[0], bottom + margin)
    mask = np.zeros((y1 - y0, x1 - x0), dtype=np.bool_)
    mask[top - y0 : bottom - y0, left - x0 : right - x0] = region.bits
    part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    alpha = matte(part, mask, band, feather)
    return Subject(region.size, x0, y0, alpha, foreground(part, alpha, band) if matted else part)


def cutout(subject: Subject, *, tight: bool = False) -> UInt8Array:
    """The subject as HxWx4 RGBA; nothing of the background is in it. `tight` cuts the picture to what can be seen. An
    empty mask gives a transparent picture of the whole size."""
    if not subject.alpha.size:
        return np.zeros((*subject.size, 4), dtype=np.uint8)
    alpha, colours = np.asarray(cv2.convertScaleAbs(subject.alpha, alpha=255), dtype=np.uint8), subject.colours
    x, y, width, height = cv2.boundingRect(alpha) if tight else (0, 0, 0, 0)
    if width:
        alpha, colours = alpha[y : y + height, x : x + width], colours[y : y + height, x : x + width]
        picture = place = np.zeros((height, width, 4), dtype=np.uint8)
    else:
        picture = np.zeros((*subject.size, 4), dtype=np.uint8)
        place = picture[subject.place]
    for rows in stripes(place):
        shown = np.asarray(cv2.cvtColor(colours[rows], cv2.COLOR_RGB2RGBA))
        cv2.insertChannel(alpha[rows], shown, 3)
        cv2.copyTo(shown, alpha[rows], place[rows])
    return picture


def blur(pixels: UInt8Array, subject: Subject, strength: float = BLUR) -> UInt8Array:
    """Portrait mode: all but the subject blurred, `strength` as `BLUR`.

    The subject's colours are kept out of the background, which would otherwise glow around it.
    """
    sigma = max(0.5, strength * min(subject.size))
    behind = np.ones(subject.size, dtype=np.uint8)
    behind[subject.place] = subject.alpha <= 0
    soft, spread = _smoothed(pixels, behind, sigma)
    shown = np.empty(pixels.shape, dtype=np.uint8)
    for rows in stripes(shown):
        part, there = enlarged_rows(soft, subject.size, rows), enlarged_rows(spread, subject.size, rows)
        thin = np.flatnonzero(there.min(axis=0) < _WHOLE)
        if thin.size:
            near = slice(int(thin[0]), int(thin[-1]) + 1)
            # Deep inside a large subject nothing of the background arrives; what is there is never seen.
            share = np.maximum(there[:, near], 1e-3)
            part[:, near] /= np.asarray(cv2.merge([share, share, share]))
        cv2.convertScaleAbs(part, dst=shown[rows])
    return _in_front(subject, shown)


def replace(subject: Subject, background: tuple[int, int, int] | UInt8Array) -> UInt8Array:
    """The subject in front of a colour (RGB) or of another image, scaled to cover the picture and cut at its centre."""
    height, width = subject.size
    if isinstance(background, tuple):
        behind = np.empty((height, width, 3), dtype=np.uint8)
        behind[:] = np.full((width, 3), background, dtype=np.uint8)
        return _in_front(subject, behind)
    return _in_front(subject, _covering(background, height, width).copy())


def recolor(pixels: UInt8Array, subject: Subject, color: tuple[int, int, int], tint: float = TINT) -> UInt8Array:
    """The image with the subject dyed: its hue and saturation become those of `color` (RGB) by the share `tint`, 0 to
    1; shading, texture and whatever shines through at its edge stay. In CIELAB, where lightness stands apart."""
    dyed = pixels.copy()
    if not subject.alpha.size:
        return dyed
    target = cv2.cvtColor(np.array([[color]], dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    places = list(_seen(subject))
    lightness = [_lightness(subject.colours[place]) for place in places]
    weights = [subject.alpha[place] + np.float32(1e-6) for place in places]
    total = sum(float(each.sum(dtype=np.float64)) for each in weights)
    # Not OpenCV's sum, whose last bits depend on where the memory lies: the same request has the same bytes everywhere.
    sums = (float(np.multiply(*pair).sum(dtype=np.float64)) for pair in zip(lightness, weights, strict=True))
    typical = sum(sums) / (total or 1)
    for place, light in zip(places, lightness, strict=True):
        lab = np.empty((*light.shape, 3), np.float32)
        lab[..., 0] = np.clip(light + SHADING * (target[0] - typical), 0, 100)
        lab[..., 1:] = target[1:]
        new = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255
        part, share = dyed[subject.place][place], subject.alpha[place] * np.float32(tint)
        new -= subject.colours[place]
        new *= np.asarray(cv2.merge([share, share, share]))
        new += part
        cv2.convertScaleAbs(np.maximum(new, 0), dst=part)
    return dyed


def _seen(subject: Subject) -> Iterator[Place]:
    """Stripes of the subject's part, as wide as something of it can be seen there."""
    for rows in stripes(subject.colours):
        columns = np.flatnonzero(subject.alpha[rows].any(axis=0))
        if columns.size:
            yield rows, slice(int(columns[0]), int(columns[-1]) + 1)


def _lightness(colours: UInt8Array) -> Float32Array:
    """CIELAB's L, 0 to 100."""
    lab = cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(cv2.extractChannel(lab, 0), dtype=np.float32)


def _in_front(subject: Subject, behind: UInt8Array) -> UInt8Array:
    """The subject over `behind`, in place."""
    for rows in stripes(subject.colours):
        alpha, colours, part = subject.alpha[rows], subject.colours[rows], behind[subject.place][rows]
        cv2.copyTo(colours, (alpha >= 1).view(np.uint8), part)
        mixed = np.nonzero((alpha > 0) & (alpha < 1))
        under = part[mixed].astype(np.float32)
        part[mixed] = np.round(under + (colours[mixed] - under) * alpha[mixed][:, None])
    return behind


def _smoothed(pixels: UInt8Array, behind: UInt8Array, sigma: float) -> tuple[Float32Array, Float32Array]:
    """What of the pixels is `behind` (1, else 0), blurred, hxwx3, and how much of it there is, hxw: at a lower
    resolution where the blur is so wide that it looks the same."""
    factor = max(1, int(sigma / 3))
    height, width = behind.shape
    size = max(1, height // factor), max(1, width // factor)
    colours, spread = np.empty((*size, 3), dtype=np.float32), np.empty(size, dtype=np.float32)
    for there, rows, shares in row_groups(size[0], height, rows_at_once(pixels)):
        part = np.asarray(cv2.copyTo(pixels[rows], behind[rows]), dtype=np.uint8)
        low = there.stop - there.start, size[1]
        colours[there], spread[there] = lowered(part, low, shares), lowered(behind[rows], low, shares)
    return _gaussian(colours, sigma / factor), _gaussian(spread, sigma / factor)


def _gaussian(values: Float32Array, sigma: float) -> Float32Array:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def _covering(image: UInt8Array, height: int, width: int) -> UInt8Array:
    scale = max(height / image.shape[0], width / image.shape[1])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return resized[top : top + height, left : left + width]
