"""Bytes in, the one Pillow decoder that may read them out: chosen by signature, opened without decoding a pixel.

Only these decoders ever see a caller's bytes; Pillow's own guessing over some forty formats is not used.
"""

from __future__ import annotations

from io import BytesIO
from typing import Literal

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import SUPPORTED as AVIF_SUPPORTED
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from shared.errors import ImageTooLarge, Malformed, UnsupportedFormat

ImageFormat = Literal["jpeg", "png", "webp", "bmp", "gif", "tiff", "avif"]

# Pillow would warn at a limit of its own; here every size is checked against the caller's limits instead.
Image.MAX_IMAGE_PIXELS = None

FIELD = "image"
"""The name of the field that every error of this package is about."""

_OPENERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
    "gif": GifImageFile,
    "tiff": TiffImageFile,
    **({"avif": AvifImageFile} if AVIF_SUPPORTED else {}),
}
FORMATS: tuple[ImageFormat, ...] = tuple(_OPENERS)
"""What this installation reads."""

_TIFF_SIGNATURES = (b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")
_NO_RANGE_MODES = ("I", "F")
_UNREAD_VARIANTS = ("pixel mode", "-bit layers", "Unsupported BMP")
"""Parts of the messages by which Pillow says that a sound file is of a variant it does not read."""


def sniff(data: bytes) -> ImageFormat:
    """The format by its signature. Raises `Malformed` when there is nothing, `UnsupportedFormat` for anything else."""
    if not data:
        raise Malformed.of(FIELD, limit="at least 1 byte", reason="The image is empty.")
    found: ImageFormat | None = None
    if data.startswith(b"\xff\xd8\xff"):
        found = "jpeg"
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        found = "png"
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        found = "webp"
    elif data.startswith((b"GIF87a", b"GIF89a")):
        found = "gif"
    elif data.startswith(_TIFF_SIGNATURES):
        found = "tiff"
    elif data.startswith(b"BM"):
        found = "bmp"
    elif data[4:8] == b"ftyp":
        found = _iso_media(data)
    if found not in _OPENERS:
        raise UnsupportedFormat.of(FIELD, limit=", ".join(FORMATS), reason="This is no image of a supported format.")
    return found


def _iso_media(data: bytes) -> ImageFormat | None:
    """AVIF and HEIC share a container; the brands in its first box tell them apart."""
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    brands = {box[:4], *(box[start : start + 4] for start in range(8, len(box), 4))}
    if box[:4] == b"avis":
        reason = "Animated AVIF is not read: send a still AVIF, JPEG, PNG or WebP."
        raise UnsupportedFormat.of(FIELD, "avis", ", ".join(FORMATS), reason)
    if b"avif" in brands:
        return "avif"
    if brands & set(_HEIF_BRANDS):
        raise UnsupportedFormat.of(FIELD, "heic", ", ".join(FORMATS), "HEIC is not read: send JPEG, PNG or WebP.")
    return None


def open_image(data: bytes, image_format: ImageFormat) -> ImageFile.ImageFile:
    """The image with its header read and its pixels not.

    Raises `Malformed` for a header that cannot be read, `UnsupportedFormat` for samples without an agreed range.
    """
    try:
        image = _OPENERS[image_format](BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:
        if image_format == "webp" and is_cut_short(data):
            raise cut_short(data) from error
        raise _header_error(image_format, error) from error
    if image.mode in _NO_RANGE_MODES:
        reason = "Samples of 32 bits, signed or floating, have no agreed range: send 8 or 16 bits, unsigned."
        raise UnsupportedFormat.of(FIELD, f"{image_format}, mode {image.mode}", "8 or 16 bits", reason)
    return image


def is_cut_short(data: bytes) -> bool:
    """Whether a WebP has fewer bytes than its container says (RIFF: the size stands behind the first four)."""
    return 8 + int.from_bytes(data[4:8], "little") > len(data)


def cut_short(data: bytes) -> Malformed:
    """The error for a WebP that is."""
    length = 8 + int.from_bytes(data[4:8], "little")
    return Malformed.of(FIELD, f"{len(data)} bytes", f"{length} bytes", "The WEBP is truncated.")


def _header_error(image_format: ImageFormat, error: Exception) -> Malformed | UnsupportedFormat:
    if any(part in str(error) for part in _UNREAD_VARIANTS):
        reason = f"This variant of {image_format.upper()} is not read: send 8 or 16 bits of grey, RGB or RGBA."
        return UnsupportedFormat.of(FIELD, image_format, "8 or 16 bits", reason)
    return Malformed.of(FIELD, image_format, reason=f"The {image_format.upper()} header is truncated or corrupt.")


def check_size(width: int, height: int, *, max_pixels: int, max_side: int) -> None:
    """Raise `Malformed` for an empty image, `ImageTooLarge` for one beyond the limits."""
    shown = f"{width}x{height}"
    if width < 1 or height < 1:
        raise Malformed.of(FIELD, shown, "1x1", "The image has no pixels.")
    if max(width, height) > max_side:
        raise ImageTooLarge.of(FIELD, shown, max_side, f"The image has a side above {max_side} pixels.")
    if width * height > max_pixels:
        raise ImageTooLarge.of(FIELD, shown, max_pixels, f"The image has more than {max_pixels} pixels.")
