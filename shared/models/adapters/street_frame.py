"""Where an image lies in the input of `street`: scaled into the bucket that shows it largest, at its top left corner.

Sides are whole cells of the network (4 pixels), so that the image's part of every output is cut out exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from shared.catalog.card import Card
from shared.models.geometry import Placement, Size
from shared.types import UInt8Array

STRIDE = 4
"""Pixels of the input per cell of the network's outputs, but for the logits."""
LOGIT_STRIDE = 2
"""Pixels of the input per cell of the semantic logits."""
Bucket = tuple[int, int]


def dense_buckets(card: Card) -> tuple[Bucket, ...]:
    """What the dense tasks see an image in: `preprocess.dense_buckets` of the card, else its `buckets`."""
    return card.preprocess.dense_buckets or card.preprocess.buckets


def place(size: tuple[int, int], buckets: Sequence[Bucket]) -> Placement:
    """The bucket (height, width) that shows an image of `size` (H, W) at the largest scale; of equals the smaller."""
    canvas = max(buckets, key=lambda bucket: (_factor(size, bucket), -bucket[0] * bucket[1]))
    factor = _factor(size, canvas)
    height, width = (
        min(max(STRIDE, round(side * factor / STRIDE) * STRIDE), limit)
        for side, limit in zip(size, canvas, strict=True)
    )
    return Placement(Size(*size), Size(height, width), Size(*canvas))


def cells(size: Size, stride: int = STRIDE) -> tuple[int, int]:
    """Rows and columns of the network's outputs over this part of its input."""
    return -(-size.height // stride), -(-size.width // stride)


def letterboxed(pixels: UInt8Array, placement: Placement, padding: Sequence[float]) -> UInt8Array:
    """HxWx3 uint8 on its canvas: averaged where it shrinks, interpolated where it grows; `padding` is an RGB colour."""
    fitted = pixels
    if pixels.shape[:2] != placement.valid:
        shrinks = placement.valid.height < pixels.shape[0] or placement.valid.width < pixels.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(pixels, (placement.valid.width, placement.valid.height), interpolation=how)
        fitted = np.asarray(resized, dtype=np.uint8)
    if placement.valid == placement.canvas:
        return fitted
    canvas = np.empty((*placement.canvas, 3), dtype=np.uint8)
    canvas[:] = np.rint(padding).astype(np.uint8)
    canvas[: placement.valid.height, : placement.valid.width] = fitted
    return canvas


def _factor(size: tuple[int, int], bucket: Bucket) -> float:
    return min(bucket[0] / size[0], bucket[1] / size[1])
