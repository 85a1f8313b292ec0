"""A region in, what its vertical runs tell out: which of them hang together, and where its outline turns.

Work is in proportion to the runs, not to the pixels: a mask of 50 megapixels has some ten thousand.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shared.types import Int64Array, Region, Runs


def runs_of(region: Region) -> Runs:
    """The vertical runs of the region's crop."""
    if isinstance(region.held, Runs):
        return region.held
    rows, columns = region.shape
    if region.empty:
        return Runs((rows, columns), np.zeros(0, np.int64), np.zeros(0, np.int64))
    # A zero behind every column ends its runs.
    ended = np.zeros((columns, rows + 1), np.uint8)
    cv2.transpose(np.ascontiguousarray(region.held).view(np.uint8), ended[:, :rows])
    flat = ended.reshape(-1)
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        turns = np.concatenate([[0], turns])
    turns -= turns // (rows + 1)
    return Runs((rows, columns), turns[0::2], turns[1::2])


@dataclass(frozen=True, slots=True)
class Spans:
    """Runs by column: ascending `starts` and `ends`, each a column times `stride` and a row, so that the end of one
    column differs from the start of the next."""

    stride: int
    starts: Int64Array
    ends: Int64Array

    @classmethod
    def of(cls, runs: Runs) -> Spans:
        """The same runs."""
        rows, _ = runs.shape
        column = runs.starts // max(1, rows)
        return cls(rows + 1, runs.starts + column, runs.ends + column)

    @property
    def turns(self) -> Int64Array:
        """Starts and ends, ascending."""
        return np.stack([self.starts, self.ends], 1).reshape(-1)

    def at(self, row: int, column: int) -> int:
        """The run that holds this pixel, which is set."""
        return int(np.searchsorted(self.starts, column * self.stride + row, "right")) - 1

    def parts(self) -> Int64Array:
        """A number for each run, the same for those of one 4-connected part: that of one of them."""
        # In the next column, what starts before this run ends and ends after it starts.
        first = np.searchsorted(self.ends, self.starts + self.stride, "right")
        stop = np.searchsorted(self.starts, self.ends + self.stride, "left")
        parent = list(range(len(self.starts)))

        def root(run: int) -> int:
            while parent[run] != run:
                parent[run] = run = parent[parent[run]]
            return run

        for run, (low, high) in enumerate(zip(first.tolist(), stop.tolist(), strict=True)):
            for other in range(low, high):
                parent[root(other)] = root(run)
        return np.array([root(run) for run in range(len(parent))], dtype=np.int64)


def vertices(spans: Spans) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Where pixels change from one row to the next on either side of a vertex of the grid: its x and y, by rows, and
    which of the four pixels around it are set (bit 0 above left, 1 above right, 2 below left, 3 below right)."""
    turns = spans.turns
    places = np.unique(np.concatenate([turns, turns + spans.stride]))
    code = _sides(turns, places) << 1 | _sides(turns + spans.stride, places)
    x, y = np.divmod(places, spans.stride)
    order = np.lexsort((x, y))
    return x[order], y[order], code[order]


def _sides(turns: Int64Array, places: Int64Array) -> Int64Array:
    """Of the pixels above and below each place in one column: bit 0 and bit 2."""
    # Inside a run an odd number of turns lies before: in each column they are even.
    above = np.searchsorted(turns, places, "left") & 1
    below = np.searchsorted(turns, places, "right") & 1
    return (above | below << 2).astype(np.int64)
