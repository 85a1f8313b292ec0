"""Where logits next to each other differ in their largest class, the labels of the pixels between them.

Only classes that may win there are looked at: two, at almost every border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.imaging.resizing import AS_TORCH, taps
from shared.types import BoolArray, Float32Array, UInt8Array

BLOCK_VALUES = 2**17
"""Logits worked on at once at full size: half a megabyte, which stays in the second-level cache meanwhile."""
ROUNDING = 1e-5
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
def axis(inputs: int, outputs: int, extent: float = 1.0) -> Axis:
    """How so many outputs of bilinear resizing lie between the inputs, the first `extent` (0 to 1) of them."""
    low, weight = taps(inputs, outputs, AS_TORCH, extent=extent)
    many = np.bincount(low + ((low > 0) | (weight > 0)), minlength=inputs + 1)
    return Axis(weight, np.cumsum(many) - many, many)


@dataclass(frozen=True, slots=True)
class Gaps:
    """Those between logits whose pixels are looked at: n of them, by their row `y` and column `x`, on an image whose
    sides are `rows` and `columns`."""

    y: IntArray
    x: IntArray
    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, chosen: BoolArray, rows: Axis, columns: Axis) -> Gaps:
        """Those that are `chosen` [h+1,w+1] and have pixels."""
        y, x = np.nonzero(chosen & (rows.many > 0)[:, None] & (columns.many > 0))
        return cls(y, x, rows, columns)

    def corners(self, logits: Float32Array) -> Float32Array:
        """The `logits` [classes,h,w] around each: above and below, to the left and to the right: [2,2,classes,n]."""
        _, height, width = logits.shape
        high = np.maximum(self.y - 1, 0), np.minimum(self.y, height - 1)
        wide = np.maximum(self.x - 1, 0), np.minimum(self.x, width - 1)
        return np.stack([np.stack([logits[:, row, column] for column in wide]) for row in high])

    def between(self, corners: Float32Array, possible: BoolArray) -> Iterator[Between]:
        """What lies between these corners [2,2,classes,n] of the classes that are `possible` [classes,n], at least one
        a gap; some gaps at a time."""
        for some, classes in self._alike(possible):
            high, wide = self.rows.pixels(self.y[some]), self.columns.pixels(self.x[some])
            above, below = corners[:, :, classes, some]
            first, second = _between(above, below, self.rows.weight[high])
            values = _between(first, second, self.columns.weight[wide])
            yield Between(some, classes, (high * len(self.columns.weight))[:, None] + wide, values)

    def once(self, part: Between) -> BoolArray:
        """Which places of a part [tall,wide,m] have a pixel for the first time."""
        _, tall, wide, _ = part.values.shape
        down = np.arange(tall)[:, None] < self.rows.many[self.y[part.gaps]]
        across = np.arange(wide)[:, None] < self.columns.many[self.x[part.gaps]]
        return down[:, None] & across

    def _alike(self, possible: BoolArray) -> Iterator[tuple[IntArray, IntArray]]:
        """Gaps [m] that have equally many possible classes, some at a time, and those classes, ascending [k,m]."""
        counts = possible.sum(axis=0)
        most = int(self.rows.many.max()) * int(self.columns.many.max())
        for count in np.unique(counts).tolist():
            step = max(1, BLOCK_VALUES // (count * most))
            gaps = np.flatnonzero(counts == count)
            for begin in range(0, len(gaps), step):
                some = gaps[begin : begin + step]
                yield some, np.nonzero(possible[:, some].T)[1].reshape(-1, count).T


class Between(NamedTuple):
    """Pixels of m gaps that have k possible classes each: which gaps [m], their `classes` [k,m], the `pixels` of the
    image, row by row [tall,wide,m], and the logits there [k,tall,wide,m]. Where a gap has fewer pixels than another,
    its last row or column comes several times."""

    gaps: IntArray
    classes: IntArray
    pixels: IntArray
    values: Float32Array


def fill(labels: UInt8Array, logits: Float32Array, mixed: BoolArray, rows: Axis, columns: Axis) -> None:
    """Set `labels` [H,W] to the largest class of the resized `logits` [classes,h,w] in all gaps that are `mixed`
    [h+1,w+1] and have pixels."""
    gaps = Gaps.of(mixed, rows, columns)
    corners = gaps.corners(logits)
    flat = labels.reshape(-1)
    for part in gaps.between(corners, _possible(corners, ROUNDING * float(np.abs(logits).max(initial=0)))):
        flat[part.pixels] = largest(part.values, part.classes.astype(np.uint8)[:, None, None])


def _possible(corners: Float32Array, margin: float) -> BoolArray:
    """Which classes may be the largest between such corners [2,2,classes,n]: those that reach what another one
    has everywhere. At least one a gap: [classes,n]."""
    reached: BoolArray = corners.max(axis=(0, 1)) >= corners.min(axis=(0, 1)).max(axis=0) - np.float32(margin)
    return reached


def _between(first: Float32Array, second: Float32Array, weight: Float32Array) -> Float32Array:
    """Values [k,...,m,n] on the way from `first` [k,...,n] to `second`, for each of the weights [m,n]."""
    found: Float32Array = (second - first)[..., None, :] * weight
    found += first[..., None, :]
    return found


def largest(values: Float32Array, ids: UInt8Array) -> UInt8Array:
    """Of `ids` [k,...] the first whose value in [k,...,n] is the largest. `values` are changed."""
    best, labels = values[0], np.broadcast_to(ids[0], values.shape[1:])
    for value, label in zip(values[1:], ids[1:], strict=True):
        larger = (value > best).view(np.uint8)
        larger *= label - labels  # modulo 256, as is the sum
        labels = labels + larger
        np.maximum(best, value, out=best)
    return labels
