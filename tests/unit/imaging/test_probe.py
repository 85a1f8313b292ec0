"""The header says what the image is, and refuses what is too large, before any pixel is decoded."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import ImageTooLarge, Malformed, SegServeError, UnsupportedFormat
from shared.imaging.formats import FORMATS, ImageFormat
from shared.imaging.probe import ImageHeader, probe
from tests.unit.imaging.encoded import LIMITS, encode, exif_block, grey_tiff, picture, png


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_tells_its_size(image_format: ImageFormat) -> None:
    assert probe(encode(picture(48, 64), image_format), **LIMITS) == ImageHeader(image_format, 64, 48, 1)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_size_is_that_of_the_upright_image(image_format: str, orientation: int) -> None:
    header = probe(encode(picture(48, 64), image_format, orientation), **LIMITS)
    assert (header.width, header.height, header.orientation) == (64, 48, orientation)


def test_what_follows_the_end_of_a_png_is_not_read() -> None:
    whole = png(4, 2, 8, 0, bytes(8))
    assert probe(whole + encode(picture(2, 4), "png", 6)[8:], **LIMITS).orientation == 1
    padded = whole + bytes(30 << 20)
    begun = time.process_time()
    probe(padded, **LIMITS)
    assert time.process_time() - begun < 0.02


def test_exif_after_the_pixels_of_a_png_counts() -> None:
    whole = png(4, 2, 8, 0, bytes(8), ((b"eXIf", exif_block(6)),))
    start = whole.index(b"eXIf") - 4
    chunk, end = whole[start : start + 12 + 26], len(whole) - 12
    moved = whole[:start] + whole[start + len(chunk) : end] + chunk + whole[end:]
    assert probe(moved, **LIMITS) == probe(whole, **LIMITS) == ImageHeader("png", 2, 4, 6)


def test_lossless_and_extended_webp() -> None:
    alpha = Image.fromarray(picture(30, 50)).convert("RGBA")
    for data in (encode(alpha, "webp", lossless=True), encode(alpha, "webp"), encode(picture(30, 50), "webp")):
        header = probe(data, **LIMITS)
        assert (header.width, header.height) == (50, 30)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (b"\0", UnsupportedFormat),
        (b"hello, I am no image at all", UnsupportedFormat),
        (b"%PDF-1.7 ...", UnsupportedFormat),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedFormat),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", UnsupportedFormat),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41isom", UnsupportedFormat),
        (b"\xff\xd8\xff", Malformed),
        (b"\x89PNG\r\n\x1a\n", Malformed),
        (b"RIFF\0\0\0\0WEBPVP8 ", Malformed),
        (b"GIF89a\x01", Malformed),
        (b"BM123", Malformed),
        (b"II\x2a\0\x08\0\0\0", Malformed),
        (png(0, 10, 8, 2, b""), Malformed),
    ],
)
def test_what_is_no_readable_image(data: bytes, error: type[SegServeError]) -> None:
    with pytest.raises(error) as caught:
        probe(data, **LIMITS)
    assert caught.value.details[0].field == "image"
    assert caught.value.details[0].reason


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_truncated_header_is_malformed(image_format: str) -> None:
    with pytest.raises(Malformed) as caught:
        probe(encode(picture(), image_format)[:20], **LIMITS)
    assert image_format.upper() in caught.value.message


@pytest.mark.parametrize(
    ("width", "height", "limits", "limit"),
    [
        (40_000, 40_000, LIMITS, "16384"),
        (10_000, 6_000, LIMITS, "50000000"),
        (101, 10, {"max_pixels": 10_000, "max_side": 100}, "100"),
        (2_000_000_000, 2_000_000_000, LIMITS, "16384"),
    ],
)
def test_too_large_by_its_header(width: int, height: int, limits: dict[str, int], limit: str) -> None:
    with pytest.raises(ImageTooLarge) as caught:
        probe(png(width, height, 8, 2, b""), **limits)
    detail = caught.value.details[0]
    assert (detail.field, detail.value, detail.limit) == ("image", f"{width}x{height}", limit)


def test_limits_are_inclusive() -> None:
    assert probe(png(100, 100, 8, 0, bytes(10_000)), max_pixels=10_000, max_side=100).width == 100


def test_a_webp_canvas_is_refused_before_it_is_allocated() -> None:
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (16_382).to_bytes(3, "little") * 2
    with pytest.raises(ImageTooLarge):
        probe(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, **LIMITS)


def test_a_tiff_tile_larger_than_the_limit_is_refused() -> None:
    """Ten pixels in a tile of four thousand million: the tile is what would be allocated."""
    data = grey_tiff(bytes(16), 10, 10, 8, compression=8, tile_width=65_536, tile_height=65_536)
    with pytest.raises(ImageTooLarge, match="tiles"):
        probe(data, **LIMITS)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_without_a_range_are_refused(mode: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        probe(encode(Image.new(mode, (8, 8)), "tiff"), **LIMITS)
    assert caught.value.details[0].limit == "8 or 16 bits"


def test_an_unread_variant_is_told_apart_from_a_broken_file() -> None:
    with pytest.raises(UnsupportedFormat, match="variant"):
        probe(grey_tiff(bytes(300), 10, 10, 24), **LIMITS)


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_nothing_is_decoded(image_format: str) -> None:
    """Forty-eight million pixels would take a tenth of a second of processor time at the least."""
    data = encode(Image.new("RGB", (8_000, 6_000)), image_format)
    tracemalloc.start()
    began = time.thread_time()
    probe(data, **LIMITS)
    elapsed = time.thread_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert elapsed < 0.03
    assert peak < 200_000


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    image_format=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12),
    keep=st.integers(0, 5_000),
)
def test_corrupt_headers_raise_our_errors_only(image_format: str, changes: list[tuple[int, int]], keep: int) -> None:
    data = bytearray(encode(picture(), image_format))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        header = probe(bytes(data[:keep]), **LIMITS)
    except SegServeError as error:
        fields = {item.field for item in error.details}
    else:
        fields = {"image"} if header.width * header.height <= LIMITS["max_pixels"] else set()
    assert fields == {"image"}
