"""Where logits next to each other differ in their largest class, the labels of the pixels between them.

Only classes that may win there are looked at: two, at almost every border.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.imaging.resizing import AS_TORCH, taps
from shared.types import BoolArray, Float32Array, UInt8Array

BLOCK_VALUES = 2**17
"""Logits worked on at once at full size: half a megabyte, which stays in the second-level cache meanwhile."""
_ROUNDING = 1e-5
"""Of the largest logit: many times what interpolating loses, in float32."""

IntArray = NDArray[np.int64]


class Axis(NamedTuple):
    """One side of the image, and how its pixels lie in the gaps between the logits, one more than these: gap i, between
    logits i - 1 and i (before the first and behind the last it is that one twice), has `many[i]` pixels from `start[i]`
    on; at pixel p the second of the two has `weight[p]`."""

    weight: Float32Array
    start: IntArray
    many: IntArray

    def pixels(self, gaps: IntArray) -> IntArray:
        """The pixels of each of these gaps [most,n]; where there are fewer, the last one several times."""
        many = self.many[gaps]
        return self.start[gaps] + np.minimum(np.arange(many.max())[:, None], many - 1)


@lru_cache(maxsize=64)
def axis(inputs: int, outputs: int) -> Axis:
    """How so many outputs of bilinear resizing lie between the inputs."""
    low, weight = taps(inputs, outputs, AS_TORCH)
    many = np.bincount(low + ((low > 0) | (weight > 0)), minlength=inputs + 1)
    return Axis(weight, np.cumsum(many) - many, many)


def fill(labels: UInt8Array, logits: Float32Array, mixed: BoolArray, rows: Axis, columns: Axis) -> None:
    """Set `labels` [H,W] to the largest class of the resized `logits` [classes,h,w] in all gaps that are `mixed`
    [h+1,w+1] and have pixels."""
    y, x = np.nonzero(mixed & (rows.many > 0)[:, None] & (columns.many > 0))
    corners = _corners(logits, y, x)
    flat = labels.reshape(-1)
    for some, classes in _alike(_possible(corners, _ROUNDING * float(np.abs(logits).max(initial=0))), rows, columns):
        high, wide = rows.pixels(y[some]), columns.pixels(x[some])
        above, below = corners[:, :, classes, some]
        first, second = _between(above, below, rows.weight[high])
        values = _between(first, second, columns.weight[wide])
        flat[(high * labels.shape[1])[:, None] + wide] = _largest(values, classes)


def _corners(logits: Float32Array, y: IntArray, x: IntArray) -> Float32Array:
    """The logits around each of these gaps: above and below, to the left and to the right: [2,2,classes,n]."""
    _, height, width = logits.shape
    high = np.maximum(y - 1, 0), np.minimum(y, height - 1)
    wide = np.maximum(x - 1, 0), np.minimum(x, width - 1)
    return np.stack([np.stack([logits[:, row, column] for column in wide]) for row in high])


def _possible(corners: Float32Array, margin: float) -> BoolArray:
    """Which classes may be the largest between such corners [2,2,classes,n]: those that reach what another one
    has everywhere. At least one a gap: [classes,n]."""
    reached: BoolArray = corners.max(axis=(0, 1)) >= corners.min(axis=(0, 1)).max(axis=0) - np.float32(margin)
    return reached


def _alike(possible: BoolArray, rows: Axis, columns: Axis) -> Iterator[tuple[IntArray, IntArray]]:
    """Gaps [n] that have equally many possible classes, some at a time, and those classes, ascending [k,n]."""
    counts = possible.sum(axis=0)
    for count in np.unique(counts).tolist():
        step = max(1, BLOCK_VALUES // (count * int(rows.many.max()) * int(columns.many.max())))
        gaps = np.flatnonzero(counts == count)
        for begin in range(0, len(gaps), step):
            some = gaps[begin : begin + step]
            yield some, np.nonzero(possible[:, some].T)[1].reshape(-1, count).T


def _between(first: Float32Array, second: Float32Array, weight: Float32Array) -> Float32Array:
    """Values [k,...,m,n] on the way from `first` [k,...,n] to `second`, for each of the weights [m,n]."""
    found: Float32Array = (second - first)[..., None, :] * weight
    found += first[..., None, :]
    return found


def _largest(values: Float32Array, classes: IntArray) -> UInt8Array:
    """Of `classes` [k,n] the first whose value in [k,...,n] is the largest. `values` are changed."""
    ids = classes.astype(np.uint8)
    best, labels = values[0], np.broadcast_to(ids[0], values.shape[1:])
    for value, label in zip(values[1:], ids[1:], strict=True):
        larger = (value > best).view(np.uint8)
        larger *= label - labels  # modulo 256, as is the sum
        labels = labels + larger
        np.maximum(best, value, out=best)
    return labels
