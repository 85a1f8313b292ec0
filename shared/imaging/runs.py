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

    def at(self, pixels: Int64Array) -> Int64Array:
        """The run that holds each of these pixels (Nx2: row, column), which are set."""
        return np.searchsorted(self.starts, pixels[:, 1] * self.stride + pixels[:, 0], "right") - 1

    def parts(self) -> Int64Array:
        """A number for each run, the same for those of one 4-connected part: that of the first of them."""
        # In the next column, what starts before this run ends and ends after it starts.
        first = np.searchsorted(self.ends, self.starts + self.stride, "right")
        counts = np.searchsorted(self.starts, self.ends + self.stride, "left") - first
        one = np.repeat(np.arange(len(counts)), counts)
        other = np.arange(len(one)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        part = np.arange(len(counts))
        # Each part that is still in pieces is left in half as many: every piece joins another, or another joins it.
        while (apart := part[one] != part[other]).any():
            one, other = one[apart], other[apart]
            np.minimum.at(part, np.maximum(part[one], part[other]), np.minimum(part[one], part[other]))
            while not np.array_equal(nearer := part[part], part):
                part = nearer
        return part


def vertices(spans: Spans) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Where pixels change from one row to the next on either side of a vertex of the grid: its x and y, by columns, and
    which of the four pixels around it are set (bit 0 above left, 1 above right, 2 below left, 3 below right)."""
    turns = spans.turns
    places = np.concatenate([turns, turns + spans.stride])
    order = np.argsort(places, kind="stable")  # merges the two, each ascending
    places, right = places[order], order < len(turns)
    first = np.ones(len(places), np.bool_)
    np.not_equal(places[1:], places[:-1], out=first[1:])
    # Inside a run an odd number of turns lies before: in each column they are even.
    rights = np.cumsum(right)
    lefts = np.arange(1, len(places) + 1) - rights
    above = (lefts - ~right) & 1 | ((rights - right) & 1) << 1
    below = (lefts & 1) << 2 | (rights & 1) << 3
    x, y = np.divmod(places[first], spans.stride)
    return x, y, above[first] | below[np.roll(first, -1)]
