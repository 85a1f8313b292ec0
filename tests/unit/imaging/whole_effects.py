"""Cut-outs, portrait blur, other backgrounds and dyes as they were made before it was done a stripe at a time: in
planes of the whole picture. What `shared.imaging.cutout` gives is compared with this."""

from __future__ import annotations

import cv2
import numpy as np

from shared.imaging.cutout import SHADING, Subject
from shared.types import Float32Array, UInt8Array


def cutout(subject: Subject, *, tight: bool = False) -> UInt8Array:
    alpha = np.round(255 * subject.alpha).astype(np.uint8)
    rgba = np.dstack([subject.colours, alpha])
    rgba[alpha == 0] = 0
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if tight and rows.size:
        return np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    whole = np.zeros((*subject.size, 4), dtype=np.uint8)
    whole[subject.place] = rgba
    return whole


def blur(pixels: UInt8Array, subject: Subject, strength: float) -> UInt8Array:
    sigma = max(0.5, strength * min(subject.size))
    behind = np.ones(subject.size, dtype=np.float32)
    behind[subject.place] = subject.alpha <= 0
    spread = _smooth(behind, sigma)
    shown = _smooth(pixels.astype(np.float32) * behind[..., None], sigma) / np.maximum(spread, 1e-3)[..., None]
    # Deep inside a large subject nothing of the background arrives; what is there is never seen.
    return _in_front(subject, np.round(np.clip(shown, 0, 255)).astype(np.uint8))


def replace(subject: Subject, background: tuple[int, int, int] | UInt8Array) -> UInt8Array:
    height, width = subject.size
    if isinstance(background, tuple):
        return _in_front(subject, np.full((height, width, 3), background, dtype=np.uint8))
    return _in_front(subject, _covering(background, height, width).copy())


def recolor(pixels: UInt8Array, subject: Subject, color: tuple[int, int, int], tint: float) -> UInt8Array:
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
    part = behind[subject.place].astype(np.float32)
    part += (subject.colours - part) * subject.alpha[..., None]
    behind[subject.place] = np.round(part).astype(np.uint8)
    return behind


def _smooth(values: Float32Array, sigma: float) -> Float32Array:
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
