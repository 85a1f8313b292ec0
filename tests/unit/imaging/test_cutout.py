"""The subject stays as it is; what is behind it is gone, blurred or another."""

from __future__ import annotations

import numpy as np
import pytest

from shared.imaging.cutout import Subject, blur, cutout, recolor, replace, subject_of
from shared.types import Region, UInt8Array

SIZE = (120, 160)
Y, X = np.mgrid[0:120, 0:160]
DISTANCE = np.hypot(X - 80, Y - 60)
SUBJECT = Region.from_mask(DISTANCE <= 30)
CHECKS: UInt8Array = np.repeat((((X // 4 + Y // 4) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
EMPTY = Region.from_mask(np.zeros(SIZE, bool))


def plain(region: Region, feather: float = 2.0, pixels: UInt8Array = CHECKS) -> Subject:
    """The subject with the mask's own edge."""
    return subject_of(pixels, region, matted=False, feather=feather)


def whole_alpha(subject: Subject) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    alpha = np.zeros(subject.size, np.float32)
    alpha[subject.place] = subject.alpha
    return alpha


@pytest.mark.parametrize("feather", [0.0, 1.0, 2.0, 8.0])
def test_the_soft_edge_lies_on_the_masks_edge(feather: float) -> None:
    alpha = whole_alpha(plain(SUBJECT, feather))
    assert (alpha[29 - feather / 2 > DISTANCE] == 1).all()
    assert (alpha[32 + feather / 2 < DISTANCE] == 0).all()
    assert ((alpha > 0.5) == SUBJECT.full()).all()
    assert alpha.sum() == pytest.approx(SUBJECT.area, rel=0.02)


@pytest.mark.parametrize("matted", [False, True])
def test_masks_of_nothing_and_of_everything(matted: bool) -> None:
    assert subject_of(CHECKS, EMPTY, matted=matted).alpha.size == 0
    assert subject_of(CHECKS, Region.from_mask(np.ones(SIZE, bool)), matted=matted).alpha.min() == 1
    assert cutout(subject_of(CHECKS, EMPTY, matted=matted), tight=True).shape == (*SIZE, 4)
    for height, width in ((1, 1), (1, 9), (7, 2)):
        small = np.zeros((height, width, 3), np.uint8)
        mask = np.zeros((height, width), bool)
        mask[0, 0] = True
        assert cutout(subject_of(small, Region.from_mask(mask), matted=matted)).shape == (height, width, 4)


@pytest.mark.parametrize("matted", [False, True])
def test_a_cutout_holds_the_subject_and_nothing_of_the_background(matted: bool) -> None:
    subject = subject_of(CHECKS, SUBJECT, matted=matted)
    picture = cutout(subject)
    assert picture.shape == (*SIZE, 4)
    np.testing.assert_array_equal(picture[DISTANCE < 27][:, :3], CHECKS[DISTANCE < 27])
    assert (picture[DISTANCE < 27][:, 3] == 255).all()
    assert (picture[DISTANCE > 34] == 0).all()
    tight = cutout(subject, tight=True)
    assert 61 <= tight.shape[0] <= 66
    assert tight[..., 3].any(axis=1).all()
    assert tight[..., 3].sum() == picture[..., 3].sum()


def test_portrait_mode_blurs_the_background_only() -> None:
    picture = blur(CHECKS, plain(SUBJECT), strength=0.05)
    np.testing.assert_array_equal(picture[DISTANCE < 28], CHECKS[DISTANCE < 28])
    far = DISTANCE > 45
    assert picture[far].std() < 0.2 * CHECKS[far].std()


def test_the_subject_does_not_glow_into_the_background() -> None:
    black = np.zeros((*SIZE, 3), np.uint8)
    black[DISTANCE <= 30] = 255
    assert blur(black, plain(SUBJECT, pixels=black), strength=0.05)[DISTANCE > 33].max() <= 2


def test_another_background() -> None:
    picture = replace(plain(SUBJECT), (10, 200, 30))
    np.testing.assert_array_equal(picture[DISTANCE < 28], CHECKS[DISTANCE < 28])
    assert (picture[DISTANCE > 33] == (10, 200, 30)).all()
    assert (replace(plain(EMPTY), (1, 2, 3)) == (1, 2, 3)).all()


@pytest.mark.parametrize("shape", [(60, 300), (400, 100), (120, 160), (1, 1)])
def test_a_background_image_covers_the_picture(shape: tuple[int, int]) -> None:
    ramp = np.linspace(20, 220, shape[1]).astype(np.uint8)
    background = np.repeat(np.repeat(ramp[None, :, None], shape[0], axis=0), 3, axis=2)
    kept = background.copy()
    picture = replace(plain(SUBJECT, pixels=np.zeros_like(CHECKS)), background)
    assert picture.shape == CHECKS.shape
    behind = picture[0].astype(int)
    assert behind.min() >= 20
    assert (np.diff(behind[:, 0]) >= 0).all()
    np.testing.assert_array_equal(background, kept)


def test_a_dye_changes_hue_and_keeps_shading() -> None:
    shade = np.repeat((60 + X).astype(np.uint8)[..., None], 3, axis=2)
    dyed = recolor(shade, plain(SUBJECT, pixels=shade), (200, 30, 60), tint=1.0)
    np.testing.assert_array_equal(dyed[DISTANCE > 33], shade[DISTANCE > 33])
    inside = dyed[60, 55:106].astype(int)
    assert (inside[:, 0] > inside[:, 1] + 40).all()
    assert (np.diff(inside[:, 1]) >= 0).all(), "what was darker stays darker"
    half = recolor(shade, plain(SUBJECT, pixels=shade), (200, 30, 60), tint=0.5)[60, 80].astype(int)
    assert abs(half - (dyed[60, 80].astype(int) + shade[60, 80]) / 2).max() <= 1
    np.testing.assert_array_equal(recolor(shade, plain(EMPTY, pixels=shade), (1, 2, 3)), shade)
