"""Class logits at low resolution in, a label and its probability for every pixel of the image out; without torch.

The logits are resized (bilinear, half-pixel centres, edges repeated) and the largest is taken, a band of rows at a
time, so that full-size logits never leave the cache: equal to resizing them whole, then argmax and softmax.
"""

from __future__ import annotations

import cv2
import numpy as np

from shared.models.postprocess.prompt_masks import bilinear
from shared.types import Float32Array, SemanticOutput, UInt8Array

BAND_VALUES = 2**18
"""Logits of one band at full size: a megabyte, within the second-level cache."""


def labels_at(logits: Float32Array, size: tuple[int, int], temperature: float = 1.0) -> SemanticOutput:
    """Labels uint8 and the softmax probability of each (float16) at `size` (H, W), from logits [classes,h,w].

    At most 255 classes. The probabilities are those of the logits divided by `temperature`.
    """
    classes, low_height, low_width = logits.shape
    height, width = size
    labels = np.empty(size, dtype=np.uint8)
    confidence = np.empty(size, dtype=np.float16)
    weights = bilinear(low_height, height)
    rows = max(1, BAND_VALUES // (classes * width))
    for start in range(0, height, rows):
        band = weights[start : start + rows]
        seen = np.flatnonzero(band.any(axis=0))
        span = slice(int(seen[0]), int(seen[-1]) + 1)
        tall = np.matmul(band[:, span], logits[:, span]).reshape(-1, low_width)
        wide = cv2.resize(tall, (width, len(tall)), interpolation=cv2.INTER_LINEAR)
        part = slice(start, start + len(band))
        labels[part], confidence[part] = _best(
            np.asarray(wide, dtype=np.float32).reshape(classes, len(band), width), np.float32(1 / temperature)
        )
    return SemanticOutput(labels, confidence)


def _best(logits: Float32Array, sharpness: np.float32) -> tuple[UInt8Array, Float32Array]:
    """The index of the largest of [classes,h,w] and its softmax probability; `logits` is used up."""
    best = logits[0].copy()
    labels = np.zeros(best.shape, dtype=np.uint8)
    for index in range(1, len(logits)):
        np.copyto(labels, np.uint8(index), where=logits[index] > best)
        np.maximum(best, logits[index], out=best)
    logits -= best
    if sharpness != 1:
        logits *= sharpness
    np.exp(logits, out=logits)
    return labels, np.reciprocal(logits.sum(axis=0))
