"""Encoded image in, upright HxWx3 uint8 RGB pixels out, whatever was stored: the only place that decodes.

A colour profile that is not sRGB is applied (`profile`). Of a JPEG much larger than what is to be seen of it, fewer
pixels are decoded (`decode_for`).
"""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
from PIL import Image, ImageFile

from shared.errors import Malformed
from shared.imaging.formats import FIELD, open_image
from shared.imaging.jpeg import PLAIN_CHANNELS, PlainJpeg, has_more_scans, read_plain
from shared.imaging.orientation import riff_chunks, upright
from shared.imaging.probe import ImageHeader, probe
from shared.imaging.profile import cmyk_to_srgb, to_srgb
from shared.types import Photo, Sight, UInt8Array

MAX_SCANS = 100
"""Most scans of a progressive JPEG: encoders write about ten, each costs a pass over the whole image."""

OVERSAMPLED = 1.85
"""At least so many rows and columns are decoded for each that is seen: averaging takes the rest."""
MOST_SHIFTED = 0.25
"""What is seen may lie off by so much of a pixel at the far edge, where the last one decoded stands for fewer."""
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""What libjpeg divides both sides by, a cosine transform of fewer terms, and how OpenCV asks for it."""

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0
_RLE_BMP = (1, 2)
_WEBP_ORDINARY = {b"VP8X", b"ICCP", b"VP8 ", b"EXIF", b"XMP "}
_WEBP_PROFILED, _WEBP_SPECIAL = 0x20, 0x12
"""Flags of a profile, and of alpha or animation."""
_PROFILE = "icc_profile"
_CONVERTED_MODES = ("CMYK", "LAB")
_GREY_MODES = ("1", "L", "LA", "La")


def decode(data: bytes, *, max_pixels: int, max_side: int) -> UInt8Array:
    """Decode to HxWx3 uint8 RGB, upright (EXIF orientation applied), alpha composited over white.

    16-bit samples are scaled to 8 bits (the high byte); colours become sRGB where another kind of profile is embedded;
    of animations and pages the first is taken. Raises what `probe` raises, and `Malformed` when the pixels are cut off
    or corrupt. Thread-safe; libjpeg, zlib and the other codecs run without the interpreter's lock.
    """
    return _decoded(data, probe(data, max_pixels=max_pixels, max_side=max_side))


def decode_for(data: bytes, sight: Sight | None, *, max_pixels: int, max_side: int) -> Photo:
    """`decode` for a network that sees the image at the size that `sight` says: a JPEG of at least 3.7 times that size
    is decoded at a half, a quarter or an eighth of its own, never at less than 1.85 times what is seen. Without a
    `sight` all pixels are decoded.

    That takes a third to a half of the time and a quarter or less of the memory; after averaging to the size that is
    seen, grey levels differ by a quarter to a half on average. Raises what `decode` raises.
    """
    header = probe(data, max_pixels=max_pixels, max_side=max_side)
    size = header.height, header.width
    pixels = _decoded(data, header, 1 if sight is None else reduction(size, sight(size)))
    return Photo(pixels, size)


def reduction(size: tuple[int, int], seen: tuple[int, int]) -> int:
    """What both sides of an image of `size` (H, W) may be divided by where `seen` (h, w) is looked at: 1, 2, 4 or 8."""
    sides = list(zip(size, seen, strict=True))

    def fits(factor: int) -> bool:
        return all(
            OVERSAMPLED * part * factor <= whole and -whole % factor * part <= MOST_SHIFTED * whole
            for whole, part in sides
        )

    return max(filter(fits, _REDUCED), default=1)


def _decoded(data: bytes, header: ImageHeader, factor: int = 1) -> UInt8Array:
    try:
        pixels = _decode(data, header, factor)
    except (MemoryError, Malformed):
        raise
    except Exception as error:
        raise _corrupt(header) from error
    reduced = -(-header.height // factor), -(-header.width // factor), 3
    if pixels.shape not in ((header.height, header.width, 3), reduced):
        raise _corrupt(header)
    return pixels


def _corrupt(header: ImageHeader) -> Malformed:
    reason = f"The pixels of this {header.format.upper()} are truncated or corrupt."
    return Malformed.of(FIELD, f"{header.format} {header.width}x{header.height}", reason=reason)


def _decode(data: bytes, header: ImageHeader, factor: int) -> UInt8Array:
    plain = read_plain(data) if header.format == "jpeg" else None
    if plain is not None and plain.channels in PLAIN_CHANNELS and not plain.profiled:
        if plain.progressive:
            _check_scans(data, plain.scans_at + 2, header)
        stored = _by_opencv(data, factor)
        if stored is not None:
            return upright(stored, header.orientation)
    if header.format == "webp" and (profile := _lossy_profile(data)) is not None:
        stored = _by_opencv(data)
        if stored is not None:
            return upright(to_srgb(stored, profile) if profile else stored, header.orientation)
    image = open_image(data, header.format)
    if header.format == "jpeg" and image.info.get("progressive") and isinstance(image.fp, BytesIO):
        _check_scans(data, image.fp.tell(), header)
    if _is_for_opencv(image, plain, header):
        stored = _by_opencv(data, factor if plain is not None else 1)
        if stored is not None:
            return upright(_in_srgb(stored, image), header.orientation)
    # Pillow turns a TIFF upright while it loads it, and would also obey its XMP, which the header did not.
    image.info.pop("xmp", None)
    if header.format == "jpeg" and factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return upright(_in_srgb(_rgb(image), image), 1 if header.format == "tiff" else header.orientation)


def _in_srgb(pixels: UInt8Array, image: ImageFile.ImageFile) -> UInt8Array:
    """Pixels decoded from `image`, by the profile that it brings, if any and not applied already."""
    profile = None if image.mode in _CONVERTED_MODES else image.info.get(_PROFILE)
    return to_srgb(pixels, profile, grey=image.mode in _GREY_MODES) if profile else pixels


def _by_opencv(data: bytes, factor: int = 1) -> UInt8Array | None:
    """Pixels as they are stored, or of a JPEG those of a smaller copy; None where OpenCV cannot tell."""
    how = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[factor]
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    return None if stored is None else np.asarray(stored, dtype=np.uint8)


def _lossy_profile(data: bytes) -> bytes | None:
    """The colour profile, if any, of a WebP that is one lossy frame, perhaps with that profile, EXIF and XMP (RFC
    9649); None of every other: with alpha, of more frames, of other bytes than it says. Pillow would compose the frame
    on a canvas as an animation's, in three to four times as long."""
    if int.from_bytes(data[4:8], "little") != len(data) - 8:
        return None
    chunks = list(riff_chunks(data))
    names = [name for name, _, _ in chunks]
    end = sum(chunks[-1][1:]) if chunks else 0
    if names.count(b"VP8 ") != 1 or end + end % 2 != len(data):
        return None
    if names == [b"VP8 "]:
        return b""
    bodies = {name: data[start : start + length] for name, start, length in chunks}
    flags = bodies[names[0]][0] if names[0] == b"VP8X" and chunks[0][2] else _WEBP_SPECIAL
    if flags & _WEBP_SPECIAL or not set(names) <= _WEBP_ORDINARY or len(bodies) != len(names):
        return None
    profile = bodies.get(b"ICCP", b"")
    return profile if bool(flags & _WEBP_PROFILED) == bool(profile) else None


