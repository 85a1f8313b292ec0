"""Mattes found tile by tile near an edge equal those found everywhere at once: alpha and visible colours within one
grey level, and nearly all of them exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.imaging.cutout import subject_of
from shared.imaging.matting import foreground, matte, signed_distance
from shared.imaging.sample import street_scene
from shared.imaging.sample_hair import portrait
from shared.types import BoolArray, Float32Array, Region, UInt8Array
from tests.unit.imaging import whole_matting


def levels(alpha: Float32Array) -> Float32Array:
    return np.round(255 * alpha)


def check(pixels: UInt8Array, region: Region, *, matted: bool = True, feather: float = 2.0) -> None:
    """The same part of the image, the same levels of alpha, the same colours wherever they can be seen."""
    found = subject_of(pixels, region, matted=matted, feather=feather)
    expected = whole_matting.subject_of(pixels, region, matted=matted, feather=feather)
    assert found.place == expected.place
    apart = np.abs(levels(found.alpha) - levels(expected.alpha))
    seen = levels(expected.alpha) > 0
    colours = np.abs(found.colours.astype(int) - expected.colours)[seen]
    assert apart.max(initial=0) <= 1
    assert colours.max(initial=0) <= 1
    assert np.count_nonzero(apart) + np.count_nonzero(colours) <= 1e-4 * apart.size + 1


def street(size: tuple[int, int], seed: int = 0) -> tuple[UInt8Array, UInt8Array]:
    """A drawn street with grain and its labels."""
    height, width = size
    drawn, labels = street_scene(max(width, 64), max(height, 64), seed)
    grain = np.random.default_rng(seed).normal(0, 4, (height, width, 3))
    soft = cv2.GaussianBlur(drawn, (0, 0), 1.2)[:height, :width]
    return np.clip(soft + grain, 0, 255).astype(np.uint8), labels[:height, :width].copy()


@pytest.mark.parametrize("side", [97, 320, 700])
def test_hair(side: int) -> None:
    drawn = portrait(side)
    check(drawn.pixels, drawn.mask)
    check(np.ascontiguousarray(drawn.pixels[::-1, ::-1]), Region.from_mask(drawn.mask.full()[::-1, ::-1].copy()))


@pytest.mark.parametrize("size", [(180, 240), (511, 260), (301, 1003)])
@pytest.mark.parametrize("matted", [False, True])
@pytest.mark.parametrize("feather", [0.0, 2.0, 9.0, 40.0])
def test_classes_of_a_street(size: tuple[int, int], matted: bool, feather: float) -> None:
    pixels, labels = street(size)
    for index in (0, 1, 3, 8):
        check(pixels, Region.from_mask(np.asarray(labels == index)), matted=matted, feather=feather)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 7), (129, 3), (5, 257), (140, 131)])
@pytest.mark.parametrize("matted", [False, True])
def test_thin_pictures_and_noise(size: tuple[int, int], matted: bool) -> None:
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)
    half: BoolArray = np.zeros(size, np.bool_)
    half[: (size[0] + 1) // 2, : (size[1] + 1) // 2] = True
    everything: BoolArray = np.ones(size, np.bool_)
    many, few = (np.asarray(generator.random(size) < share) for share in (0.5, 0.02))
    for mask in (everything, half, many, few):
        check(pixels, Region.from_mask(mask), matted=matted)


@pytest.mark.parametrize("band", [0.2, 2.0, 17.0, 90.0])
def test_bands_of_any_width(band: float) -> None:
    pixels, labels = street((300, 420), seed=2)
    mask = np.asarray(labels == 1)
    found, expected = matte(pixels, mask, band, 2.0), whole_matting.matte(pixels, mask, band, 2.0)
    assert np.abs(levels(found) - levels(expected)).max() <= 1
    np.testing.assert_allclose(found, expected, atol=1e-4)
    apart = foreground(pixels, expected, band).astype(int) - whole_matting.foreground(pixels, expected, band)
    assert np.abs(apart).max() <= 1
    # On one core OpenCV leaves distances to IPP, whose last place depends on where the memory lies.
    np.testing.assert_allclose(signed_distance(mask), whole_matting.signed_distance(mask), rtol=1e-6)
