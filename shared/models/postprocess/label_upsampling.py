"""Class logits at low resolution in, a label and its probability for every pixel of the image out; without torch.

The logits are resized (bilinear, half-pixel centres, edges repeated), the largest is the label: equal to resizing them
whole, then argmax and softmax. Where the four logits around a pixel agree on their largest class, so does everything
between them, and nothing is computed there: nine tenths of a street. Probabilities, and labels of an image that is not
much larger than its logits, are found a band of rows at a time, so that full-size logits never leave the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import cv2
import numpy as np

from shared.imaging.resizing import AS_TORCH, bilinear
from shared.models.postprocess.label_borders import BLOCK_VALUES, axis, fill
from shared.types import BoolArray, Float16Array, Float32Array, SemanticOutput, UInt8Array

SPARSE_FROM, SPARSE_TO, PADDED_TO = 8, 0.25, 0.75
"""Pixels a logit from which on, and the part of the image between logits that disagree up to which, it pays to look at
those alone: the latter for logits that cover the image exactly, and for those that are padded."""


def labels_at(
    logits: Float32Array, size: tuple[int, int], temperature: float = 1.0, alone: bool = False
) -> SemanticOutput:
    """Labels uint8 and the softmax probability of each (float16) at `size` (H, W), from logits [classes,h,w].

    At most 255 classes. The probabilities are those of the logits divided by `temperature`; of a large image those of
    four pixels a logit are enough for means. `alone`: they will hardly be asked for.
    """
    labels = labels_by_borders(logits, size)
    if labels is None:
        if not alone:
            return SemanticOutput(*_with_probabilities(logits, size, temperature))
        labels = np.empty(size, dtype=np.uint8)
        for where, values in _bands(logits, size):
            labels[where] = _largest(values)
        return SemanticOutput(labels, lambda: _with_probabilities(logits, size, temperature)[1])
    some = sample_of(logits.shape[1:], size)
    return SemanticOutput(
        labels,
        lambda: _with_probabilities(logits, size, temperature)[1],
        cache(lambda: SemanticOutput(*_with_probabilities(logits, some, temperature))),
    )


def labels_by_borders(
    logits: Float32Array,
    size: tuple[int, int],
    extent: tuple[float, float] = (1.0, 1.0),
    most: float = SPARSE_TO,
) -> UInt8Array | None:
    """Labels at `size` (H, W) of logits [classes,h,w] whose top-left `extent` (parts of height and width) shows the
    image, found at the borders between them alone; none where that does not pay, as where there are borders in more
    than `most` of the image."""
    _, height, width = logits.shape
    if size[0] * size[1] < SPARSE_FROM * height * width * extent[0] * extent[1]:
        return None
    rows, columns = axis(height, size[0], extent[0]), axis(width, size[1], extent[1])
    near = _largest(logits.copy())
    mixed = _disagreeing(near)
    if rows.many @ mixed @ columns.many > most * size[0] * size[1]:
        return None
    before = np.pad(near, ((1, 0), (1, 0)), "edge")
    labels = np.repeat(np.repeat(before, columns.many, axis=1), rows.many, axis=0)
    fill(labels, logits, mixed, rows, columns)
    return labels


def sample_of(cells: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a large image of `size` is looked at for means: four pixels a cell of hxw logits."""
    return min(size[0], 2 * cells[0]), min(size[1], 2 * cells[1])


def _disagreeing(near: UInt8Array) -> BoolArray:
    """In which of the gaps between the logits, before the first and behind the last, their largest classes differ:
    [h+1,w+1]."""
    around = np.pad(near, 1, "edge")
    first = around[:-1, :-1]
    mixed: BoolArray = (first != around[1:, :-1]) | (first != around[:-1, 1:]) | (first != around[1:, 1:])
    return mixed


def _with_probabilities(
    logits: Float32Array, size: tuple[int, int], temperature: float
) -> tuple[UInt8Array, Float16Array]:
    labels = np.empty(size, dtype=np.uint8)
    confidence = np.empty(size, dtype=np.float16)
    for where, values in _bands(logits, size):
        labels[where] = _largest(values)
        if temperature != 1:
            values *= np.float32(1 / temperature)
        confidence[where] = np.reciprocal(np.exp(values, out=values).sum(axis=0))
    return labels, confidence


def _bands(logits: Float32Array, size: tuple[int, int]) -> Iterator[tuple[slice, Float32Array]]:
    """Rows of the image and their logits [classes,rows,W], which are the caller's until the next."""
    classes, low_height, low_width = logits.shape
    height, width = size
    used, weights = bilinear(low_height, height, AS_TORCH)
    logits = logits[:, used]
    rows = min(height, max(1, BLOCK_VALUES // (classes * width)))
    # One place for every band: memory that is asked for anew is new to the cache too.
    wide = np.empty((classes * rows, width), dtype=np.float32)
    for start in range(0, height, rows):
        band = weights[start : start + rows]
        seen = np.flatnonzero(band.any(axis=0))
        span = slice(int(seen[0]), int(seen[-1]) + 1)
        tall = np.matmul(band[:, span], logits[:, span]).reshape(-1, low_width)
        part = wide[: len(tall)]
        cv2.resize(tall, (width, len(tall)), dst=part, interpolation=cv2.INTER_LINEAR)
        yield slice(start, start + len(band)), part.reshape(classes, len(band), width)


def _largest(values: Float32Array) -> UInt8Array:
    """The first index along axis 0 whose value is the largest. `values` [classes, ...] become differences to that."""
    values -= values.max(axis=0)
    marks = np.not_equal(values, 0).view(np.uint8)
    np.negative(marks, out=marks)  # 255 where the value is not 0
    marks |= np.arange(len(values), dtype=np.uint8).reshape(-1, *[1] * (values.ndim - 1))
    found: UInt8Array = marks.min(axis=0)
    return found
