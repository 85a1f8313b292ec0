"""A JPEG file in, what its headers promise out: whether a plain decoder may have it, and how many scans it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

_SIZED = frozenset([0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)])
"""DHT, DQT, DRI, COM and APPn: markers that every reader passes over by the length that follows."""
_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
"""Baseline, extended and progressive frames, Huffman coded."""
_PROGRESSIVE, _APP1, _APP2, _SCAN = 0xC2, 0xE1, 0xE2, 0xDA
_END, _EXIF, _PROFILE = b"\xff\xd9", b"Exif\0\0", b"ICC_PROFILE\0"
_BITS = 8
_APPENDED = 2**22
"""The end of the image is looked for in so many last bytes: phones append their own notes, a depth map or a film, in
which these two bytes are bound to occur."""

PLAIN_CHANNELS = (1, 3)
"""Grey and colour, which OpenCV and Pillow decode to the same pixels; four are CMYK in one of its forms."""


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """The one frame of an ordinary JPEG of 8 bits: stored width and height, channels, and where its first scan begins;
    its EXIF block, empty where it has none, and whether it brings a colour profile."""

    width: int
    height: int
    channels: int
    scans_at: int
    progressive: bool = False
    exif: bytes = b""
    profiled: bool = False


def read_plain(data: bytes) -> PlainJpeg | None:
    """The frame, if nothing but well-formed segments come before its only frame and its scans, and an end after those,
    whatever follows: then every decoder sees the same size. None for all else, and where EXIF stands in several pieces.
    """
    frame: tuple[int, int, int] | None = None
    exif, profiled, progressive, position = b"", False, False, 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        body = position + 4
        if marker == _SCAN:
            if frame is None or data.rfind(_END, max(body, len(data) - _APPENDED)) < 0:
                return None
            return PlainJpeg(*frame, position, progressive, exif, profiled)
        if marker in _FRAMES and frame is None and length >= 8 and data[body] == _BITS:
            frame = _number(data, body + 3), _number(data, body + 1), data[body + 5]
            progressive = marker == _PROGRESSIVE
        elif marker not in _SIZED or length < 2:
            return None
        elif marker == _APP1 and data.startswith(_EXIF, body):
            if exif:
                return None
            exif = data[body : position + 2 + length]
        elif marker == _APP2 and data.startswith(_PROFILE, body):
            profiled = True
        position += 2 + length
    return None


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 2], "big")


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
