"""A mask decoder's low-resolution logits in, regions of the image out, without ever building what is not mask.

Bilinear resizing is linear in each axis, so any chain of it (low resolution -> padded input -> valid part -> image) is
one matrix a side; only rows and columns whose logits can pass the threshold are multiplied. The result equals
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` step by step, to float rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.imaging.resizing import AS_TORCH, bilinear
from shared.models.postprocess.mask_runs import runs_above
from shared.types import Float16Array, Float32Array, Int64Array, PromptMask, Region

STABILITY_OFFSET = 1.0
"""Logits above +offset over logits above -offset: the stability score of Segment Anything (Kirillov et al. 2023)."""
COLUMN_TILE = 256
"""Output columns multiplied at once: keeps the band of the matrix narrow and the tile in cache."""
FLOAT16_MAX = 65504.0
LARGE_PIXELS = 2**20
"""Of larger images the runs of a mask are found faster than its pixels."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of the chain: output o = sum of weights[o, i] * input i, where only first[o] <= i <= last[o] count."""

    weights: Float32Array
    first: Int64Array
    last: Int64Array

    @property
    def places(self) -> NDArray[np.float64] | None:
        """Where each output lies among the inputs, ascending; none where one depends on more than two."""
        if (self.last - self.first).max(initial=0) > 1:
            return None
        shares = self.weights[np.arange(len(self.last)), self.last].astype(np.float64)
        return np.where(self.last > self.first, self.first + shares, self.first)

    def reach(self, inputs: NDArray[np.bool_]) -> tuple[slice, slice] | None:
        """The span of outputs that see a set input, and of inputs which those outputs see; None if there is none."""
        marked = np.flatnonzero(inputs)
        if marked.size == 0:
            return None
        start = int(np.searchsorted(self.last, marked[0], side="left"))
        stop = int(np.searchsorted(self.first, marked[-1], side="right"))
        if start >= stop:
            return None
        return slice(start, stop), slice(int(self.first[start]), int(self.last[stop - 1]) + 1)


@dataclass(frozen=True, slots=True)
class LogitFrame:
    """How low-resolution logits lie on an image of `size` (H, W). Where they are resized twice: `seen`, the axes (rows,
    columns) to what the network saw of the image, and `onwards`, the rows from there to the image."""

    size: tuple[int, int]
    rows: Axis
    columns: Axis
    seen: tuple[Axis, Axis] | None = None
    onwards: Axis | None = None

    @property
    def large(self) -> bool:
        """Whether runs are found faster than pixels."""
        return math.prod(self.size) > LARGE_PIXELS

    @property
    def places(self) -> NDArray[np.float64] | None:
        """Where each row of a large image lies among those that are resized to it last."""
        return (self.onwards or self.rows).places if self.large else None

    def as_seen(self, logits: Float32Array) -> Float32Array:
        """The hxw logits at the size at which the network saw the image, as they are where they are resized once."""
        if self.seen is None:
            return logits
        rows, columns = self.seen
        return np.asarray(rows.weights @ logits @ columns.weights.T, dtype=np.float32)


def _matrix(inputs: int, outputs: int) -> Float32Array:
    """The matrix [outputs, inputs] of bilinear resizing."""
    seen, weights = bilinear(inputs, outputs, AS_TORCH)
    return np.pad(weights, ((0, 0), (seen.start, inputs - seen.stop)))


def _axis(weights: Float32Array) -> Axis:
    seen = weights != 0
    last = weights.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
    return Axis(weights, np.argmax(seen, axis=1), last)


@lru_cache(maxsize=64)
def _resized_axis(inputs: int, outputs: int) -> Axis:
    return _axis(_matrix(inputs, outputs))


@lru_cache(maxsize=64)
def _padded_axis(inputs: int, padded: int, valid: int, outputs: int) -> Axis:
    return _axis(_matrix(valid, outputs) @ _matrix(inputs, padded)[:valid])


@lru_cache(maxsize=64)
def _seen_axis(inputs: int, padded: int, valid: int) -> Axis:
    return _axis(_matrix(inputs, padded)[:valid])


@lru_cache(maxsize=64)
def _cropped_axis(inputs: int, valid: int, outputs: int) -> Axis:
    return _axis(np.pad(_matrix(valid, outputs), ((0, 0), (0, inputs - valid))))


def stretched(low: tuple[int, int], size: tuple[int, int]) -> LogitFrame:
    """Logits of shape `low` that cover the image exactly (SAM 2, SAM 3): one resize."""
    return LogitFrame(size, _resized_axis(low[0], size[0]), _resized_axis(low[1], size[1]))


