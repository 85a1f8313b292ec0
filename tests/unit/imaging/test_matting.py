"""Mattes of drawn hair, whose true alpha is known: nearer to it than the mask's own edge, and without the background's
colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.imaging.cutout import subject_of
from shared.imaging.matting import matte
from shared.types import Float32Array, Region, UInt8Array

HAIR, WALL, GREEN = np.array([60, 40, 30]), np.array([205, 200, 190]), np.array([0, 255, 0])


def drawn_hair(seed: int, side: int = 240) -> tuple[Float32Array, UInt8Array, Region]:
    """True alpha of a disc with strands of half a pixel and more, the photo of it before a wall, and a rough mask as a
    decoder of a quarter of the resolution gives it."""
    generator = np.random.default_rng(seed)
    large = np.zeros((4 * side, 4 * side), np.uint8)
    centre = 2 * side
    cv2.circle(large, (centre, centre), int(1.1 * side), 255, -1)
    for angle in generator.uniform(0, 2 * np.pi, 420):
        start, stop = 1.05 * side, (1.1 + generator.uniform(0.02, 0.14)) * side
        bend = angle + generator.uniform(-0.06, 0.06)
        ends = [(int(centre + r * np.cos(a)), int(centre + r * np.sin(a))) for r, a in ((start, angle), (stop, bend))]
        cv2.line(large, ends[0], ends[1], 255, int(generator.integers(2, 6)), cv2.LINE_AA)
    coverage = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
    alpha = np.asarray(coverage / 255, dtype=np.float32)
    grain = generator.normal(0, 6, (side, side, 3))
    photo = alpha[..., None] * HAIR + (1 - alpha[..., None]) * WALL + grain
    low = cv2.resize(cv2.GaussianBlur(alpha, (0, 0), 3), (side // 4, side // 4), interpolation=cv2.INTER_AREA)
    mask = np.asarray(cv2.resize(low, (side, side), interpolation=cv2.INTER_LINEAR)) > 0.5
    return alpha, np.clip(photo, 0, 255).astype(np.uint8), Region.from_mask(mask)


def whole(region: Region, subject_alpha: Float32Array, place: tuple[slice, slice]) -> Float32Array:
    alpha = np.zeros(region.size, np.float32)
    alpha[place] = subject_alpha
    return alpha


@pytest.mark.parametrize("seed", range(3))
def test_hair_is_found_and_loses_the_walls_colour(seed: int) -> None:
    truth, photo, region = drawn_hair(seed)
    errors, leaks = {}, {}
    ideal = truth[..., None] * HAIR + (1 - truth[..., None]) * GREEN
    for matted in (False, True):
        subject = subject_of(photo, region, matted=matted)
        alpha = whole(region, subject.alpha, subject.place)
        border = (truth > 0.02) & (truth < 0.98)
        errors[matted] = float(np.abs(alpha - truth)[border].mean())
        shown = np.full((*region.size, 3), GREEN, np.float32)
        part = shown[subject.place]
        shown[subject.place] = part + (subject.colours - part) * subject.alpha[..., None]
        leaks[matted] = float(np.abs(shown - ideal)[border].mean())
    assert errors[True] < 0.32 * errors[False]
    assert leaks[True] < 0.6 * leaks[False]


def test_far_from_its_edge_the_mask_stands() -> None:
    truth, photo, region = drawn_hair(1)
    subject = subject_of(photo, region)
    alpha = whole(region, subject.alpha, subject.place)
    distance = cv2.distanceTransform(region.full().view(np.uint8), cv2.DIST_L2, 5)
    beyond = cv2.distanceTransform(1 - region.full().view(np.uint8), cv2.DIST_L2, 5)
    assert (alpha[distance > 12] == 1).all()
    assert (alpha[beyond > 12] == 0).all()
    assert truth.shape == alpha.shape


def test_without_a_difference_in_colour_the_masks_edge_stands() -> None:
    grey = np.random.default_rng(0).normal(128, 10, (120, 120, 3)).clip(0, 255).astype(np.uint8)
    mask = np.zeros((120, 120), np.bool_)
    mask[30:90, 30:90] = True
    alpha = matte(grey, mask, 6.0, 2.0)
    assert np.abs(alpha - mask)[32:88, 32:88].max() < 0.1
    assert np.abs(alpha - mask).mean() < 0.02
