"""A label map in, the vertical runs of all its labels out, in one pass: areas, boxes and masks are read off these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shared.types import IdArray, Int64Array, LabelArray, Region, Runs

LOOKED_AT = 2**18
"""Pixels that are compared with those above them at once: they stay in the second-level cache."""


@dataclass(frozen=True, slots=True)
class LabelRuns:
    """What runs an HxW map of `size` has: of each of `labels`, ascending, as many as `many` says. `starts` and `ends`
    (half-open) count pixels column by column, ascending for each label; a run ends with its column."""

    size: tuple[int, int]
    labels: Int64Array
    many: Int64Array
    starts: Int64Array
    ends: Int64Array

    @classmethod
    def of(cls, labels: LabelArray | IdArray) -> LabelRuns:
        """The runs of every label that occurs."""
        height, width = labels.shape
        size = int(height), int(width)
        if not labels.size:
            return cls(size, *(np.zeros(0, np.int64),) * 4)
        turns = [np.arange(width) * height, *_turns(labels)]
        starts = np.sort(np.concatenate(turns))
        column, row = np.divmod(starts, height)
        values = labels[row, column]
        order = np.argsort(values, kind="stable")
        values = values[order]
        first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        many = np.diff(first, append=values.size)
        ends = np.append(starts[1:], labels.size)
        return cls(size, values[first].astype(np.int64), many, starts[order], ends[order])

    def areas(self) -> dict[int, int]:
        """Pixels of each label."""
        return {label: int((ends - starts).sum()) for label, starts, ends in self._each()}

    def regions(self) -> dict[int, Region]:
        """The mask of each label, as its runs."""
        return {label: self._region(starts, ends) for label, starts, ends in self._each()}

    def _each(self) -> Iterator[tuple[int, Int64Array, Int64Array]]:
        stops = np.cumsum(self.many).tolist()
        for label, start, stop in zip(self.labels.tolist(), [0, *stops], stops, strict=False):
            yield label, self.starts[start:stop], self.ends[start:stop]

    def _region(self, starts: Int64Array, ends: Int64Array) -> Region:
        height = self.size[0]
        column, top = np.divmod(starts, height)
        x0, y0 = int(column[0]), int(top.min())
        shape = int((top + ends - starts).max()) - y0, int(column[-1]) + 1 - x0
        # Between two columns of the crop lie fewer pixels than between two of the image.
        first = starts - y0 - x0 * height - (column - x0) * (height - shape[0])
        return Region(self.size, x0, y0, Runs(shape, first, first + ends - starts))


def _turns(labels: LabelArray | IdArray) -> Iterator[Int64Array]:
    """The pixels that differ from those above them, by column."""
    height, width = labels.shape
    rows = max(1, LOOKED_AT // width)
    differs = np.empty((min(rows, height), width), np.bool_)
    for start in range(1, height, rows):
        below = labels[start : start + rows]
        changed = differs[: len(below)]
        np.not_equal(below, labels[start - 1 : start - 1 + len(below)], out=changed)
        row, column = np.divmod(np.flatnonzero(changed), width)
        yield column * height + row + start
