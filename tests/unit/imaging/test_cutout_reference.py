"""Pictures of a subject made a stripe at a time equal those made in planes of the whole picture: cut-outs and other
backgrounds exactly, blur and dyes within one grey level, and nearly all of them exactly."""

from __future__ import annotations

import numpy as np
import pytest

from shared.imaging import stripes
from shared.imaging.cutout import Subject, blur, cutout, recolor, replace, subject_of
from shared.types import BoolArray, Region, UInt8Array
from tests.unit.imaging import whole_effects
from tests.unit.imaging.test_matting_reference import street

SIZES = [(1, 1), (1, 90), (90, 1), (2, 3), (61, 150), (240, 180), (407, 611)]


@pytest.fixture(params=[2**18, 2**11], ids=["stripes", "rows"], autouse=True)
def _stripes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripes, "STRIPE_BYTES", request.param)


def masks(size: tuple[int, int]) -> list[Region]:
    """A class of a street, all, nothing, a corner, noise."""
    _, labels = street(size)
    generator = np.random.default_rng(3)
    corner: BoolArray = np.zeros(size, np.bool_)
    corner[: size[0] // 2 + 1, size[1] // 3 :] = True
    everything: BoolArray = np.ones(size, np.bool_)
    noise: BoolArray = np.asarray(generator.random(size) < 0.3)
    return [Region.from_mask(mask) for mask in (labels == 3, everything, ~everything, corner, noise)]


def check(found: UInt8Array, expected: UInt8Array) -> None:
    apart = np.abs(found.astype(int) - expected)
    assert found.shape == expected.shape
    assert apart.max(initial=0) <= 1
    assert np.count_nonzero(apart) <= 1e-4 * apart.size + 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("matted", [False, True])
def test_cutouts(size: tuple[int, int], matted: bool) -> None:
    pixels, _ = street(size)
    for region in masks(size):
        subject = subject_of(pixels, region, matted=matted)
        for tight in (False, True):
            found = cutout(subject, tight=tight)
            np.testing.assert_array_equal(found, whole_effects.cutout(subject, tight=tight))


@pytest.mark.parametrize("size", SIZES)
def test_other_backgrounds(size: tuple[int, int]) -> None:
    pixels, _ = street(size)
    behind, _ = street((70, 130), seed=5)
    for region in masks(size):
        for feather in (0.0, 2.0, 30.0):
            subject = subject_of(pixels, region, matted=feather == 2, feather=feather)
            for background in ((1, 200, 90), behind, pixels[::2, ::2]):
                found = replace(subject, background)
                np.testing.assert_array_equal(found, whole_effects.replace(subject, background))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("strength", [0.0, 0.004, 0.025, 0.11, 0.5])
def test_portrait_blur(size: tuple[int, int], strength: float) -> None:
    pixels, _ = street(size)
    for region in masks(size):
        subject = subject_of(pixels, region, matted=False)
        check(blur(pixels, subject, strength), whole_effects.blur(pixels, subject, strength))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tint", [0.0, 0.7, 1.0])
def test_dyes(size: tuple[int, int], tint: float) -> None:
    pixels, _ = street(size)
    for region in masks(size):
        subject = subject_of(pixels, region, matted=False)
        for color in ((200, 30, 60), (0, 0, 0), (255, 255, 255)):
            check(recolor(pixels, subject, color, tint), whole_effects.recolor(pixels, subject, color, tint))


def test_alpha_a_rounding_error_above_one_shows_the_subject_alone() -> None:
    pixels, _ = street((60, 80))
    alpha = np.full((60, 80), np.nextafter(np.float32(1), np.float32(2)))
    subject = Subject((60, 80), 0, 0, alpha, pixels)
    np.testing.assert_array_equal(replace(subject, (9, 9, 9)), pixels)
    np.testing.assert_array_equal(cutout(subject), whole_effects.cutout(subject))
