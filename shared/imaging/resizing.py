"""Planes in, a part of what OpenCV would resize them to out: so that no plane of the whole picture's size is needed.

What bilinear resizing takes of each input stands here for all that do it by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.imaging.stripes import Place
from shared.types import Float32Array, UInt8Array

AS_TORCH, AS_OPENCV = np.float32, np.float64
"""In what each finds where an output lies between its inputs; weights differ in the fifth place."""
WHOLE = slice(None)
Kind = TypeVar("Kind", np.float32, np.float64)


def taps(
    inputs: int, outputs: int, kind: type[Kind], span: slice = WHOLE, extent: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[Kind]]:
    """Of each output in `span` of bilinear resizing with half-pixel centres, edges repeated, no antialiasing: the lower
    of the two neighbours that it lies between, ascending, and the other one's weight. The outputs lie on the first
    `extent` of the inputs, 0 to 1."""
    centres = np.arange(*span.indices(outputs), dtype=kind) + kind(0.5)
    source = np.maximum(kind(inputs * extent) / kind(outputs) * centres - kind(0.5), 0)
    low = np.minimum(source.astype(np.int64), inputs - 1)
    return low, np.clip(source - low, 0, 1).astype(kind)


def bilinear(inputs: int, outputs: int, kind: type[Kind], span: slice = WHOLE) -> tuple[slice, Float32Array]:
    """What `taps` says: the inputs that it names, and the matrix [outputs in `span`, those inputs] of their weights."""
    low, weight = taps(inputs, outputs, kind, span)
    seen = slice(int(low[0]), min(int(low[-1]) + 2, inputs))
    high = np.minimum(low + 1, inputs - 1)
    matrix = np.zeros((len(low), seen.stop - seen.start), dtype=kind)
    each = np.arange(len(low))
    matrix[each, low - seen.start] = 1 - weight
    matrix[each, high - seen.start] += weight
    return seen, matrix.astype(np.float32, copy=False)


def enlarged(planes: list[Float32Array], size: tuple[int, int], place: Place) -> list[Float32Array]:
    """What lies at `place` of these planes resized to `size` (H, W), bilinear, edges repeated."""
    down, across = (
        bilinear(low, high, AS_OPENCV, span) for low, high, span in zip(planes[0].shape, size, place, strict=True)
    )
    return [np.asarray(down[1] @ plane[down[0], across[0]] @ across[1].T, dtype=np.float32) for plane in planes]


def enlarged_rows(small: Float32Array, size: tuple[int, int], rows: slice) -> Float32Array:
    """The same of whole rows of a picture of one or more channels."""
    if small.shape[:2] == size:
        return small[rows].copy()
    seen, shares = bilinear(small.shape[0], size[0], AS_OPENCV, rows)
    tall = np.tensordot(shares, small[seen], 1)
    return np.asarray(cv2.resize(tall, (size[1], len(tall)), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def row_groups(low: int, high: int, most: int) -> Iterator[tuple[slice, slice, Float32Array | None]]:
    """Of `high` rows to be made `low`, by area: rows of the result, a few at a time, so that each group needs about
    `most` rows or those of one; the rows that it is made of; and the share of each in each, None where every row goes
    into one alone."""
    scale = high / low
    step = max(1, int(most / scale))
    for start in range(0, low, step):
        stop = min(low, start + step)
        first, last = int(start * scale), min(high, math.ceil(stop * scale))
        if high % low == 0:
            yield slice(start, stop), slice(first, last), None
            continue
        top = np.arange(start, stop)[:, None] * scale
        row = np.arange(first, last)
        shares = np.clip(np.minimum(row + 1, top + scale) - np.maximum(row, top), 0, None) / scale
        yield slice(start, stop), slice(first, last), shares.astype(np.float32)


def lowered(part: UInt8Array, size: tuple[int, int], shares: Float32Array | None) -> Float32Array:
    """Rows of a picture of one or more channels resized by area to `size` (h, w), in these shares of `row_groups`."""
    height = size[0] if shares is None else len(part)
    narrow = cv2.resize(part.astype(np.float32), (size[1], height), interpolation=cv2.INTER_AREA)
    return np.asarray(narrow if shares is None else np.tensordot(shares, narrow, 1), dtype=np.float32)
