"""Encoded image in, its format and upright size out, from the header alone; what is too large is refused here."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageFile

from shared.errors import ImageTooLarge, Malformed
from shared.imaging.avif import coded_sizes
from shared.imaging.formats import FIELD, ImageFormat, check_size, cut_short, is_cut_short, open_image, sniff
from shared.imaging.jpeg import PLAIN_CHANNELS, PlainJpeg, read_plain
from shared.imaging.orientation import parse_exif, read_orientation

_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_CODED = 4
"""An AVIF may hold so many times its pixels: tiles and their grid, alpha, thumbnails."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """`width` and `height` in pixels after EXIF `orientation` (1 to 8) is applied."""

    format: ImageFormat
    width: int
    height: int
    orientation: int


def probe(data: bytes, *, max_pixels: int, max_side: int) -> ImageHeader:
    """Read the header of an encoded image; pixels are never decoded. Of animations and pages, the first is meant.

    Raises `Malformed` (empty, truncated header, no pixels), `UnsupportedFormat`, or `ImageTooLarge` for more than
    `max_pixels` pixels or a side above `max_side`; each names the field `image`.
    """
    image_format = sniff(data)
    plain = read_plain(data) if image_format == "jpeg" else None
    if plain is not None and plain.channels in PLAIN_CHANNELS:
        return _plain_header(plain, max_pixels, max_side)
    if image_format == "webp":
        image, (width, height) = None, _webp_size(data)
    else:
        image = open_image(data, image_format)
        width, height = image.size
    check_size(width, height, max_pixels=max_pixels, max_side=max_side)
    if image is not None and image_format == "tiff":
        _check_tiles(image, max_pixels)
    if image_format == "avif":
        _check_coded(data, max_pixels)
    orientation = read_orientation(image, image_format, data)
    # Pillow gives the size of a TIFF as it is after the orientation, of every other format as it is before.
    if orientation >= 5 and image_format != "tiff":
        width, height = height, width
    return ImageHeader(image_format, width, height, orientation)


def _plain_header(plain: PlainJpeg, max_pixels: int, max_side: int) -> ImageHeader:
    """Of an ordinary JPEG, as nearly every one is: a tenth of what it takes Pillow to open it."""
    check_size(plain.width, plain.height, max_pixels=max_pixels, max_side=max_side)
    orientation = parse_exif(plain.exif)
    width, height = (plain.height, plain.width) if orientation >= 5 else (plain.width, plain.height)
    return ImageHeader("jpeg", width, height, orientation)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas (WebP container specification); Pillow would allocate it twice to tell."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if is_cut_short(data):
        raise cut_short(data)
    raise Malformed.of(FIELD, "webp", reason="The WEBP header is corrupt.")


def _check_tiles(image: ImageFile.ImageFile, max_pixels: int) -> None:
    """A TIFF tile is decoded whole, however small the image it belongs to."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_HEIGHT, 1)
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        raise Malformed.of(FIELD, "tiff", reason="The TIFF header is truncated or corrupt.")
    if width * height > max_pixels:
        reason = f"The image has tiles of more than {max_pixels} pixels."
        raise ImageTooLarge.of(FIELD, f"{width}x{height}", max_pixels, reason)


def _check_coded(data: bytes, max_pixels: int) -> None:
    """The pictures in an AVIF are decoded whole, whatever size its header names."""
    try:
        sizes = coded_sizes(data)
    except ValueError as error:
        raise Malformed.of(FIELD, "avif", reason="The AVIF header is truncated, corrupt or an animation's.") from error
    pixels = sum(width * height for width, height in sizes)
    if max((width * height for width, height in sizes), default=0) > max_pixels or pixels > _CODED * max_pixels:
        reason = f"The image holds pictures of more than {max_pixels} pixels."
        raise ImageTooLarge.of(FIELD, f"{pixels} pixels", max_pixels, reason)
