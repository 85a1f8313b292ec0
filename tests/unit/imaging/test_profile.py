"""Colour profiles: what is not sRGB becomes sRGB, by matrices computed here; what is sRGB or broken changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from shared.imaging.decode import decode
from shared.types import UInt8Array
from tests.unit.imaging.encoded import LIMITS, encode, picture
from tests.unit.imaging.profiles import GAMMA, adobe_rgb, adobe_to_srgb, black_cyan_ink, grey

PICTURE = picture()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def through(data: bytes) -> UInt8Array:
    return decode(data, **LIMITS)


def worst(one: UInt8Array, other: object) -> float:
    return float(np.abs(one.astype(np.float64) - np.asarray(other, dtype=np.float64)).max())


@pytest.mark.parametrize("form", ["png", "tiff", "webp"])
def test_adobe_rgb_becomes_srgb(form: str) -> None:
    lossless = {"lossless": True} if form == "webp" else {}
    seen = through(encode(PICTURE, form, icc_profile=adobe_rgb(), **lossless))
    expected = adobe_to_srgb(PICTURE)
    assert worst(seen, expected) < 3
    assert worst(PICTURE, expected) > 20, "or the test shows nothing"


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_by_the_fast_decoder_too(orientation: int) -> None:
    plain = through(encode(PICTURE, "jpeg", orientation, quality=95))
    seen = through(encode(PICTURE, "jpeg", orientation, quality=95, icc_profile=adobe_rgb()))
    assert worst(seen, adobe_to_srgb(plain)) < 3


@pytest.mark.parametrize("profile", [SRGB, b"not a profile", adobe_rgb()[:200], grey(GAMMA), black_cyan_ink()])
def test_srgb_and_what_does_not_belong_to_the_pixels_changes_nothing(profile: bytes) -> None:
    np.testing.assert_array_equal(through(encode(PICTURE, "png", icc_profile=profile)), PICTURE)


def test_grey() -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    seen = through(encode(Image.fromarray(levels), "png", icc_profile=grey(1.0)))
    linear = levels[0] / 255
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert worst(seen[0, 8:], np.repeat(expected[8:, None], 3, axis=1)) < 4, "but for the darkest, coarse in 8 bits"


def test_grey_pixels_in_an_rgb_profile() -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    seen = through(encode(Image.fromarray(levels), "png", icc_profile=adobe_rgb()))
    assert worst(seen, adobe_to_srgb(np.repeat(levels[..., None], 3, axis=2))) < 4


def test_cmyk_by_its_own_inks() -> None:
    inks = np.zeros((2, 2, 4), np.uint8)
    inks[0, :, 0] = 255
    inks[:, 1, 1] = 255
    image = Image.fromarray(inks, "CMYK")
    assert through(encode(image, "tiff"))[0, 0].tolist() == [0, 255, 255]
    seen = through(encode(image, "tiff", icc_profile=black_cyan_ink()))
    assert seen[0].max() < 8
    assert seen[1].min() > 247


def test_cmyk_with_a_profile_for_rgb_is_converted_without() -> None:
    image = Image.fromarray(PICTURE).convert("CMYK")
    plain = through(encode(image, "tiff"))
    np.testing.assert_array_equal(through(encode(image, "tiff", icc_profile=adobe_rgb())), plain)
