"""The drawn portrait: always the same, with hair that its mask has not; and the effects' picture is nearer to the truth
with matting than without."""

from __future__ import annotations

import numpy as np

from deploy.hair import before, scenery, sheet
from shared.imaging import cutout
from shared.imaging.sample_hair import portrait

SIDE = 160


def test_the_same_seed_is_the_same_portrait() -> None:
    one, same, other = portrait(SIDE, 1), portrait(SIDE, 1), portrait(SIDE, 2)
    assert np.array_equal(one.pixels, same.pixels)
    assert not np.array_equal(one.pixels, other.pixels)


def test_strands_lie_outside_of_the_mask() -> None:
    person = portrait(SIDE)
    outside = ~person.mask.full()
    assert (person.alpha[outside] > 0.3).sum() > 100
    assert person.alpha[person.mask.full()].mean() > 0.9
    assert ((person.alpha > 0.05) & (person.alpha < 0.95)).sum() > 500, "strands thinner than a pixel"


def test_the_effects_come_nearer_to_the_truth_than_the_mask() -> None:
    person = portrait(SIDE)
    behind = scenery(SIDE)
    truth = before(person, behind).astype(int)
    border = (person.alpha > 0.02) & (person.alpha < 0.98)
    errors = {
        matted: np.abs(cutout.replace(cutout.subject_of(person.pixels, person.mask, matted=matted), behind) - truth)
        for matted in (False, True)
    }
    assert errors[True][border].mean() < 0.5 * errors[False][border].mean()


def test_the_picture_has_two_rows_of_three() -> None:
    drawn = sheet(portrait(SIDE))
    assert drawn.shape[1] > 3 * SIDE
    assert drawn.shape[0] > 2 * SIDE
