"""Of a JPEG much larger than what is seen of it a part of the pixels is decoded, and shows the same."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from shared.errors import ImageTooLarge, Malformed
from shared.imaging.decode import OVERSAMPLED, decode, decode_for, reduction
from shared.types import Photo, Sight
from tests.unit.imaging.encoded import LIMITS, encode, picture
from tests.unit.imaging.profiles import adobe_rgb, black_cyan_ink

HEIGHT, WIDTH = 720, 960
LARGE = picture(HEIGHT, WIDTH)
SEEN = (90, 120)


def at(seen: tuple[int, int]) -> Sight:
    return lambda size: seen


def through(data: bytes, seen: tuple[int, int] = SEEN) -> Photo:
    return decode_for(data, at(seen), **LIMITS)


def averaged(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return cv2.resize(pixels, SEEN[::-1], interpolation=cv2.INTER_AREA).astype(int)


@pytest.mark.parametrize(
    ("size", "seen", "factor"),
    [
        ((3000, 4000), (504, 672), 2),
        ((3000, 4000), (375, 500), 4),
        ((3000, 4000), (420, 560), 2),
        ((8000, 8000), (500, 500), 8),
        ((80_000, 80_000), (500, 500), 8),
        ((2000, 2000), (500, 500), 2),
        ((1850, 1850), (500, 500), 2),
        ((1848, 1850), (500, 500), 1),
        ((3024, 4032), (768, 1024), 2),
        ((3000, 4000), (800, 1067), 2),
        ((8000, 8003), (500, 500), 4),
        ((8000, 8004), (500, 500), 8),
        ((4001, 4001), (500, 500), 2),
        ((4002, 4003), (500, 500), 4),
        ((360, 480), (504, 672), 1),
        ((100, 4000), (50, 500), 1),
        ((1, 1), (480, 480), 1),
    ],
    ids=str,
)
def test_no_less_than_what_averaging_needs(size: tuple[int, int], seen: tuple[int, int], factor: int) -> None:
    assert reduction(size, seen) == factor
    assert factor == 1 or all(whole / factor >= OVERSAMPLED * part for whole, part in zip(size, seen, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_fewer_pixels_show_the_same(orientation: int, progressive: bool, mode: str) -> None:
    data = encode(Image.fromarray(LARGE).convert(mode), "jpeg", orientation, progressive=progressive, quality=92)
    photo = through(data)
    assert photo.size == (HEIGHT, WIDTH)
    assert photo.pixels.shape == (HEIGHT // 4, WIDTH // 4, 3)
    assert photo.pixels.flags.c_contiguous
    difference = np.abs(averaged(photo.pixels) - averaged(decode(data, **LIMITS)))
    assert difference.mean() < 1
    assert difference.max() < 12


@pytest.mark.parametrize("size", [(721, 963), (722, 961), (723, 962), (727, 1001)], ids=str)
def test_sides_that_cannot_be_divided_shift_nothing_by_much(size: tuple[int, int]) -> None:
    slope = picture(*size)
    slope[..., 2] = slope[..., 0] // 2 + slope[..., 1] // 2
    data = encode(slope, "jpeg", quality=95)
    photo = through(data)
    assert photo.size == size
    assert photo.pixels.shape[0] < size[0] / 1.9
    assert np.abs(averaged(photo.pixels) - averaged(decode(data, **LIMITS))).max() <= 2


def test_fine_detail_is_averaged_and_not_picked() -> None:
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, ::2] = 255
    photo = through(encode(stripes, "jpeg", quality=95, subsampling=0))
    assert np.abs(photo.pixels[:, :-1].astype(int) - 127).max() < 12


@pytest.mark.parametrize("profile", [None, adobe_rgb()], ids=["srgb", "adobe"])
def test_a_phones_notes_after_the_image_do_not_hinder(profile: bytes | None) -> None:
    data = encode(LARGE, "jpeg", 6, icc_profile=profile, quality=92)
    photo = through(data + b"\0\0\x01\x0bnotes" + bytes(300) + b"SEFT")
    assert photo.pixels.shape == (HEIGHT // 4, WIDTH // 4, 3)
    np.testing.assert_array_equal(photo.pixels, through(data).pixels)


def test_a_cut_image_with_notes_after_it_is_refused() -> None:
    data = encode(LARGE, "jpeg")
    with pytest.raises(Malformed, match="truncated or corrupt"):
        through(data[: len(data) // 2] + bytes(300) + b"SEFT")


def test_colour_profiles_are_applied_to_what_is_decoded() -> None:
    data = encode(LARGE, "jpeg", icc_profile=adobe_rgb(), quality=92)
    photo, plain = through(data), through(encode(LARGE, "jpeg", quality=92))
    assert photo.pixels.shape == plain.pixels.shape == (HEIGHT // 4, WIDTH // 4, 3)
    assert np.abs(averaged(photo.pixels) - averaged(decode(data, **LIMITS))).mean() < 1
    assert np.abs(averaged(photo.pixels) - averaged(plain.pixels)).mean() > 5


@pytest.mark.parametrize("image_format", ["png", "webp", "bmp", "tiff", "gif", "avif"])
def test_other_formats_are_decoded_whole(image_format: str) -> None:
    data = encode(LARGE, image_format)
    photo = through(data)
    assert photo.size == photo.pixels.shape[:2] == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(photo.pixels, decode(data, **LIMITS))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("profile", [None, black_cyan_ink()], ids=["plain", "inks"])
def test_fewer_pixels_of_cmyk_show_the_same(orientation: int, profile: bytes | None) -> None:
    """Pillow decodes these, and as much of them."""
    printed = Image.fromarray(LARGE).convert("CMYK")
    data = encode(printed, "jpeg", orientation, icc_profile=profile, quality=92)
    photo = through(data)
    assert photo.size == (HEIGHT, WIDTH)
    assert photo.pixels.shape == (HEIGHT // 4, WIDTH // 4, 3)
    difference = np.abs(averaged(photo.pixels) - averaged(decode(data, **LIMITS)))
    assert difference.mean() < 1
    assert difference.max() < 12


def test_a_cut_cmyk_image_is_refused_with_fewer_pixels_too() -> None:
    data = encode(Image.fromarray(LARGE).convert("CMYK"), "jpeg")
    with pytest.raises(Malformed, match="truncated or corrupt"):
        through(data[: len(data) // 2])


def test_what_is_seen_whole_is_decoded_whole() -> None:
    data = encode(LARGE, "jpeg")
    for sight in (lambda size: size, None):
        photo = decode_for(data, sight, **LIMITS)
        assert photo.size == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(photo.pixels, decode(data, **LIMITS))


def test_the_sight_is_asked_about_the_upright_image() -> None:
    asked: list[tuple[int, int]] = []

    def sight(size: tuple[int, int]) -> tuple[int, int]:
        asked.append(size)
        return SEEN

    decode_for(encode(LARGE, "jpeg", 6), sight, **LIMITS)
    assert asked == [(HEIGHT, WIDTH)]


def test_limits_and_faults_are_those_of_the_whole_image() -> None:
    data = encode(LARGE, "jpeg")
    with pytest.raises(ImageTooLarge):
        decode_for(data, at(SEEN), max_pixels=HEIGHT * WIDTH - 1, max_side=LIMITS["max_side"])
    with pytest.raises(Malformed, match="truncated or corrupt"):
        through(data[: len(data) // 2])
