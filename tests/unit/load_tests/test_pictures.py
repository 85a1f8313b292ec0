"""What is sent: pictures of the size that they claim."""

from __future__ import annotations

import pytest

from load_tests.pictures import drawn, of_megapixels, padded_jpeg
from shared.imaging.decode import decode


def shape(data: bytes) -> tuple[int, ...]:
    return decode(data, max_pixels=20_000_000, max_side=16_384).shape


@pytest.mark.parametrize("megapixels", [0.1, 1.0, 12.0])
def test_a_picture_has_about_the_megapixels_asked_for(megapixels: float) -> None:
    height, width, _ = shape(of_megapixels(megapixels))
    assert height * width == pytest.approx(megapixels * 1e6, rel=0.01)
    assert width / height == pytest.approx(4 / 3, rel=0.01)


@pytest.mark.parametrize("size", [5_000, 65_600, 100_000, 140_000])
def test_a_padded_jpeg_has_its_size_and_decodes(size: int) -> None:
    data = padded_jpeg(size, side=32)
    assert len(data) == pytest.approx(size, abs=4)
    assert shape(data) == (32, 32, 3)


def test_the_same_seed_is_the_same_picture_and_another_is_not() -> None:
    assert drawn(1, 64, 48, "JPEG") == drawn(1, 64, 48, "JPEG") != drawn(2, 64, 48, "JPEG")
