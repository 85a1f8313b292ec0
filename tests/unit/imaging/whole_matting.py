"""Matting as it was before it was done tile by tile: in planes of the whole picture. What `shared.imaging.matting` and
`shared.imaging.cutout` find is compared with this."""

from __future__ import annotations

import math

import cv2
import numpy as np

from shared.imaging import matting
from shared.imaging.cutout import Subject
from shared.types import BoolArray, Float32Array, Region, UInt8Array


def subject_of(pixels: UInt8Array, region: Region, *, matted: bool = True, feather: float = 2.0) -> Subject:
    """As `cutout.subject_of`."""
    if not region.bits.size:
        return Subject(region.size, 0, 0, np.zeros((0, 0), np.float32), np.zeros((0, 0, 3), np.uint8))
    band = matting.band_of(region) if matted else 0.0
    margin = math.ceil(max(5 * band, feather + 4))
    left, top, right, bottom = region.box
    x0, y0 = max(0, left - margin), max(0, top - margin)
    x1, y1 = min(region.size[1], right + margin), min(region.size[0], bottom + margin)
    mask = region.full()[y0:y1, x0:x1].copy()
    part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    alpha = matte(part, mask, band, feather)
    return Subject(region.size, x0, y0, alpha, foreground(part, alpha, band) if matted else part)


def matte(pixels: UInt8Array, mask: BoolArray, band: float, feather: float) -> Float32Array:
    """As `matting.matte`."""
    distance = signed_distance(mask)
    if band <= 0:
        return _ramp(distance, feather)
    sigma = min(matting.SMOOTHING, band / 4)
    smooth = np.asarray(cv2.GaussianBlur(np.clip(distance, -8, 8), (0, 0), sigma), dtype=np.float32)
    plain = _ramp(smooth, feather)
    far = np.asarray(np.abs(distance) / band, dtype=np.float32)
    if not (far < 1).any():
        return plain
    alpha, trust = _fitted(pixels, mask, far, band)
    low, high = matting.CONTRAST
    alpha = np.clip((alpha - low) / (high - low), 0, 1)
    found = plain + (alpha - plain) * trust
    inside, outside = matting._smoothstep(far, *matting.INSIDE), matting._smoothstep(far, *matting.OUTSIDE)
    return np.asarray(found + (plain - found) * np.where(mask, inside, outside), dtype=np.float32)


def signed_distance(mask: BoolArray) -> Float32Array:
    """As `matting.signed_distance`."""
    bits = mask.view(np.uint8)
    if mask.all() or not mask.any():
        return np.where(mask, np.float32(1e6), np.float32(-1e6))
    inside = cv2.distanceTransform(bits, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - bits, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)


def foreground(pixels: UInt8Array, alpha: Float32Array, band: float) -> UInt8Array:
    """As `matting.foreground`."""
    image = pixels.astype(np.float32)
    shown = alpha[..., None]
    subject, behind = _fused(image, image, image, shown, 2 * round(band * 4) + 1)
    subject, _ = _fused(image, subject, behind, shown, 7)
    mixed = (alpha > 0) & (alpha < 1)
    result = pixels.copy()
    result[mixed] = np.round(np.clip(subject[mixed], 0, 255)).astype(np.uint8)
    return result


def _ramp(distance: Float32Array, feather: float) -> Float32Array:
    return np.asarray(np.clip(0.5 + distance / max(feather, 1e-3), 0, 1), dtype=np.float32)


def _fused(
    image: Float32Array, subject: Float32Array, behind: Float32Array, alpha: Float32Array, side: int
) -> tuple[Float32Array, Float32Array]:
    weight = _mean(alpha[..., 0], side)[..., None]
    near = _mean(subject * alpha, side) / (weight + 1e-5)
    beyond = _mean(behind * (1 - alpha), side) / (1 - weight + 1e-5)
    rest = image - alpha * near - (1 - alpha) * beyond
    return np.asarray(near + alpha * rest, dtype=np.float32), np.asarray(beyond, dtype=np.float32)


def _fitted(pixels: UInt8Array, mask: BoolArray, far: Float32Array, band: float) -> tuple[Float32Array, Float32Array]:
    height, width = mask.shape
    factor = max(1.0, 2 * band / matting.WORKING_RADIUS)
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
    return alpha, matting._smoothstep(planes[..., 4], *matting.TRUST)


def _regression(
    guide: Float32Array, known: Float32Array, weight: Float32Array, side: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    total = _mean(weight, side)
    mean = _mean(guide * weight[..., None], side) / total[..., None]
    level = _mean(known * weight, side) / total
    cross = _mean(guide * (known * weight)[..., None], side) / total[..., None] - mean * level[..., None]
    pairs = guide[..., :, None] * guide[..., None, :] * weight[..., None, None]
    flat = _mean(pairs.reshape(*known.shape, 9)[..., [0, 1, 2, 4, 5, 8]], side) / total[..., None]
    spread = flat[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*known.shape, 3, 3)
    spread = spread - mean[..., :, None] * mean[..., None, :] + matting.EPSILON * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, cross[..., None])[..., 0].astype(np.float32)
    offset = level - np.einsum("hwc,hwc->hw", slope, mean)
    variance = _mean(known * known * weight, side) / total - level * level
    explained = np.einsum("hwc,hwc->hw", slope, cross) / (variance + 1e-3)
    return slope, offset.astype(np.float32), np.clip(explained, 0, 1).astype(np.float32)


def _mean(values: Float32Array, side: int) -> Float32Array:
    if values.ndim == 2:
        return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), dtype=np.float32)
    parts = [_mean(np.ascontiguousarray(plane), side) for plane in np.moveaxis(values, 2, 0)]
    return np.dstack(parts)
