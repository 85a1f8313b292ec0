"""A picture in, its rows out a few at a time: what is made of so few pixels stays in the second-level cache."""

from __future__ import annotations

from collections.abc import Iterator

from shared.types import UInt8Array

STRIPE_BYTES = 2**18
"""Of the picture; what is made of it takes about as much again."""


def stripes(picture: UInt8Array) -> Iterator[slice]:
    """Slices of rows that follow each other and make up an HxWxC picture."""
    height, width, channels = picture.shape
    rows = max(1, STRIPE_BYTES // max(1, width * channels))
    for start in range(0, height, rows):
        yield slice(start, min(height, start + rows))
