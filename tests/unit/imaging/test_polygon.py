"""Polygons along pixel edges: exact areas, holes, and the mask again when they are filled."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra import numpy as hnp

from shared.imaging.polygon import Polygon, Ring, geojson, polygons
from shared.types import BoolArray, Region

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
SQUARE = np.ones((3, 3), bool)
RING = np.pad(np.zeros((1, 1), bool), 1, constant_values=True)
CHESS = np.indices((5, 5)).sum(axis=0) % 2 == 0
TOUCHING_HOLES = ~np.pad(np.eye(2, dtype=bool), 1)
PINCHED = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
CHAIN = ~np.pad(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool), 1)


def shoelace(ring: Ring) -> float:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring)) / 2


def filled(shapes: list[Polygon], size: tuple[int, int]) -> BoolArray:
    """Even-odd filling at pixel centres."""
    height, width = size
    inside = np.zeros(size, bool)
    centre = np.arange(width) + 0.5
    for ring in (ring for shape in shapes for ring in shape):
        for (x0, y0), (x1, y1) in pairwise(ring):
            if y0 == y1:
                continue
            top, bottom = sorted((y0, y1))
            for row in range(height):
                if top <= row + 0.5 < bottom:
                    inside[row] ^= centre > x0 + (x1 - x0) * (row + 0.5 - y0) / (y1 - y0)
    return inside


@settings(deadline=None, max_examples=400)
@given(mask=MASKS)
@example(SQUARE)
@example(RING)
@example(CHESS)
@example(TOUCHING_HOLES)
@example(PINCHED)
@example(CHAIN)
def test_filling_the_polygons_gives_the_mask_back(mask: BoolArray) -> None:
    region = Region.from_mask(mask)
    shapes = polygons(region)
    np.testing.assert_array_equal(filled(shapes, region.size), mask)
    assert sum(shoelace(ring) for shape in shapes for ring in shape) == region.area
    parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    assert len(shapes) == parts - 1


@settings(deadline=None, max_examples=400)
@given(mask=MASKS)
@example(CHESS)
@example(TOUCHING_HOLES)
@example(PINCHED)
@example(CHAIN)
def test_rings_are_closed_simple_and_turned_rightly(mask: BoolArray) -> None:
    for outer, *holes in polygons(Region.from_mask(mask)):
        assert shoelace(outer) > 0
        assert all(shoelace(hole) < 0 for hole in holes)
        for ring in (outer, *holes):
            assert ring[0] == ring[-1]
            corners = [tuple(point) for point in ring[:-1]]
            assert len(set(corners)) == len(corners), "a ring touches itself"
            directions = [x0 == x1 for (x0, _), (x1, _) in pairwise(ring)]
            assert all(one != other for one, other in pairwise(directions)), "a point is no corner"


@settings(deadline=None, max_examples=300)
@given(mask=MASKS)
@example(CHESS)
def test_polygons_come_row_by_row_and_with_their_own_holes(mask: BoolArray) -> None:
    shapes = polygons(Region.from_mask(mask))
    firsts = [min((y, x) for x, y in shape[0]) for shape in shapes]
    assert firsts == sorted(firsts)
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    for shape, (y, x) in zip(shapes, firsts, strict=True):
        assert np.array_equal(filled([shape], mask.shape), parts == parts[int(y), int(x)])


def test_a_frame_around_a_hole() -> None:
    shapes = polygons(Region((10, 10), 2, 5, RING))
    assert len(shapes) == 1
    outer, hole = shapes[0]
    assert {tuple(point) for point in outer} == {(2, 5), (5, 5), (5, 8), (2, 8)}
    assert {tuple(point) for point in hole} == {(3, 6), (4, 6), (4, 7), (3, 7)}
    assert all(isinstance(value, int) for ring in shapes[0] for point in ring for value in point)


def test_an_island_in_a_hole_is_its_own_polygon() -> None:
    mask = np.ones((7, 7), bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    assert sorted(len(shape) for shape in polygons(Region.from_mask(mask))) == [1, 2]


def test_nothing_gives_nothing() -> None:
    empty = Region.from_mask(np.zeros((4, 4), bool))
    assert polygons(empty) == []
    assert geojson(empty) == {"type": "MultiPolygon", "coordinates": []}


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_simplifying_keeps_the_shape(tolerance: float) -> None:
    y, x = np.mgrid[0:200, 0:300]
    mask = ((x - 150) ** 2 / 2 + (y - 100) ** 2 < 90**2) & ~((x - 150) ** 2 + (y - 100) ** 2 < 30**2)
    exact, fewer = (polygons(Region.from_mask(mask), value) for value in (0.0, tolerance))
    assert [len(shape) for shape in fewer] == [2]
    assert len(fewer[0][0]) < len(exact[0][0]) * (1.0 if tolerance < 1 else 0.33)
    overlap = filled(fewer, mask.shape)
    assert (overlap & mask).sum() / (overlap | mask).sum() > 1 - 0.02 * tolerance


def test_simplifying_drops_flat_holes_and_keeps_every_part() -> None:
    mask = np.ones((40, 40), bool)
    mask[10, 10] = False
    mask[:, 20:22] = False
    mask[5, 20] = False
    shapes = polygons(Region.from_mask(mask), simplify=4.0)
    assert len(shapes) == 2
    assert all(len(shape) == 1 for shape in shapes)
    dot = np.zeros((5, 5), bool)
    dot[2, 2] = True
    assert len(polygons(Region.from_mask(dot), simplify=4.0)[0][0]) == 5


def test_geojson_in_pixels_and_on_the_map() -> None:
    region = Region((10, 10), 2, 5, RING)
    plain = geojson(region)
    assert plain["coordinates"] == polygons(region)
    north_up = geojson(region, transform=(0.5, 0.0, 600_000.0, 0.0, -0.5, 5_000_000.0))
    outer, hole = north_up["coordinates"][0]
    assert shoelace(outer) == pytest.approx(9 * 0.25)
    assert shoelace(hole) == pytest.approx(-0.25)
    assert [600_001.0, 4_999_997.5] in outer
