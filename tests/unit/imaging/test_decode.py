"""Whatever was stored comes out as the upright RGB pixels that a viewer would show."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from shared.errors import ImageTooLarge, Malformed, UnsupportedFormat
from shared.imaging import decode as decode_module
from shared.imaging.decode import MAX_SCANS, decode
from shared.imaging.formats import FORMATS
from shared.imaging.probe import probe
from shared.types import UInt8Array
from tests.unit.imaging.encoded import LIMITS, encode, exif_block, grey_tiff, picture, png
from tests.unit.imaging.profiles import adobe_rgb

PICTURE = picture()
LOSSLESS: dict[str, dict[str, Any]] = {"png": {}, "tiff": {}, "webp": {"lossless": True}}


def through(data: bytes) -> UInt8Array:
    pixels = decode(data, **LIMITS)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    header = probe(data, **LIMITS)
    assert pixels.shape == (header.height, header.width, 3)
    return pixels


def worst(one: UInt8Array, other: UInt8Array) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("image_format", LOSSLESS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_of_lossless_formats(image_format: str, orientation: int) -> None:
    data = encode(PICTURE, image_format, orientation, **LOSSLESS[image_format])
    np.testing.assert_array_equal(through(data), PICTURE)


def test_bmp() -> None:
    np.testing.assert_array_equal(through(encode(PICTURE, "bmp")), PICTURE)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_compressed_tiff(compression: str, orientation: int) -> None:
    np.testing.assert_array_equal(through(encode(PICTURE, "tiff", orientation, compression=compression)), PICTURE)


@pytest.mark.parametrize("image_format", ["jpeg", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_of_lossy_formats(image_format: str, orientation: int) -> None:
    data = encode(PICTURE, image_format, orientation, quality=95)
    assert worst(through(data), PICTURE) < 24


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_the_fast_path_equals_pillow(orientation: int, mode: str, progressive: bool, subsampling: int) -> None:
    noisy = np.random.default_rng(orientation).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    image = Image.fromarray(noisy).convert(mode)
    data = encode(image, "jpeg", orientation, progressive=progressive, subsampling=subsampling, quality=85)
    with Image.open(BytesIO(data)) as slow:
        expected = np.asarray(ImageOps.exif_transpose(slow).convert("RGB"))
    np.testing.assert_array_equal(through(data), expected)


@pytest.mark.parametrize("size", [(37, 53), (1, 1), (16, 33), (480, 641)], ids=str)
@pytest.mark.parametrize("quality", [5, 80, 100])
def test_a_lossy_webp_equals_pillow(size: tuple[int, int], quality: int) -> None:
    noisy = np.random.default_rng(quality).integers(0, 256, (*size, 3), dtype=np.uint8)
    data = encode(noisy, "webp", quality=quality)
    assert data[12:16] == b"VP8 "
    with Image.open(BytesIO(data)) as slow:
        np.testing.assert_array_equal(through(data), np.asarray(slow.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("more", [{}, {"xmp": b"<x/>"}, {"icc_profile": adobe_rgb()}], ids=["exif", "xmp", "profile"])
def test_a_lossy_webp_with_notes_is_pillows_pixels(
    orientation: int, more: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = np.random.default_rng(orientation).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    data = encode(noisy, "webp", orientation, quality=80, **more)
    assert data[12:16] == (b"VP8X" if more or orientation > 1 else b"VP8 ")
    quick = through(data)
    monkeypatch.setattr(decode_module, "_lossy_profile", lambda data: None)
    np.testing.assert_array_equal(quick, through(data))
    if "icc_profile" not in more:
        with Image.open(BytesIO(data)) as slow:
            np.testing.assert_array_equal(quick, np.asarray(ImageOps.exif_transpose(slow).convert("RGB")))


def test_only_a_webp_of_one_lossy_frame_is_opencvs() -> None:
    alpha = Image.fromarray(PICTURE).convert("RGBA")
    alpha.putalpha(99)
    frames: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(PICTURE[::-1])]}
    for data in (encode(alpha, "webp"), encode(PICTURE, "webp", **frames), encode(PICTURE, "webp", lossless=True)):
        assert decode_module._lossy_profile(data) is None
    noted = encode(PICTURE, "webp", 6, icc_profile=adobe_rgb())
    assert decode_module._lossy_profile(noted) == adobe_rgb()
    assert decode_module._lossy_profile(encode(PICTURE, "webp")) == b""
    for broken in (
        noted[:-2],
        noted + b"\0\0",
        noted[:20] + b"\0" + noted[21:],
        noted[:20] + b"\x3a" + noted[21:],
        b"",
    ):
        assert decode_module._lossy_profile(broken) is None


def test_a_broken_lossy_webp_with_notes_is_what_pillow_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    noisy = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noisy, "webp", 6, quality=60, icc_profile=adobe_rgb())
    whole = decode_module._lossy_profile
    found: list[list[bytes | None]] = [[], []]
    for turn in range(300):
        broken = bytearray(data)
        place = int(random.integers(12, 60 if turn % 2 else len(data)))
        broken[place] = int(random.integers(256))
        if turn % 3 == 0:
            del broken[place:]
        for answers, way in zip(found, (whole, lambda data: None), strict=True):
            monkeypatch.setattr(decode_module, "_lossy_profile", way)
            try:
                answers.append(decode(bytes(broken), **LIMITS).tobytes())
            except (Malformed, ImageTooLarge):
                answers.append(None)
    assert found[0] == found[1]
    assert 100 < found[0].count(None) < 250


def test_a_broken_lossy_webp_is_refused_where_pillow_refuses_it() -> None:
    random = np.random.default_rng(0)
    data = encode(random.integers(0, 256, (64, 64, 3), dtype=np.uint8), "webp", quality=60)
    refused = 0
    for turn in range(200):
        broken = bytearray(data)
        if turn % 2:
            broken = broken[: 2 * int(random.integers(30, len(data) // 2))]
            broken[4:8], broken[16:20] = ((len(broken) - less).to_bytes(4, "little") for less in (8, 20))
        else:
            broken[int(random.integers(20, len(data)))] = int(random.integers(256))
        try:
            with Image.open(BytesIO(broken)) as slow:
                expected = np.asarray(slow.convert("RGB"))
        except OSError:
            refused += 1
            with pytest.raises(Malformed):
                decode(bytes(broken), **LIMITS)
        else:
            np.testing.assert_array_equal(decode(bytes(broken), **LIMITS), expected)
    assert 50 < refused < 150


def test_gif_palette_and_animation() -> None:
    first = Image.fromarray(PICTURE).quantize(64)
    second = Image.new("P", first.size)
    data = encode(first, "gif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(through(data), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("image_format", ["png", "webp", "tiff"])
def test_alpha_lies_over_white(image_format: str) -> None:
    alpha = np.zeros((48, 64, 1), dtype=np.uint8)
    alpha[:, 20:40], alpha[:, 40:] = 255, 128
    rgba = Image.fromarray(np.concatenate([PICTURE, alpha], axis=2))
    options = {"lossless": True, "exact": True} if image_format == "webp" else {}
    got = through(encode(rgba, image_format, **options))
    share = alpha / 255
    expected = PICTURE * share + 255 * (1 - share)
    assert np.abs(got - expected).max() <= 1
    assert (got[:, :20] == 255).all()


def test_grey_with_alpha() -> None:
    image = Image.merge("LA", [Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 0)])
    assert (through(encode(image, "png")) == 255).all()


def test_palette_with_transparency() -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for transparency in (1, b"\xff\x00"):
        got = through(encode(image, "png", transparency=transparency))
        assert got[0, 0].tolist() == [10, 20, 30]
        assert got[0, 1].tolist() == [255, 255, 255]


def test_transparent_colour_of_rgb_and_grey() -> None:
    rgb = png(2, 1, 8, 2, bytes([9, 8, 7, 1, 2, 3]), ((b"tRNS", bytes([0, 9, 0, 8, 0, 7])),))
    assert through(rgb).tolist() == [[[255, 255, 255], [1, 2, 3]]]
    grey = png(2, 1, 8, 0, bytes([9, 8]), ((b"tRNS", bytes([0, 9])),))
    assert through(grey).tolist() == [[[255] * 3, [8] * 3]]


def test_one_bit() -> None:
    image = Image.new("1", (9, 2))
    image.putpixel((8, 1), 1)
    for image_format in ("png", "tiff", "bmp"):
        got = through(encode(image, image_format))
        assert got[1, 8].tolist() == [255] * 3
        assert got.sum() == 255 * 3


def test_sixteen_bit_grey_is_scaled() -> None:
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16)[None]
    for image_format in ("png", "tiff"):
        got = through(encode(Image.fromarray(ramp), image_format))
        np.testing.assert_array_equal(got[0, :, 0], np.arange(256))


def test_sixteen_bit_grey_with_a_transparent_value() -> None:
    rows = np.array([[1_000, 40_000]], dtype=">u2").tobytes()
    data = png(2, 1, 16, 0, rows, ((b"tRNS", (1_000).to_bytes(2, "big")),))
    assert through(data)[0, :, 0].tolist() == [255, 40_000 >> 8]


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_and_alpha_are_scaled(colour: int, channels: int) -> None:
    ramp = np.repeat(np.linspace(0, 65_535, 256).astype(">u2")[None, :, None], channels, axis=2)
    if channels != 3:
        ramp[..., -1] = 65_535
    got = through(png(256, 1, 16, colour, ramp.tobytes()))
    assert worst(got[0, :, 0], np.arange(256, dtype=np.uint8)) <= 0


def test_sixteen_bit_colour_with_a_transparent_colour_stays_opaque() -> None:
    rows = np.array([[[1_000, 2_000, 3_000]]], dtype=">u2").tobytes()
    data = png(1, 1, 16, 2, rows, ((b"tRNS", rows),))
    assert through(data).tolist() == [[[3, 7, 11]]]


def test_tiff_grey_where_white_is_zero_and_twelve_bits() -> None:
    samples = np.array([[0, 65_535]], dtype="<u2")
    assert through(grey_tiff(samples.tobytes(), 2, 1, 16, photometric=0))[0, :, 0].tolist() == [255, 0]
    twelve = bytes([0xFF, 0xF0, 0x00])
    assert through(grey_tiff(twelve, 2, 1, 12))[0, :, 0].tolist() == [255, 0]


def test_cmyk() -> None:
    cmyk = Image.fromarray(PICTURE).convert("CMYK")
    expected = np.asarray(cmyk.convert("RGB"))
    np.testing.assert_array_equal(through(encode(cmyk, "tiff")), expected)
    assert worst(through(encode(cmyk, "jpeg", quality=98)), expected) < 24


def test_lab_tiff() -> None:
    muted = PICTURE // 4 + 96
    lab = ImageCms.profileToProfile(
        Image.fromarray(muted), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert worst(through(encode(lab, "tiff")), muted) < 8


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_truncated_pixels_are_malformed(image_format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, image_format)
    with pytest.raises(Malformed) as caught:
        decode(data[: int(len(data) * share)], **LIMITS)
    assert caught.value.details[0].field == "image"


def test_decode_keeps_to_the_limits() -> None:
    with pytest.raises(ImageTooLarge):
        decode(png(40_000, 40_000, 8, 2, b""), **LIMITS)
    with pytest.raises(UnsupportedFormat):
        decode(b"no image", **LIMITS)


def test_a_progressive_jpeg_of_very_many_scans_is_refused() -> None:
    data = encode(PICTURE, "jpeg", progressive=True)
    start = data.rindex(b"\xff\xda")
    last = data[start:-2]
    with pytest.raises(Malformed, match="scans"):
        decode(data[:-2] + last * MAX_SCANS + b"\xff\xd9", **LIMITS)
    assert decode(data[:-2] + last * 3 + b"\xff\xd9", **LIMITS).shape == PICTURE.shape


def test_run_length_coded_bitmap() -> None:
    runs = bytes([4, 1, 0, 0, 2, 0, 2, 1, 0, 1])  # bottom row: four of colour 1; top row: two of 0, two of 1
    palette = bytes([0, 0, 0, 0, 10, 20, 30, 0])
    info = b"".join(
        value.to_bytes(size, "little")
        for value, size in [
            (40, 4),
            (4, 4),
            (2, 4),
            (1, 2),
            (8, 2),
            (1, 4),
            (len(runs), 4),
            (0, 4),
            (0, 4),
            (2, 4),
            (0, 4),
        ]
    )
    offset = 14 + len(info) + len(palette)
    head = b"BM" + (offset + len(runs)).to_bytes(4, "little") + bytes(4) + offset.to_bytes(4, "little")
    got = through(head + info + palette + runs)
    assert got[1].tolist() == [[30, 20, 10]] * 4
    assert got[0].tolist() == [[0, 0, 0]] * 2 + [[30, 20, 10]] * 2


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    data = encode(PICTURE, "jpeg")
    np.testing.assert_array_equal(through(data + b"\0" * 100 + b"trailer"), through(data))


def test_a_png_whose_exif_turns_it() -> None:
    stored = PICTURE[:, :, 0]
    data = png(64, 48, 8, 0, stored.tobytes(), ((b"eXIf", exif_block(6)),))
    np.testing.assert_array_equal(through(data)[:, :, 0], np.rot90(stored, -1))


def test_threads_do_not_disturb_each_other() -> None:
    encoded = [encode(np.roll(PICTURE, shift, axis=1), "png") for shift in range(16)]
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(through, encoded * 4))
    for index, pixels in enumerate(decoded):
        np.testing.assert_array_equal(pixels, np.roll(PICTURE, index % 16, axis=1))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    image_format=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=8),
)
def test_corrupt_images_raise_our_errors_only(image_format: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(encode(PICTURE, image_format))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        pixels = decode(bytes(data), **LIMITS)
    except (Malformed, UnsupportedFormat, ImageTooLarge):
        return
    assert pixels.ndim == 3
