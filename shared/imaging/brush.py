"""Masks in, Label Studio's brush strokes out: run lengths of RGBA pixels, packed bit by bit.

The format is rle-pack's: how many values (32 bits), bits a value less one (5), bits of each of four kinds of run length
less one (4 each); then for each run a one, its kind (2), its length less one, and its value.
"""

from __future__ import annotations

import numpy as np

from shared.types import BoolArray, Int64Array, UInt8Array

CHANNELS = 4
"""Each pixel is the same value four times."""
_VALUE_BITS = 8
_LENGTH_BITS = np.array([3, 4, 8, 16])
_LONGEST = 2**16


def brush_rle(mask: BoolArray) -> UInt8Array:
    """The bytes of an HxW mask, 255 inside and 0 outside, row by row."""
    lengths, values = _runs(mask)
    kind = np.searchsorted(2**_LENGTH_BITS, lengths)
    bits = _LENGTH_BITS[kind]
    codes = ((4 + kind) << (bits + _VALUE_BITS)) | ((lengths - 1) << _VALUE_BITS) | values
    widths = 3 + bits + _VALUE_BITS
    rows = np.unpackbits((codes << (32 - widths)).astype(">u4").view(np.uint8)).reshape(-1, 32)
    runs = rows[np.arange(32) < widths[:, None]]
    return np.packbits(np.concatenate([_head(mask.size * CHANNELS), runs, np.zeros(1, np.uint8)]))


def _runs(mask: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Lengths and values of the runs of RGBA values, none longer than a length can say."""
    flat = mask.ravel()
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    lengths = np.diff(edges) * CHANNELS
    values = flat[edges[:-1]].astype(np.int64) * 255
    pieces = -(-lengths // _LONGEST)
    split = np.full(int(pieces.sum()), _LONGEST)
    split[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST
    return split, np.repeat(values, pieces)


def _head(count: int) -> UInt8Array:
    text = f"{count:032b}{_VALUE_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in _LENGTH_BITS)
    return np.array([*text], np.uint8)
