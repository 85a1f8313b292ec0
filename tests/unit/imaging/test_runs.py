"""Runs stand for pixels: the same mask either way, whatever is asked of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from shared.imaging.polygon import polygons
from shared.imaging.rle import encode
from shared.imaging.runs import Spans, runs_of
from shared.types import BoolArray, Region

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


def both(mask: BoolArray) -> tuple[Region, Region]:
    """The region of an image larger by a row and two columns, and the same held as runs."""
    size = (mask.shape[0] + 1, mask.shape[1] + 2)
    region = Region.from_mask(mask, x0=1, y0=1, size=size)
    return region, Region(size, region.x0, region.y0, runs_of(region))


@settings(deadline=None, max_examples=300)
@given(mask=MASKS)
def test_a_region_held_as_runs_is_the_same_region(mask: BoolArray) -> None:
    region, held = both(mask)
    assert (held.box, held.area, held.empty, held.shape) == (region.box, region.area, region.empty, region.shape)
    assert encode(held) == encode(region)
    assert polygons(held) == polygons(region)
    np.testing.assert_array_equal(held.bits, region.bits)
    np.testing.assert_array_equal(held.full(), region.full())
    assert held.bits is held.bits, "made once"


@settings(deadline=None, max_examples=200)
@given(mask=MASKS)
def test_runs_on_the_whole_image_meet_across_columns(mask: BoolArray) -> None:
    whole = Region.from_mask(mask)
    held = Region(whole.size, whole.x0, whole.y0, runs_of(whole))
    assert encode(held) == encode(whole)


@settings(deadline=None, max_examples=300)
@given(mask=MASKS)
def test_parts_are_those_of_opencv(mask: BoolArray) -> None:
    count, wanted = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    region = Region(mask.shape, 0, 0, mask)
    spans = Spans.of(runs_of(region))
    parts = spans.parts()
    assert len(set(parts.tolist())) == count - 1
    found = parts[spans.at(np.argwhere(mask))]
    assert len(set(zip(found.tolist(), wanted[mask].tolist(), strict=True))) == count - 1


@pytest.mark.parametrize("turned", [False, True])
def test_a_part_that_winds_is_one(turned: bool) -> None:
    snake = np.zeros((61, 40), np.bool_)
    snake[::2] = snake[1::4, -1] = snake[3::4, 0] = True
    spans = Spans.of(runs_of(Region.from_mask(snake.T.copy() if turned else snake)))
    assert set(spans.parts().tolist()) == {0}
