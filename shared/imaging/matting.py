"""An image and a rough mask in, alpha with hair and soft edges out, and the subject's own colours where it is half
there.

Alpha is a local linear function of colour (the colour-line model of Levin et al. 2008, "A closed-form solution to
natural image matting"), found by a guided filter (He et al. 2010) whose fit trusts pixels the more, the further they
lie from the mask's edge. Where colour does not tell subject from background the mask's own edge, feathered, stands.
Colours of the subject come from blur fusion (Forte 2021, "Approximate fast foreground colour estimation"). Pixels are
HxWx3 uint8 RGB. Peak memory is some 50 bytes a pixel.
"""

from __future__ import annotations

import cv2
import numpy as np

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
CONTRAST = (0.18, 0.9)
"""Alpha outside is cut off: a fit of noisy colours never quite reaches 0 and 1."""
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
    smooth = np.asarray(cv2.GaussianBlur(np.clip(distance, -8, 8), (0, 0), min(SMOOTHING, band / 4)), dtype=np.float32)
    plain = _ramp(smooth, feather)
    far = np.asarray(np.abs(distance) / band, dtype=np.float32)
    if not (far < 1).any():
        return plain
    alpha, trust = _fitted(pixels, mask, far, band)
    low, high = CONTRAST
    alpha = np.clip((alpha - low) / (high - low), 0, 1)
    found = plain + (alpha - plain) * trust
    settled = np.where(mask, _smoothstep(far, *INSIDE), _smoothstep(far, *OUTSIDE))
    return np.asarray(found + (plain - found) * settled, dtype=np.float32)


def _ramp(distance: Float32Array, feather: float) -> Float32Array:
    """Alpha that rises from 0 to 1 over `feather` pixels, 1/2 at a distance of 0."""
    return np.asarray(np.clip(0.5 + distance / max(feather, 1e-3), 0, 1), dtype=np.float32)


def signed_distance(mask: BoolArray) -> Float32Array:
    """Distance hxw in pixels from the mask's edge, positive inside. A mask without an edge is far from it."""
    bits = mask.view(np.uint8)
    if mask.all() or not mask.any():
        return np.where(mask, np.float32(1e6), np.float32(-1e6))
    # From pixel centre to pixel centre: the edge lies half a pixel nearer.
    inside = cv2.distanceTransform(bits, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - bits, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)


def foreground(pixels: UInt8Array, alpha: Float32Array, band: float) -> UInt8Array:
    """The subject's colours hxwx3 as they would be without the background that shines through where alpha is below 1:
    two blur fusions, a wide one and a narrow one."""
    image = pixels.astype(np.float32)
    shown = alpha[..., None]
    subject, behind = _fused(image, image, image, shown, 2 * round(band * 4) + 1)
    subject, _ = _fused(image, subject, behind, shown, 7)
    mixed = (alpha > 0) & (alpha < 1)
    result = pixels.copy()
    result[mixed] = np.round(np.clip(subject[mixed], 0, 255)).astype(np.uint8)
    return result


def _fused(
    image: Float32Array, subject: Float32Array, behind: Float32Array, alpha: Float32Array, side: int
) -> tuple[Float32Array, Float32Array]:
    """Forte's equations 4 to 7: both colours averaged over a window by alpha, then moved until they make the image."""
    weight = _mean(alpha[..., 0], side)[..., None]
    near = _mean(subject * alpha, side) / (weight + 1e-5)
    beyond = _mean(behind * (1 - alpha), side) / (1 - weight + 1e-5)
    rest = image - alpha * near - (1 - alpha) * beyond
    return np.asarray(near + alpha * rest, dtype=np.float32), np.asarray(beyond, dtype=np.float32)


def _fitted(pixels: UInt8Array, mask: BoolArray, far: Float32Array, band: float) -> tuple[Float32Array, Float32Array]:
    """Alpha by colour hxw, not clipped, and how far it can be trusted, 0 to 1."""
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
    fits = _mean(np.dstack([slope, offset, explained]), side)
    planes = np.asarray(cv2.resize(fits, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    alpha = np.einsum("hwc,hwc->hw", planes[..., :3], pixels.astype(np.float32) / 255) + planes[..., 3]
    return alpha, _smoothstep(planes[..., 4], *TRUST)


def _regression(
    guide: Float32Array, known: Float32Array, weight: Float32Array, side: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """For every window: slope hxwx3 and offset hxw of the weighted linear fit of `known` by colour, and the share of
    its variance that the fit explains."""
    total = _mean(weight, side)
    mean = _mean(guide * weight[..., None], side) / total[..., None]
    level = _mean(known * weight, side) / total
    cross = _mean(guide * (known * weight)[..., None], side) / total[..., None] - mean * level[..., None]
    pairs = guide[..., :, None] * guide[..., None, :] * weight[..., None, None]
    flat = _mean(pairs.reshape(*known.shape, 9)[..., [0, 1, 2, 4, 5, 8]], side) / total[..., None]
    spread = flat[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*known.shape, 3, 3)
    spread = spread - mean[..., :, None] * mean[..., None, :] + EPSILON * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, cross[..., None])[..., 0].astype(np.float32)
    offset = level - np.einsum("hwc,hwc->hw", slope, mean)
    variance = _mean(known * known * weight, side) / total - level * level
    explained = np.einsum("hwc,hwc->hw", slope, cross) / (variance + 1e-3)
    return slope, offset.astype(np.float32), np.clip(explained, 0, 1).astype(np.float32)


def _mean(values: Float32Array, side: int) -> Float32Array:
    """The mean over a square window; OpenCV filters four channels at a time."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    if channels <= 4:
        return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), dtype=np.float32)
    parts = [_mean(np.ascontiguousarray(values[..., start : start + 4]), side) for start in range(0, channels, 4)]
    return np.dstack(parts)


def _smoothstep(values: Float32Array, low: float, high: float) -> Float32Array:
    """0 below `low`, 1 above `high`, smooth between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)