def _is_for_opencv(image: ImageFile.ImageFile, plain: PlainJpeg | None, header: ImageHeader) -> bool:
    """What OpenCV decodes to the same pixels as Pillow, faster: ordinary grey and colour JPEG (up to twice), and
    run-length coded bitmaps, which Pillow unpacks in Python. (simplejpeg gives these pixels too, some 5 % faster.)"""
    if header.format == "bmp":
        return image.info.get("compression") in _RLE_BMP
    return plain is not None and plain.channels in PLAIN_CHANNELS and (plain.width, plain.height) == image.size


def _check_scans(data: bytes, start: int, header: ImageHeader) -> None:
    """Refuse a progressive JPEG, whose first scan begins before `start`, of so many scans that decoding it would take
    minutes."""
    if has_more_scans(data, start, MAX_SCANS - 1):
        reason = f"This progressive JPEG has more than {MAX_SCANS} scans."
        raise Malformed.of(FIELD, f"{header.width}x{header.height}", MAX_SCANS, reason)


def _rgb(image: ImageFile.ImageFile) -> UInt8Array:
    if image.mode == "CMYK" and image.info.get(_PROFILE):
        converted = cmyk_to_srgb(image, image.info[_PROFILE])
        return np.asarray(image.convert("RGB") if converted is None else converted)
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode == "RGB" and isinstance(image.info.get("transparency"), tuple) and _has_16_bit_key(image):
        image.info.pop("transparency")
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    canvas = Image.new("RGB", rgba.size, (255, 255, 255))
    canvas.paste(rgba, mask=rgba.getchannel("A"))
    return np.asarray(canvas)


def _has_16_bit_key(image: ImageFile.ImageFile) -> bool:
    """A transparent colour given in 16 bits names one of 2^48 colours, which 8-bit pixels no longer tell apart."""
    return any(value > 255 for value in image.info["transparency"])


def _from_16_bits(image: ImageFile.ImageFile) -> UInt8Array:
    """Grey samples of 9 to 16 bits, scaled to 8; a transparent value becomes white, as alpha does."""
    tags = getattr(image, "tag_v2", {})
    samples = np.asarray(image)
    bits = int(tags.get(_BITS_PER_SAMPLE, (16,))[0])
    grey = (samples >> (bits - 8)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[samples == transparent] = 255
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
