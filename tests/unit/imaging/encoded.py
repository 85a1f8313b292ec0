"""Pictures drawn by us, encoded in every way that callers send them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from shared.types import UInt8Array

LIMITS: dict[str, int] = {"max_pixels": 50_000_000, "max_side": 16_384}

STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How upright pixels are stored so that an EXIF orientation turns them upright again."""


def picture(height: int = 48, width: int = 64) -> UInt8Array:
    """Smooth in each channel and without any symmetry, so that every wrong turn shows."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    channels = [255 * x / width, 255 * y / height, 127 + 120 * np.sin(x / 9 + y / 5)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def encode(pixels: UInt8Array | Image.Image, image_format: str, orientation: int = 1, **options: Any) -> bytes:
    """Encode upright pixels, stored as the orientation says, with that orientation in EXIF."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    turn = STORED_AS[orientation]
    stored = image if turn is None else image.transpose(turn)
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    buffer = BytesIO()
    stored.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """A PNG by hand: `rows` are unfiltered rows without their filter bytes; `extra` chunks stand before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    stride = len(rows) // max(height, 1)
    filtered = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height)) if rows else b""
    chunks = ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(filtered)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def exif_block(orientation: int) -> bytes:
    """A bare EXIF block, big-endian, that says nothing but the orientation."""
    return b"MM\0\x2a\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def tiff(tags: dict[int, tuple[int, int]], data: bytes = b"", order: str = "<") -> bytes:
    """A TIFF by hand: tag -> (type 3 short or 4 long, value), the pixel data after the directory at offset `STRIP`."""
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value))
        for tag, (kind, value) in sorted(tags.items())
    )
    signature = b"II\x2a\0" if order == "<" else b"MM\0\x2a"
    head = signature + struct.pack(order + "IH", 8, len(tags)) + entries + struct.pack(order + "I", 0)
    return head.ljust(STRIP, b"\0") + data


STRIP = 512


def grey_tiff(pixels: bytes, width: int, height: int, bits: int, photometric: int = 1, **more: int) -> bytes:
    """An uncompressed grey TIFF of one strip. `more`: `tile_width`, `tile_height`."""
    tags = {
        256: (4, width), 257: (4, height), 258: (3, bits), 259: (3, more.get("compression", 1)), 262: (3, photometric),
        277: (3, 1),
    }  # fmt: skip
    if "tile_width" in more:
        tags |= {322: (4, more["tile_width"]), 323: (4, more["tile_height"]), 324: (4, STRIP), 325: (4, len(pixels))}
    else:
        tags |= {273: (4, STRIP), 278: (4, height), 279: (4, len(pixels))}
    return tiff(tags, pixels)
