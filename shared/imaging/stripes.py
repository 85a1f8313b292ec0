"""A picture in, its rows or tiles out a few at a time: what is made of so few pixels stays in the nearer caches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shared.types import UInt8Array

Place = tuple[slice, slice]
"""Rows and columns."""

STRIPE_BYTES = 2**18
"""Of the picture; what is made of it takes about as much again."""
TILE = 128
"""Pixels a side."""


def rows_at_once(picture: UInt8Array) -> int:
    """How many rows of an HxWxC picture are a stripe."""
    row_bytes: int = picture.shape[1] * picture.shape[2]
    return max(1, STRIPE_BYTES // max(1, row_bytes))


def stripes(picture: UInt8Array) -> Iterator[slice]:
    """Slices of rows that follow each other and make up an HxWxC picture."""
    height, rows = len(picture), rows_at_once(picture)
    for start in range(0, height, rows):
        yield slice(start, min(height, start + rows))


class Tile(NamedTuple):
    """Where a tile lies in its picture, where it and the pixels around it lie there, and where it lies in those."""

    place: Place
    around: Place
    core: Place


def tiles(size: tuple[int, int], margin: int) -> Iterator[Tile]:
    """Tiles that make up a picture of `size` (H, W), each with `margin` pixels around it, as far as there are any."""
    rows, columns = (list(_spans(length, margin)) for length in size)
    for tall in rows:
        for wide in columns:
            yield Tile(*((down, across) for down, across in zip(tall, wide, strict=True)))


def _spans(length: int, margin: int) -> Iterator[tuple[slice, slice, slice]]:
    for start in range(0, length, TILE):
        stop, low = min(length, start + TILE), max(0, start - margin)
        yield slice(start, stop), slice(low, min(length, stop + margin)), slice(start - low, stop - low)