def padded(low: tuple[int, int], canvas: tuple[int, int], valid: tuple[int, int], size: tuple[int, int]) -> LogitFrame:
    """Logits over a padded canvas whose top-left `valid` part is the image (SAM): resized to it, cropped, resized."""
    rows, columns = (_padded_axis(*sides) for sides in zip(low, canvas, valid, size, strict=True))
    down, across = (_seen_axis(*sides) for sides in zip(low, canvas, valid, strict=True))
    return LogitFrame(size, rows, columns, (down, across), _resized_axis(valid[0], size[0]))


def cropped(low: tuple[int, int], valid: tuple[int, int], size: tuple[int, int]) -> LogitFrame:
    """Logits of shape `low` whose top-left `valid` cells cover the image exactly: cropped, then resized."""
    return LogitFrame(size, _cropped_axis(low[0], valid[0], size[0]), _cropped_axis(low[1], valid[1], size[1]))


def region_of(logits: Float32Array, frame: LogitFrame, offset: float = STABILITY_OFFSET) -> tuple[Region, float]:
    """The mask (logit > 0) of hxw low-resolution logits on the image, and its stability score, 0 to 1; `offset` 0 where
    that is not asked for."""
    possible = logits > -offset
    row_spans = frame.rows.reach(np.any(possible, axis=1))
    column_spans = frame.columns.reach(np.any(possible, axis=0))
    if row_spans is None or column_spans is None:
        return Region(frame.size, 0, 0, np.zeros((0, 0), dtype=np.bool_)), 0.0
    if (places := frame.places) is not None:
        return _run_region(logits, frame, places, column_spans, offset)
    (rows, seen_rows), (columns, seen_columns) = row_spans, column_spans
    tall = frame.rows.weights[rows, seen_rows] @ logits[seen_rows, seen_columns]
    bits = np.empty((tall.shape[0], columns.stop - columns.start), dtype=np.bool_)
    sure = within = 0
    for place, tile in _across(tall, frame.columns, columns, seen_columns):
        np.greater(tile, 0, out=bits[:, place])
        sure += int(np.count_nonzero(tile > offset))
        within += int(np.count_nonzero(tile > -offset))
    region = Region.from_mask(bits, columns.start, rows.start, frame.size)
    return region, sure / within if within else 0.0


def _across(tall: Float32Array, axis: Axis, columns: slice, seen: slice) -> Iterator[tuple[slice, Float32Array]]:
    """`tall` [H, those seen] resized along its rows: some of the wanted `columns` at a time, and their values."""
    for start in range(columns.start, columns.stop, COLUMN_TILE):
        stop = min(start + COLUMN_TILE, columns.stop)
        low, high = int(axis.first[start]), int(axis.last[stop - 1]) + 1
        band = tall[:, low - seen.start : high - seen.start]
        yield slice(start - columns.start, stop - columns.start), band @ axis.weights[start:stop, low:high].T


def _run_region(
    logits: Float32Array,
    frame: LogitFrame,
    places: NDArray[np.float64],
    spans: tuple[slice, slice],
    offset: float,
) -> tuple[Region, float]:
    """What `region_of` gives, by the runs; `spans`: of columns, and of those that they see."""
    columns, seen = spans
    rows = np.flatnonzero(np.any(logits > -offset, axis=1))
    top, behind, tall = int(rows[0]), int(rows[-1]) + 1, logits[:, seen]
    if frame.seen is not None:
        steps = frame.seen[0]
        top, behind = int(np.searchsorted(steps.last, top)), int(np.searchsorted(steps.first, behind))
        tall = steps.weights @ tall
    # With a row beyond those on either side, in which nothing is set.
    top = max(0, top - 1)
    tall = tall[top : behind + 1]
    wide = np.empty((len(tall), columns.stop - columns.start), dtype=np.float32)
    for place, tile in _across(tall, frame.columns, columns, seen):
        wide[:, place] = tile
    runs = {level: runs_above(wide, places - top, level) for level in {offset, 0.0, -offset}}
    sure, within = runs[offset].area, runs[-offset].area
    return runs[0.0].region(frame.size, columns.start), sure / within if within else 0.0


def to_float16(values: Float32Array) -> Float16Array:
    """Rounded to float16; what lies beyond its range becomes its largest value, not infinity."""
    return np.clip(values, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)


def candidates(
    logits: Float32Array,
    predicted_iou: Float32Array,
    frame: LogitFrame,
    lowest_iou: float | None = None,
    offset: float = STABILITY_OFFSET,
) -> tuple[PromptMask, ...]:
    """Candidates of one prompt, best predicted IoU first: `logits` kxhxw, `predicted_iou` k. Those not above
    `lowest_iou` are left out. `offset`: of the stability score."""
    found = []
    for index in np.argsort(-predicted_iou, kind="stable"):
        if lowest_iou is not None and not predicted_iou[index] > lowest_iou:
            break
        region, stability = region_of(logits[index], frame, offset)
        found.append(PromptMask(region, float(predicted_iou[index]), stability, to_float16(logits[index])))
    return tuple(found)
