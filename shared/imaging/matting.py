"""An image and a rough mask in, alpha with hair and soft edges out, and the subject's own colours where it is half
there.

Alpha is a local linear function of colour (the colour-line model of Levin et al. 2008, "A closed-form solution to
natural image matting"), found by a guided filter (He et al. 2010) whose fit trusts pixels the more, the further they
lie from the mask's edge. Where colour does not tell subject from background the mask's own edge, feathered, stands.
Colours of the subject come from blur fusion (Forte 2021, "Approximate fast foreground colour estimation"). Pixels are
HxWx3 uint8 RGB. What matters only near an edge is computed only there, tile by tile.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import cv2
import numpy as np

from shared.imaging.resizing import enlarged
from shared.imaging.stripes import tiles
from shared.types import BoolArray, Float32Array, Region, UInt8Array

BAND = 0.03
"""Half the width of the band around the mask's edge where alpha is sought, as a share of the image's shorter side."""
OBJECT_BAND = 0.08
"""The same as a share of the mask's own shorter side at most: a small object has a narrow border."""
LEAST_BAND = 2.0
"""In pixels."""
WORKING_RADIUS = 8
"""Window of the filter, in pixels of the resolution at which it is fitted; larger windows are fitted smaller."""
EPSILON = 2e-4
"""Regularises the fit; colours are 0 to 1."""
TRUST = (0.35, 0.7)
"""Share of the mask's variance that colour must explain: below the first nothing is taken from it, above the second
all."""
SMOOTHING = 1.5
"""Standard deviation in pixels by which the stairs of the mask's edge are evened out; less for small objects."""
FURTHEST = 8.0
"""Pixels from the mask's edge beyond which smoothing needs no distances."""
_SMOOTHED = 8
"""How many pixels smoothing reaches at most."""
CONTRAST = (0.18, 0.9)
"""Alpha outside is cut off: a fit of noisy colours never quite reaches 0 and 1."""
_NARROW = 7
"""Side in pixels of the windows of the second blur fusion."""
INSIDE, OUTSIDE = (0.25, 0.7), (0.5, 1.0)
"""Where in the band, of its half width, the mask takes over: sooner inside, where a bright strand is no hole."""


def band_of(region: Region) -> float:
    """Half the width in pixels of the band around the edge of this mask."""
    height, width = region.bits.shape
    return float(max(LEAST_BAND, min(BAND * min(region.size), OBJECT_BAND * min(height, width))))


def matte(pixels: UInt8Array, mask: BoolArray, band: float, feather: float) -> Float32Array:
    """Alpha hxw, 0 to 1, of a mask hxw of these pixels: found in a band of `band` pixels on both sides of its edge, the
    mask itself further away (and everywhere, with a band of 0). `feather`: width of the edge where colour does not
    help."""
    distance = signed_distance(mask)
    if band <= 0:
        return _ramp(distance, feather)
    alpha: Float32Array = _ramp(np.array([-FURTHEST, FURTHEST], np.float32), feather)[mask.view(np.uint8)]
    far = np.abs(distance)
    nearest = float(far.min())
    fits = _fitted(pixels, mask, np.divide(far, np.float32(band), out=far), band) if nearest < band else None
    del far
    reach = max(band, FURTHEST + 2 * _SMOOTHED)
    for tile in tiles(alpha.shape, _SMOOTHED):
        if np.abs(distance[tile.place]).min() >= reach:
            continue
        clipped = np.clip(distance[tile.around], -FURTHEST, FURTHEST)
        smooth = np.asarray(cv2.GaussianBlur(clipped, (0, 0), min(SMOOTHING, band / 4)), dtype=np.float32)
        plain = _ramp(smooth[tile.core], feather)
        far = np.asarray(np.abs(distance[tile.place]) / band, dtype=np.float32)
        if fits is not None and (far < 1).any():
            planes = enlarged(fits, alpha.shape, tile.place)
            plain = _found(pixels[tile.place], mask[tile.place], plain, far, planes)
        alpha[tile.place] = plain
    return alpha


def _found(
    pixels: UInt8Array, mask: BoolArray, plain: Float32Array, far: Float32Array, fits: list[Float32Array]
) -> Float32Array:
    """Alpha hxw by colour where its fit can be trusted, `plain` elsewhere. `fits`: slope, offset and explained share of
    every pixel, as planes; `far`: the distance from the mask's edge as a share of the band."""
    alpha = fits[3]
    for channel in range(3):
        alpha += fits[channel] * (pixels[..., channel] / np.float32(255))
    low, high = CONTRAST
    alpha = np.clip((alpha - low) / (high - low), 0, 1)
    found = plain + (alpha - plain) * _smoothstep(fits[4], *TRUST)
    settled = np.where(mask, _smoothstep(far, *INSIDE), _smoothstep(far, *OUTSIDE))
    return np.asarray(found + (plain - found) * settled, dtype=np.float32)


def _ramp(distance: Float32Array, feather: float) -> Float32Array:
    """Alpha that rises from 0 to 1 over `feather` pixels, 1/2 at a distance of 0."""
    share = distance / np.float32(max(feather, 1e-3))
    share += 0.5
    return np.asarray(np.clip(share, 0, 1, out=share), dtype=np.float32)


