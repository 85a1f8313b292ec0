"""Instances from a label map, centre heatmaps and offsets: connected components, cut where several centres lie in one.

Peaks and offsets as in Panoptic-DeepLab (Cheng et al. 2020), with one heatmap a thing class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from shared.types import BoolArray, Float16Array, Float32Array, Instance, Int32Array, Region, UInt8Array

STRIDE = 4
NEIGHBOURHOOD = 5
"""Cells over which a peak is the highest."""


def group_instances(
    labels: UInt8Array,
    confidence: Float16Array | Float32Array,
    centres: Float32Array,
    offsets: Float32Array,
    things: Sequence[int] = (8, 9, 10),
    peak_threshold: float = 0.3,
    min_area: int = 64,
    max_instances: int = 100,
) -> list[Instance]:
    """Instances, best score first, with masks of the size of `labels`.

    `labels` uint8 and `confidence` (0-1) HxW; `centres` [len(things),h,w] scores 0-1 and `offsets` (dy, dx) [2,h,w] in
    pixels, at 1/4 of H x W or larger (padding, cut away). A component with two peaks or more of at least
    `peak_threshold` is cut into what points at each. The score is the square of the mean confidence; masks under
    `min_area` pixels are left out.
    """
    height, width = labels.shape
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    found: list[Instance] = []
    for channel, label in enumerate(things):
        heat = np.ascontiguousarray(centres[channel, :rows, :columns], dtype=np.float32)
        peaks = _peaks(heat, peak_threshold, max_instances)
        for x, y, mask in _components(labels == label, min_area):
            for part in _cut(mask, x, y, peaks, offsets[:, :rows, :columns]):
                area = int(np.count_nonzero(part))
                if area >= min_area:
                    inside = confidence[y : y + part.shape[0], x : x + part.shape[1]][part]
                    score = float(inside.mean(dtype=np.float64)) ** 2
                    found.append(Instance(label, min(1.0, score), Region.from_mask(part, x, y, (height, width))))
    found.sort(key=lambda instance: -instance.score)
    return found[:max_instances]


def _components(mask: BoolArray, min_area: int) -> Iterator[tuple[int, int, BoolArray]]:
    """8-connected components of at least `min_area` pixels: corner x, y and the crop of each."""
    left, top, across, down = cv2.boundingRect(mask.view(np.uint8))
    if across * down < min_area:
        return
    part = np.ascontiguousarray(mask[top : top + down, left : left + across]).view(np.uint8)
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
    for number in range(1, count):
        x, y, width, height, area = stats[number].tolist()
        if area >= min_area:
            yield left + x, top + y, numbers[y : y + height, x : x + width] == number


def _peaks(heat: Float32Array, threshold: float, most: int) -> Int32Array:
    """(row, column) of local maxima, highest first: [P,2]; a plateau counts once."""
    highest = cv2.dilate(heat, np.ones((NEIGHBOURHOOD, NEIGHBOURHOOD), np.uint8))
    plane = ((heat >= highest) & (heat >= threshold)).astype(np.uint8)
    _, numbers = cv2.connectedComponents(plane, connectivity=8)
    values, first = np.unique(numbers, return_index=True)
    at = np.stack(np.unravel_index(first[values > 0], heat.shape), 1)
    order = np.argsort(-heat[at[:, 0], at[:, 1]], kind="stable")[:most]
    chosen: Int32Array = at[order].astype(np.int32)
    return chosen


def _cut(mask: BoolArray, x: int, y: int, peaks: Int32Array, offsets: Float32Array) -> list[BoolArray]:
    """A component's crop at (x, y) as one mask, or one for each peak that lies in it."""
    height, width = mask.shape
    inside = []
    for row, column in peaks.tolist():
        top, left = row * STRIDE - y, column * STRIDE - x
        cell = mask[max(0, top) : max(0, top + STRIDE), max(0, left) : max(0, left + STRIDE)]
        if cell.any():
            inside.append((row, column))
    if len(inside) < 2:
        return [mask]
    cells = slice(y // STRIDE, -(-(y + height) // STRIDE)), slice(x // STRIDE, -(-(x + width) // STRIDE))
    owners = _owners(inside, offsets[:, cells[0], cells[1]], cells[0].start, cells[1].start)
    down, across = np.arange(y, y + height) // STRIDE, np.arange(x, x + width) // STRIDE
    pixels = owners[np.ix_(down - cells[0].start, across - cells[1].start)]
    return [mask & (pixels == number) for number in range(len(inside))]


def _owners(peaks: Sequence[tuple[int, int]], offsets: Float32Array, row0: int, column0: int) -> Int32Array:
    """For each cell of a crop at (row0, column0) the index of the peak nearest to the centre that it predicts:
    [h,w].
    """
    rows, columns = offsets.shape[1:]
    down = np.arange(row0, row0 + rows, dtype=np.float32)[:, None] + offsets[0] / STRIDE
    across = np.arange(column0, column0 + columns, dtype=np.float32)[None] + offsets[1] / STRIDE
    squared = np.stack([(down - row) ** 2 + (across - column) ** 2 for row, column in peaks])
    nearest: Int32Array = squared.argmin(0).astype(np.int32)
    return nearest
