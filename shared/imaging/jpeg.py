"""A JPEG file in, what its headers promise out: whether a plain decoder may have it, and how many scans it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

_SIZED = frozenset([0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)])
"""DHT, DQT, DRI, COM and APPn: markers that every reader passes over by the length that follows."""
_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
"""Baseline, extended and progressive frames, Huffman coded."""
_SCAN, _END = 0xDA, b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """The one frame of an ordinary JPEG: stored width and height, channels, and where its first scan begins."""

    width: int
    height: int
    channels: int
    scans_at: int


def read_plain(data: bytes) -> PlainJpeg | None:
    """The frame, if the file is complete and nothing but well-formed segments come before its only frame and its scans:
    then every decoder sees the same size. None for all else."""
    frame: tuple[int, int, int] | None = None
    position = 2
    while data.endswith(_END) and position + 4 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if marker == _SCAN:
            return None if frame is None else PlainJpeg(*frame, position)
        if marker in _FRAMES and frame is None and len(body) >= 6:
            frame = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"), body[5]
        elif marker not in _SIZED or length < 2:
            return None
        position += 2 + length
    return None


def has_more_scans(data: bytes, start: int, limit: int) -> bool:
    """Whether there are more than `limit` scans from `start` to the end of the image. Within entropy-coded data these
    two bytes do not occur."""
    markers = islice(re.finditer(rb"\xff[\xda\xd9]", memoryview(data)[start:]), limit + 1)
    scans = 0
    for found in markers:
        if found.group() == _END:
            return False
        scans += 1
    return scans > limit