def signed_distance(mask: BoolArray) -> Float32Array:
    """Distance hxw in pixels from the mask's edge, positive inside. A mask without an edge is far from it."""
    bits = mask.view(np.uint8)
    if mask.all() or not mask.any():
        return np.where(mask, np.float32(1e6), np.float32(-1e6))
    # From pixel centre to pixel centre: the edge lies half a pixel nearer.
    distance = _depth(bits)
    distance -= 0.5
    np.subtract(np.float32(0.5), _depth(1 - bits), out=distance, where=~mask)
    return distance


def _depth(bits: UInt8Array) -> Float32Array:
    """Distance in pixels to the nearest 0, exact. IPP's, which OpenCV takes in a process of one thread, is not, and is
    no faster: the same request has the same bytes, however many threads answer it."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        return np.asarray(cv2.distanceTransform(bits, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32)
    finally:
        cv2.ipp.setUseIPP(before)


def foreground(pixels: UInt8Array, alpha: Float32Array, band: float) -> UInt8Array:
    """The subject's colours hxwx3 as they would be without the background that shines through where alpha is below 1:
    two blur fusions, a wide one and a narrow one."""
    mixed = (alpha > 0) & (alpha < 1)
    result = pixels.copy()
    places = [tile for tile in tiles(alpha.shape, _NARROW // 2) if mixed[tile.place].any()]
    if not places:
        return result
    side = 2 * round(band * 4) + 1
    weight, rest = _mean(alpha, side), 1 - alpha
    image, share, near, beyond = (np.empty_like(alpha) for _ in range(4))
    for channel in range(3):
        image[:] = pixels[..., channel]
        _mean(np.multiply(image, alpha, out=share), side, near)
        _mean(np.multiply(image, rest, out=share), side, beyond)
        for tile in places:
            shown, wide = alpha[tile.around], weight[tile.around]
            part = image[tile.around]
            subject, behind = _fused(part, near[tile.around], beyond[tile.around], wide, shown)
            narrow = _mean(subject * shown, _NARROW), _mean(behind * (1 - shown), _NARROW)
            subject, _ = _fused(part, *narrow, _mean(shown, _NARROW), shown)
            where = mixed[tile.place]
            result[(*tile.place, channel)][where] = np.round(np.clip(subject[tile.core][where], 0, 255))
    return result


def _fused(
    image: Float32Array, near: Float32Array, beyond: Float32Array, weight: Float32Array, alpha: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Forte's equations 4 to 7: both colours averaged over a window by alpha, then moved until they make the image.
    `near`, `beyond` and `weight`: window means of subject x alpha, background x (1 - alpha), and alpha."""
    near = near / (weight + np.float32(1e-5))
    beyond = beyond / (1 - weight + np.float32(1e-5))
    rest = image - alpha * near - (1 - alpha) * beyond
    return near + alpha * rest, beyond


def _fitted(pixels: UInt8Array, mask: BoolArray, far: Float32Array, band: float) -> list[Float32Array]:
    """Slope by colour (three planes), offset, and the share of the variance that they explain, of windows at the lower
    resolution at which they are fitted."""
    height, width = mask.shape
    factor = max(1.0, 2 * band / WORKING_RADIUS)
    size = max(1, round(width / factor)), max(1, round(height / factor))
    small = [
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (pixels, mask.view(np.uint8) * 255, far)
    ]
    guide, known = (np.asarray(plane, dtype=np.float32) / np.float32(255) for plane in small[:2])
    weight = np.clip(small[2], 0, 1).astype(np.float32) ** 2 + 1e-3
    side = 2 * round(2 * band / factor) + 1
    slope, offset, explained = _regression(guide, known, weight, side)
    return [
        _mean(np.ascontiguousarray(plane, dtype=np.float32), side)
        for plane in (*np.moveaxis(slope, 2, 0), offset, explained)
    ]


def _regression(
    guide: Float32Array, known: Float32Array, weight: Float32Array, side: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """For every window: slope hxwx3 and offset hxw of the weighted linear fit of `known` by colour, and the share of
    its variance that the fit explains."""
    total = _mean(weight, side)
    mean = _mean(guide * weight[..., None], side) / total[..., None]
    level = _mean(known * weight, side) / total
    cross = _mean(guide * (known * weight)[..., None], side) / total[..., None] - mean * level[..., None]
    spread = np.empty((*known.shape, 3, 3), dtype=np.float32)
    for one, other in combinations_with_replacement(range(3), 2):
        product = _mean(guide[..., one] * guide[..., other] * weight, side) / total
        spread[..., one, other] = spread[..., other, one] = product - mean[..., one] * mean[..., other]
    spread += EPSILON * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, cross[..., None])[..., 0].astype(np.float32)
    offset = level - np.einsum("hwc,hwc->hw", slope, mean)
    variance = _mean(known * known * weight, side) / total - level * level
    explained = np.einsum("hwc,hwc->hw", slope, cross) / (variance + 1e-3)
    return slope, offset.astype(np.float32), np.clip(explained, 0, 1).astype(np.float32)


def _mean(values: Float32Array, side: int, out: Float32Array | None = None) -> Float32Array:
    """The mean over a square window, in `out` where given."""
    return np.asarray(cv2.blur(values, (side, side), dst=out, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def _smoothstep(values: Float32Array, low: float, high: float) -> Float32Array:
    """0 below `low`, 1 above `high`, smooth between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)
