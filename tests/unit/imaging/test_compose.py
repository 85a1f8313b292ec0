"""Pictures show the masks they were made from, and leave everything else as it is."""

from __future__ import annotations

from io import BytesIO
from itertools import combinations

import cv2
import numpy as np
import pytest
from PIL import Image

from shared.imaging.captions import Caption, innermost, write_captions
from shared.imaging.compose import borders, distinct, encode_picture, overlay_labels, overlay_regions
from shared.imaging.sample import street_scene
from shared.labels import label_space
from shared.types import BoolArray, Region, UInt8Array

PIXELS, LABELS = street_scene(240, 180, seed=1)
CAMVID = label_space("camvid")


def disc(x: int, y: int, radius: int, size: tuple[int, int] = (180, 240)) -> Region:
    mask: UInt8Array = np.zeros(size, np.uint8)
    cv2.circle(mask, (x, y), radius, 1, cv2.FILLED)
    return Region.from_mask(mask.view(np.bool_))


def test_classes_are_tinted_in_their_colours_and_void_is_not() -> None:
    labels = LABELS.copy()
    labels[:40] = 255
    drawn = overlay_labels(PIXELS, labels, CAMVID.palette())
    assert drawn.shape == PIXELS.shape
    np.testing.assert_array_equal(drawn[:38], PIXELS[:38])
    calm = ~borders(labels)
    calm[:40] = False
    expected = (PIXELS[calm].astype(float) + CAMVID.palette()[labels[calm]]) / 2
    assert np.abs(drawn[calm] - expected).max() <= 1


def test_sixteen_bit_labels() -> None:
    labels = LABELS.astype(np.uint16)
    labels[:40] = 65_535
    drawn = overlay_labels(PIXELS, labels, CAMVID.palette())
    np.testing.assert_array_equal(drawn[:38], PIXELS[:38])
    assert (drawn[60:] != PIXELS[60:]).any()


def test_classes_with_room_are_named() -> None:
    plain = overlay_labels(PIXELS, LABELS, CAMVID.palette())
    named = overlay_labels(PIXELS, LABELS, CAMVID.palette(), names=CAMVID.names)
    labels = LABELS.copy()
    road: BoolArray = np.asarray(labels == np.uint8(CAMVID.id_of("road")))
    x, y, _ = innermost(Region.from_mask(road))
    assert (named[y - 4 : y + 4, x - 10 : x + 10] != plain[y - 4 : y + 4, x - 10 : x + 10]).any()


def test_objects_are_painted_the_first_on_top() -> None:
    one, two, away = disc(80, 90, 30), disc(110, 90, 30), disc(200, 150, 10)
    red, blue = (255, 0, 0), (0, 0, 255)
    drawn = overlay_regions(PIXELS, [(one, ""), (two, ""), (away, "")], colors=[red, blue, blue], alpha=1.0)
    assert drawn[90, 95].tolist() == [255, 0, 0]
    assert drawn[90, 125].tolist() == [0, 0, 255]
    touched = cv2.dilate((one.full() | two.full() | away.full()).view(np.uint8), np.ones((5, 5), np.uint8)).view(bool)
    np.testing.assert_array_equal(drawn[~touched], PIXELS[~touched])


def test_an_overlay_leaves_the_picture_it_was_given_alone() -> None:
    before = PIXELS.copy()
    overlay_regions(PIXELS, [(disc(80, 90, 30), "car")])
    overlay_labels(PIXELS, LABELS, CAMVID.palette(), names=CAMVID.names)
    np.testing.assert_array_equal(PIXELS, before)


def test_empty_masks_and_captions_draw_nothing() -> None:
    empty = Region.from_mask(np.zeros((180, 240), bool))
    np.testing.assert_array_equal(overlay_regions(PIXELS, [(empty, "ghost")]), PIXELS)
    np.testing.assert_array_equal(overlay_regions(PIXELS, []), PIXELS)


def test_captions_stay_inside_and_make_room_for_each_other() -> None:
    picture: UInt8Array = np.zeros((180, 240, 3), np.uint8)
    regions = [disc(5, 5, 6), disc(9, 5, 6), disc(235, 175, 6)]
    colors = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    write_captions(picture, [Caption("a name", one, color) for one, color in zip(regions, colors, strict=True)])
    areas = [int((picture.argmax(axis=2) == channel)[picture.max(axis=2) > 180].sum()) for channel in range(3)]
    assert min(areas) > 0.7 * max(areas), "a plate covers another or is cut off"
    x, y, depth = innermost(disc(50, 60, 20))
    assert (x, y) == (50, 60)
    assert depth == pytest.approx(20.5, abs=1.0)
    tiny = np.zeros((6, 6, 3), np.uint8)
    write_captions(tiny, [Caption("longer than the picture", disc(3, 3, 2, (6, 6)), (200, 200, 200))])
    assert tiny.any()


def test_the_first_colours_are_far_apart() -> None:
    colors = [np.array(distinct(index), float) for index in range(12)]
    assert min(np.linalg.norm(one - other) for one, other in combinations(colors, 2)) > 40
    assert distinct(3) == distinct(3)
    assert all(0 <= channel <= 255 for index in range(500) for channel in distinct(index))


def test_pictures_as_files() -> None:
    data = encode_picture(PIXELS, "png")
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(data))), PIXELS)
    rgba = np.dstack([PIXELS, LABELS])
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(encode_picture(rgba)))), rgba)
    lossy = np.asarray(Image.open(BytesIO(encode_picture(rgba, "jpeg"))))
    assert np.abs(lossy.astype(float) - PIXELS).mean() < 8
