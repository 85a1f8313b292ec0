"""Label maps, panoptic ids, masks and pictures in, PNG files out; ids back in.

Written by ourselves because label maps are not photos: with the row above subtracted (filter Up) almost every byte is
zero, so run-length deflate is all they need: many times as fast as Pillow and OpenCV at level 1, and smaller. Photos
have few runs: Huffman codes alone pack them about as small. zlib-ng makes neither larger than zlib does, in an eighth
of the time for labels and half of it for photos.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng as zlib

from shared.errors import Malformed
from shared.imaging.formats import FIELD, open_image
from shared.imaging.stripes import stripes
from shared.types import BoolArray, IdArray, Int32Array, LabelArray, UInt8Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, INDEXED, RGBA = 0, 2, 3, 6
_FILTER_UP = 2
_RUNS_FROM = 0.5
"""Share of filtered bytes that are zero, from which on it pays to look for runs."""
_ZLIB_HEADER = b"\x78\x01"
"""Deflate with a window of 32 KiB, the fastest level (RFC 1950)."""


def label_png(labels: LabelArray, palette: UInt8Array | None = None) -> bytes:
    """A PNG whose pixel value is the label id. HxW uint8 (void 255) with a 256x3 RGB palette becomes an indexed PNG,
    without one 8-bit grey; HxW uint16 (void 65535) becomes 16-bit grey."""
    if labels.dtype == np.uint16:
        return _png(labels.astype(">u2").view(np.uint8), labels.shape, 16, GREY)
    rows = np.asarray(labels, dtype=np.uint8)
    if palette is None:
        return _png(rows, labels.shape, 8, GREY)
    return _png(rows, labels.shape, 8, INDEXED, np.ascontiguousarray(palette, dtype=np.uint8).tobytes())


def panoptic_png(ids: IdArray) -> bytes:
    """COCO's panoptic PNG of an HxW map of ids from 0 (void) to 2^24 - 1: id = R + 256 G + 65536 B."""
    height, width = ids.shape
    planes = np.ascontiguousarray(ids, dtype="<i4").view(np.uint8).reshape(height, width, 4)
    rgb = np.asarray(cv2.cvtColor(planes, cv2.COLOR_RGBA2RGB), dtype=np.uint8)
    return _png(rgb.reshape(height, width * 3), (height, width), 8, RGB)


def mask_png(mask: BoolArray) -> bytes:
    """An 8-bit grey PNG, 0 outside and 255 inside an HxW mask."""
    return _png(np.where(mask, np.uint8(255), np.uint8(0)), mask.shape, 8, GREY)


def picture_png(pixels: UInt8Array) -> bytes:
    """A picture HxWx3 RGB or HxWx4 RGBA, 8 bits. Raises `ValueError` for any other shape."""
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or not pixels.size:
        raise ValueError(f"a picture of shape {pixels.shape} cannot be written as png")
    return _file(_packed(pixels), pixels.shape, 8, RGB if pixels.shape[2] == 3 else RGBA)


def read_label_png(data: bytes) -> LabelArray:
    """The ids of an indexed or grey PNG of 1 to 16 bits: HxW uint8, or uint16 for 16 bits. Raises `Malformed`."""
    values = _pixels(data, ("P", "L", "1", "I;16"))
    if values.dtype == np.uint16:
        return values.astype(np.uint16)
    return (values != 0).astype(np.uint8) if values.dtype == np.bool_ else values.astype(np.uint8)


def read_panoptic_png(data: bytes) -> Int32Array:
    """The ids of COCO's panoptic PNG, HxW int32. Raises `Malformed`."""
    rgb = _pixels(data, ("RGB",)).astype(np.int32)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def _png(rows: UInt8Array, shape: tuple[int, ...], depth: int, color: int, palette: bytes = b"") -> bytes:
    """`rows` holds each row's bytes, H x (bytes a row); `shape` is (H, W)."""
    filtered = np.empty((shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[:1, 1:] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    body = deflate.compress(filtered.data) + deflate.flush()
    return _file(body, shape, depth, color, palette)


def _packed(pixels: UInt8Array) -> bytes:
    """The zlib stream of a picture's filtered rows. Stripes are deflated one by one, each as suits it, and joined at
    whole bytes."""
    height, width, channels = pixels.shape
    parts, check = [_ZLIB_HEADER], 1
    above = np.zeros((1, width * channels), np.uint8)
    for rows in stripes(pixels):
        stripe = pixels[rows].reshape(-1, width * channels)
        filtered = np.empty((len(stripe), width * channels + 1), np.uint8)
        filtered[:, 0] = _FILTER_UP
        np.subtract(stripe[:1], above, out=filtered[:1, 1:])
        np.subtract(stripe[1:], stripe[:-1], out=filtered[1:, 1:])
        above = stripe[-1:]
        check = zlib.adler32(filtered.data, check)
        runs = cv2.countNonZero(filtered) <= (1 - _RUNS_FROM) * filtered.size
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_RLE if runs else zlib.Z_HUFFMAN_ONLY)
        parts.append(deflate.compress(filtered.data))
        parts.append(deflate.flush(zlib.Z_FINISH if rows.stop == height else zlib.Z_SYNC_FLUSH))
    return b"".join([*parts, struct.pack(">I", check)])


def _file(body: bytes, shape: tuple[int, ...], depth: int, color: int, palette: bytes = b"") -> bytes:
    """`body`: the zlib stream of a picture whose shape begins with (H, W)."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], depth, color, 0, 0, 0))]
    if palette:
        chunks.append((b"PLTE", palette))
    chunks += [(b"IDAT", body), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))


def _pixels(data: bytes, modes: tuple[str, ...]) -> NDArray[Any]:
    image = open_image(data, "png")
    if image.mode not in modes:
        raise Malformed.of(FIELD, image.mode, ", ".join(modes), "This PNG does not hold ids of this kind.")
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise Malformed.of(FIELD, "png", reason="The pixels of this PNG are truncated or corrupt.") from error
    return np.asarray(image)
