"""Columns of logits as coarse as the network's in, vertical runs of an image out: what lies above a level is read off
where the logits cross it, so that no pixel inside or outside a mask is ever looked at.

Between two inputs, bilinear resizing is linear along a column: it crosses a level once or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.types import Float32Array, Int64Array, Region, Runs


@dataclass(frozen=True, slots=True)
class ColumnRuns:
    """Set pixels of columns of `height` pixels: each run's column, and its first row and the row behind its last one,
    ascending."""

    height: int
    columns: Int64Array
    tops: Int64Array
    bottoms: Int64Array

    @property
    def area(self) -> int:
        """Number of set pixels."""
        return int((self.bottoms - self.tops).sum())

    def region(self, size: tuple[int, int], x0: int) -> Region:
        """The same as a region of an image of `size`, the first column lying at `x0`."""
        if not self.columns.size:
            return Region(size, 0, 0, np.zeros((0, 0), dtype=np.bool_))
        left, right = int(self.columns[0]), int(self.columns[-1]) + 1
        top, bottom = int(self.tops.min()), int(self.bottoms.max())
        rows = bottom - top
        before = (self.columns - left) * rows - top
        runs = Runs((rows, right - left), before + self.tops, before + self.bottoms)
        return Region(size, x0 + left, top, runs)


def runs_above(logits: Float32Array, places: NDArray[np.float64], level: float) -> ColumnRuns:
    """The pixels above `level` of columns whose logits [h,W] are to be resized along them, bilinear: `places` says
    where each pixel of a column lies among the h inputs, ascending."""
    height, inputs = len(places), len(logits)
    inside = cv2.transpose((logits > level).view(np.uint8))
    column, above = np.divmod(np.flatnonzero(inside[:, 1:] != inside[:, :-1]), max(1, inputs - 1))
    low, high = logits[above, column].astype(np.float64), logits[above + 1, column].astype(np.float64)
    crossing = above + (level - low) / (high - low)
    # The first pixel above the level lies behind the crossing, the first one not above it there or behind it.
    row = np.searchsorted(places, np.where(high > low, np.nextafter(crossing, np.inf), crossing))
    first, last = np.flatnonzero(inside[:, 0]), np.flatnonzero(inside[:, -1])
    turns = np.concatenate([first * (height + 1), column * (height + 1) + row, last * (height + 1) + height])
    turns.sort(kind="stable")
    return _paired(turns, height)


def _paired(turns: Int64Array, height: int) -> ColumnRuns:
    """Runs between every other two of these ascending turns, each a column times (height + 1) and a row. Two turns in
    one place are none."""
    meet = turns[1:] == turns[:-1]
    if meet.any():
        places, counts = np.unique(turns, return_counts=True)
        turns = places[counts % 2 == 1]
    column, row = np.divmod(turns, height + 1)
    return ColumnRuns(height, column[0::2], row[0::2], row[1::2])
