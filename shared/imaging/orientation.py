"""Encoded bytes in, EXIF orientation 1 to 8 out; pixels and an orientation in, upright pixels out.

Read by ourselves because Pillow decodes a whole PNG, and a WebP canvas, before it gives their EXIF away.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from PIL import ImageFile

from shared.imaging.formats import ImageFormat
from shared.types import UInt8Array

_TAG = 0x0112
_SHORT = 3
_UPRIGHT = 1
_MAX_CHUNKS = 100_000


def read_orientation(image: ImageFile.ImageFile | None, image_format: ImageFormat, data: bytes) -> int:
    """How the stored pixels must be turned, as EXIF counts it: 1 upright ... 8; 1 where nothing valid is said.

    `image` is the opened file; PNG and WebP do not need it. For AVIF, Pillow tells the container's own rotation.
    """
    if image_format == "png":
        return parse_exif(_png_exif(data))
    if image_format == "webp":
        return parse_exif(_webp_exif(data))
    if image is None:
        return _UPRIGHT
    if image_format == "tiff":
        value = getattr(image, "tag_v2", {}).get(_TAG, _UPRIGHT)
        return value if isinstance(value, int) and 1 <= value <= 8 else _UPRIGHT
    exif = image.info.get("exif")
    return parse_exif(exif) if isinstance(exif, bytes) else _UPRIGHT


def parse_exif(exif: bytes) -> int:
    """The orientation in the first directory of an EXIF block (with or without its `Exif` prefix)."""
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order: dict[bytes, str] = {b"II": "little", b"MM": "big"}
    name = order.get(tiff[:2])
    if name is None or len(tiff) < 8:
        return _UPRIGHT
    little = name == "little"

    def number(start: int, length: int) -> int:
        return int.from_bytes(tiff[start : start + length], "little" if little else "big")

    directory = number(4, 4)
    for index in range(number(directory, 2)):
        entry = directory + 2 + 12 * index
        if entry + 12 > len(tiff):
            break
        if number(entry, 2) == _TAG and number(entry + 2, 2) == _SHORT:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else _UPRIGHT
    return _UPRIGHT


def _png_exif(data: bytes) -> bytes:
    """The eXIf chunk, which may stand before or after the pixels."""
    return next((data[start : start + length] for name, start, length in _png_chunks(data) if name == b"eXIf"), b"")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    position = 8
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if name == b"IEND":
            return  # what follows is no part of the image, however long it is
        yield name, position + 8, length
        position += 12 + length


def _webp_exif(data: bytes) -> bytes:
    return next((data[start : start + length] for name, start, length in riff_chunks(data) if name == b"EXIF"), b"")


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Of each chunk of a WebP its name, where its content starts, and how many bytes it says that has."""
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], position + 8, length
        position += 8 + length + length % 2


def upright(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """Turn HxWxC (or HxW) pixels stored with an EXIF orientation 1 to 8 upright; 5 to 8 swap height and width."""
    turned = cv2.transpose(pixels) if orientation in (5, 6, 7, 8) else pixels
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return np.ascontiguousarray(turned if flip is None else cv2.flip(turned, flip), dtype=np.uint8)
