"""An image and one mask in, the subject out: cut free, in front of a blurred background or of another one, or dyed.

Edges are soft: `Subject` holds alpha and the subject's own colours of the part of the image around the mask. Pixels are
HxWx3 uint8 RGB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from shared.imaging.matting import band_of, foreground, matte
from shared.types import Float32Array, Region, UInt8Array

FEATHER = 2.0
"""Width of the soft edge in pixels where nothing better is known."""
BLUR = 0.025
"""Standard deviation of the portrait blur, as a share of the image's shorter side."""
TINT = 0.7
"""How much of a new colour replaces the old one."""
SHADING = 0.35
"""How far a dye moves the subject's lightness towards its own; shading and texture stay."""


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
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        height, width = self.alpha.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def subject_of(pixels: UInt8Array, region: Region, *, matted: bool = True, feather: float = FEATHER) -> Subject:
    """The subject with hair and soft edges, or (not `matted`) with the mask's own edge `feather` pixels wide."""
    if not region.bits.size:
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
    alpha = np.round(255 * subject.alpha).astype(np.uint8)
    rgba = np.dstack([subject.colours, alpha])
    rgba[alpha == 0] = 0
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if tight and rows.size:
        return np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    whole = np.zeros((*subject.size, 4), dtype=np.uint8)
    whole[subject.place] = rgba
    return whole


def blur(pixels: UInt8Array, subject: Subject, strength: float = BLUR) -> UInt8Array:
    """Portrait mode: all but the subject blurred, `strength` as `BLUR`.

    The subject's colours are kept out of the background, which would otherwise glow around it.
    """
    sigma = max(0.5, strength * min(subject.size))
    behind = np.ones(subject.size, dtype=np.float32)
    behind[subject.place] = subject.alpha <= 0
    spread = _smooth(behind, sigma)
    shown = _smooth(pixels.astype(np.float32) * behind[..., None], sigma) / np.maximum(spread, 1e-3)[..., None]
    # Deep inside a large subject nothing of the background arrives; what is there is never seen.
    return _in_front(subject, np.round(np.clip(shown, 0, 255)).astype(np.uint8))


def replace(subject: Subject, background: tuple[int, int, int] | UInt8Array) -> UInt8Array:
    """The subject in front of a colour (RGB) or of another image, scaled to cover the picture and cut at its centre."""
    height, width = subject.size
    if isinstance(background, tuple):
        return _in_front(subject, np.full((height, width, 3), background, dtype=np.uint8))
    return _in_front(subject, _covering(background, height, width).copy())


def recolor(pixels: UInt8Array, subject: Subject, color: tuple[int, int, int], tint: float = TINT) -> UInt8Array:
    """The image with the subject dyed: its hue and saturation become those of `color` (RGB) by the share `tint`, 0 to
    1; shading, texture and whatever shines through at its edge stay. In CIELAB, where lightness stands apart."""
    dyed = pixels.copy()
    if not subject.alpha.size:
        return dyed
    lab = cv2.cvtColor(subject.colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    target = cv2.cvtColor(np.array([[color]], dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    typical = float(np.average(lab[..., 0], weights=subject.alpha + 1e-6))
    lab[..., 0] = np.clip(lab[..., 0] + SHADING * (target[0] - typical), 0, 100)
    lab[..., 1:] = target[1:]
    new = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255
    share = (subject.alpha * tint)[..., None]
    moved = pixels[subject.place] + share * (new - subject.colours)
    dyed[subject.place] = np.round(np.clip(moved, 0, 255)).astype(np.uint8)
    return dyed


def _in_front(subject: Subject, behind: UInt8Array) -> UInt8Array:
    """The subject over `behind`, in place."""
    part = behind[subject.place].astype(np.float32)
    part += (subject.colours - part) * subject.alpha[..., None]
    behind[subject.place] = np.round(part).astype(np.uint8)
    return behind


def _smooth(values: Float32Array, sigma: float) -> Float32Array:
    """Gaussian blur; wide ones at a lower resolution, where they look the same and cost little."""
    factor = max(1, int(sigma / 3))
    height, width = values.shape[:2]
    small = cv2.resize(values, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _covering(image: UInt8Array, height: int, width: int) -> UInt8Array:
    scale = max(height / image.shape[0], width / image.shape[1])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return resized[top : top + height, left : left + width]
