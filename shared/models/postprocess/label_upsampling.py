"""Class logits at low resolution in, a label and its probability for every pixel of the image out; without torch.

The logits are resized (bilinear, half-pixel centres, edges repeated) and the largest is taken, a band of rows at a
time, so that full-size logits never leave the cache: equal to resizing them whole, then argmax and softmax.
"""

from __future__ import annotations

import cv2
import numpy as np

from shared.models.postprocess.prompt_masks import bilinear
from shared.types import BoolArray, Float32Array, SemanticOutput, UInt8Array

BAND_VALUES = 2**17
"""Logits of one band at full size: half a megabyte, which stays in the second-level cache while it is worked on."""


def labels_at(logits: Float32Array, size: tuple[int, int], temperature: float = 1.0) -> SemanticOutput:
    """Labels uint8 and the softmax probability of each (float16) at `size` (H, W), from logits [classes,h,w].

    At most 255 classes. The probabilities are those of the logits divided by `temperature`.
    """
    classes, low_height, low_width = logits.shape
    height, width = size
    labels = np.empty(size, dtype=np.uint8)
    confidence = np.empty(size, dtype=np.float16)
    weights = bilinear(low_height, height)
    rows = min(height, max(1, BAND_VALUES // (classes * width)))
    # One place for every band: memory that is asked for anew is new to the cache too.
    wide = np.empty((classes * rows, width), dtype=np.float32)
    others = np.empty(wide.size, dtype=np.bool_)
    for start in range(0, height, rows):
        band = weights[start : start + rows]
        seen = np.flatnonzero(band.any(axis=0))
        span = slice(int(seen[0]), int(seen[-1]) + 1)
        tall = np.matmul(band[:, span], logits[:, span]).reshape(-1, low_width)
        part = wide[: len(tall)]
        cv2.resize(tall, (width, len(tall)), dst=part, interpolation=cv2.INTER_LINEAR)
        values = part.reshape(classes, len(band), width)
        values -= values.max(axis=0)
        where = slice(start, start + len(band))
        labels[where] = _first_zero(values, others[: values.size].reshape(values.shape))
        if temperature != 1:
            values *= np.float32(1 / temperature)
        confidence[where] = np.reciprocal(np.exp(values, out=values).sum(axis=0))
    return SemanticOutput(labels, confidence)


def _first_zero(values: Float32Array, others: BoolArray) -> UInt8Array:
    """The first index at which [classes,h,w] is 0, at each pixel that has one; `others`, as large, is used up."""
    marks = np.not_equal(values, 0, out=others).view(np.uint8)
    np.negative(marks, out=marks)  # 255 where the value is not 0
    marks |= np.arange(len(values), dtype=np.uint8)[:, None, None]
    found: UInt8Array = marks.min(axis=0)
    return found
