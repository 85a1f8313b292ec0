"""A region in, polygons with holes out, along the edges of its pixels: filling them again gives the mask back.

One polygon per 4-connected part. Corners are paired along rows and columns, which links them into rings without
following a contour pixel by pixel. Unlike contours through pixel centres, areas are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.imaging.runs import Spans, runs_of, vertices
from shared.types import Region

Point = list[float]
Ring = list[Point]
Polygon = list[Ring]
Affine = tuple[float, float, float, float, float, float]
IntArray = NDArray[np.int64]

IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _corner_tables() -> tuple[IntArray, IntArray, IntArray]:
    """What the outline does at a vertex, by which of the four pixels around it are set (bit 0 above left, 1 above
    right, 2 below left, 3 below right).

    How many corners it has there; for each (two at most) the quadrant between its two edges; and the set pixel along
    the horizontal edge of a single corner.
    """
    kinds, owners = np.zeros(16, np.int64), np.zeros(16, np.int64)
    quadrants = np.zeros((16, 2), np.int64)
    for code in range(16):
        members = [pixel for pixel in range(4) if code >> pixel & 1]
        if len(members) == 1:
            kinds[code], quadrants[code], owners[code] = 1, members[0], members[0]
        elif len(members) == 3:
            missing = 6 - sum(members)
            kinds[code], quadrants[code], owners[code] = 1, missing, missing ^ 2
        elif members in ([0, 3], [1, 2]):
            kinds[code], quadrants[code] = 2, members
    return kinds, quadrants, owners


_KINDS, _QUADRANTS, _OWNERS = _corner_tables()


def polygons(region: Region, simplify: float = 0.0) -> list[Polygon]:
    """The region as polygons, each an outer ring followed by its holes.

    Rings are closed (the last point repeats the first), [x, y] in pixels of the image, y down, corners only. Outer
    rings have a positive shoelace sum, holes a negative one, so that all sums together are the area: exactly, when
    `simplify` is 0. `simplify` is the tolerance of Douglas and Peucker (1973) in pixels; a hole that it flattens is
    dropped, an outer ring that it flattens stays as it is.
    """
    offset = np.array([region.x0, region.y0])
    result: list[Polygon] = []
    for outer, holes in _parts(region):
        rings = [_simplified(outer, simplify, keep=True), *(_simplified(hole, simplify, keep=False) for hole in holes)]
        result.append([_closed(ring + offset) for ring in rings if ring is not None])
    return result


def geojson(region: Region, simplify: float = 0.0, transform: Affine = IDENTITY) -> dict[str, Any]:
    """The region as a GeoJSON MultiPolygon (RFC 7946: exterior rings counterclockwise in the coordinates' own axes).

    `transform` (a, b, c, d, e, f) makes x' = a x + b y + c and y' = d x + e y + f of pixels, as a GeoTIFF's does.
    """
    a, b, c, d, e, f = transform
    shapes = polygons(region, simplify)
    if transform != IDENTITY:
        shapes = [[[[a * x + b * y + c, d * x + e * y + f] for x, y in ring] for ring in shape] for shape in shapes]
        if a * e - b * d < 0:
            shapes = [[ring[::-1] for ring in shape] for shape in shapes]
    return {"type": "MultiPolygon", "coordinates": shapes}


def _parts(region: Region) -> Iterator[tuple[IntArray, list[IntArray]]]:
    """Outer ring and holes of every 4-connected part, as open rings of corners (Nx2, xy) in pixels of the crop; the
    part with the first pixel, row by row, first."""
    spans = Spans.of(runs_of(region))
    parts = spans.parts()
    outer: dict[int, IntArray] = {}
    holes: defaultdict[int, list[IntArray]] = defaultdict(list)
    for ring, (row, column) in _rings(spans):
        part = int(parts[spans.at(row, column)])
        if _shoelace(ring) > 0:
            outer[part] = ring
        else:
            holes[part].append(ring)
    for part, ring in outer.items():
        yield ring, holes[part]


def _rings(spans: Spans) -> Iterator[tuple[IntArray, tuple[int, int]]]:
    """Rings around the set pixels, each with one pixel (row, column) that lies inside along it; the one with the first
    corner, row by row, first."""
    corners, pixels, across, along = _linked_corners(spans)
    unseen = np.ones(len(corners), np.bool_)
    step, turn = across.tolist(), along.tolist()
    for start in range(len(corners)):
        if not unseen[start]:
            continue
        path, here = [], start
        while True:
            there = step[here]
            path += [here, there]
            here = turn[there]
            if here == start:
                break
        unseen[path] = False
        if _is_backwards(corners[path[0]], corners[path[1]], pixels[path[0]]):
            path.reverse()
        for piece in _simple_cycles(path, corners):
            row, column = pixels[piece[0]]
            yield corners[piece], (int(row), int(column))


def _linked_corners(spans: Spans) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Corners of the mask's outline: positions (xy), the set pixel (row, column) each belongs to, and for each the
    corner at the other end of its horizontal and of its vertical edge.

    At a vertex where two set pixels touch diagonally there are two corners, one for each pixel.
    """
    x, y, kinds = vertices(spans)
    double = np.repeat(np.arange(kinds.size), _KINDS[kinds])
    second = np.concatenate([[False], double[1:] == double[:-1]])
    y, x, kinds = y[double], x[double], kinds[double]
    quadrant = _QUADRANTS[kinds, second.astype(np.int64)]
    owner = np.where(_KINDS[kinds] == 1, _OWNERS[kinds], quadrant)
    corners = np.stack([x, y], axis=1)
    pixels = np.stack([y - 1 + owner // 2, x - 1 + owner % 2], axis=1)
    # Of two corners at one vertex, the one whose edge goes left (up) ends the edge that the other's begins after.
    left, up = quadrant % 2 == 0, quadrant // 2 == 0
    across = _paired(np.lexsort((~left, x, y)))
    along = _paired(np.lexsort((~up, y, x)))
    return corners, pixels, across, along


def _paired(order: IntArray) -> IntArray:
    """Neighbours in `order` belong together, two by two: for each element the other one of its pair."""
    other = np.empty_like(order)
    other[order[0::2]], other[order[1::2]] = order[1::2], order[0::2]
    return other


def _simple_cycles(path: list[int], corners: IntArray) -> Iterator[list[int]]:
    """Cut a ring that touches itself at a vertex into rings that do not."""
    keys = (corners[path, 1] * (1 << 32) + corners[path, 0]).tolist()
    if len(set(keys)) == len(keys):
        yield path
        return
    place: dict[int, int] = {}
    kept: list[int] = []
    for index, key in zip(path, keys, strict=True):
        if key in place:
            start = place[key]
            yield kept[start:]
            for gone in kept[start + 1 :]:
                place.pop(int(corners[gone, 1] * (1 << 32) + corners[gone, 0]))
            kept = [*kept[:start], index]
        else:
            place[key] = len(kept)
            kept.append(index)
    yield kept


def _is_backwards(start: IntArray, end: IntArray, pixel: IntArray) -> bool:
    """Whether the set pixel lies on the wrong side of a horizontal edge, for outer rings to sum up positive."""
    rightwards = bool(end[0] > start[0])
    below = bool(pixel[0] >= start[1])
    return rightwards != below


def _shoelace(ring: IntArray) -> int:
    x, y = ring[:, 0], ring[:, 1]
    return int(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]) + x[-1] * y[0] - x[0] * y[-1])


def _simplified(ring: IntArray, tolerance: float, *, keep: bool) -> IntArray | None:
    """The ring with fewer corners; None (or, with `keep`, itself) where nothing of it would be left."""
    if tolerance <= 0:
        return ring
    reduced = cv2.approxPolyDP(ring.astype(np.int32)[:, None], tolerance, closed=True)[:, 0].astype(np.int64)
    if len(reduced) < 3 or _shoelace(reduced) * _shoelace(ring) <= 0:
        return ring if keep else None
    return reduced


def _closed(ring: IntArray) -> Ring:
    points: Ring = ring.tolist()
    return [*points, list(points[0])]
