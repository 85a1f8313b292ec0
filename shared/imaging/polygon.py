"""A region in, polygons with holes out, along the edges of its pixels: filling them again gives the mask back.

One polygon per 4-connected part. Corners are paired along rows and columns, which links them into rings without
following a contour pixel by pixel. Unlike contours through pixel centres, areas are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
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
    rings = list(_rings(spans))
    areas = [_shoelace(ring) for ring, _ in rings]
    parts = [0] * len(rings)
    if sum(area > 0 for area in areas) > 1:
        parts = spans.parts()[spans.at(np.array([pixel for _, pixel in rings]))].tolist()
    outer: dict[int, IntArray] = {}
    holes: defaultdict[int, list[IntArray]] = defaultdict(list)
    for (ring, _), area, part in zip(rings, areas, parts, strict=True):
        if area > 0:
            outer[part] = ring
        else:
            holes[part].append(ring)
    for part, ring in outer.items():
        yield ring, holes[part]


def _rings(spans: Spans) -> Iterator[tuple[IntArray, IntArray]]:
    """Rings around the set pixels, each with one pixel (row, column) that lies inside along it; the one with the first
    corner, row by row, first."""
    corners = _linked_corners(spans)
    turn, unseen = corners.along.tolist(), bytearray(b"\1") * len(corners.along)
    is_above = (corners.pixels[:, 0] < corners.places[:, 1]).tolist()
    start = unseen.find(1)
    while start >= 0:
        path, here = list[int](), start
        while unseen[here]:
            there = here ^ 1
            unseen[here] = unseen[there] = 0
            path += (here, there)
            here = turn[there]
        if is_above[start]:  # its edge goes to the right: outer rings shall sum up positive
            path.reverse()
        for piece in _simple_cycles(np.array(path), corners):
            yield corners.places[piece], corners.pixels[piece[0]]
        start = unseen.find(1, start)


@dataclass(frozen=True, slots=True)
class _Corners:
    """Corners of a mask's outline, row by row. The first and the second are the ends of a horizontal edge, and so are
    the third and the fourth ...

    At a vertex where two set pixels touch diagonally there are two corners, one for each pixel.
    """

    places: IntArray
    """Nx2, xy."""
    pixels: IntArray
    """Nx2: row and column of the set pixel that each belongs to."""
    along: IntArray
    """The corner at the other end of each one's vertical edge."""
    vertices: IntArray
    """A number for each one's vertex."""
    shared: NDArray[np.bool_]
    """Whether another corner has the same vertex."""


def _linked_corners(spans: Spans) -> _Corners:
    x, y, kinds = vertices(spans)
    vertex = np.repeat(np.arange(kinds.size), _KINDS[kinds])
    second = np.zeros(vertex.size, np.int64)
    second[1:] = vertex[1:] == vertex[:-1]
    x, y, kinds = x[vertex], y[vertex], kinds[vertex]
    quadrant = _QUADRANTS[kinds, second]
    shared = _KINDS[kinds] == 2
    owner = np.where(shared, quadrant, _OWNERS[kinds])
    # Here, by columns, each pair is a vertical edge. Of two corners at one vertex, the one whose edge goes up (left)
    # ends the edge that the other's begins after.
    order = np.argsort((y * (x.max(initial=0) + 1) + x) * 2 + quadrant % 2)
    by_rows = np.empty_like(order)
    by_rows[order] = np.arange(order.size)
    along = by_rows[order ^ 1]
    places, pixels = np.stack([x, y], axis=1), np.stack([y - 1 + owner // 2, x - 1 + owner % 2], axis=1)
    return _Corners(places[order], pixels[order], along, vertex[order], shared[order])


def _simple_cycles(path: IntArray, corners: _Corners) -> Iterator[IntArray]:
    """Cut a ring that touches itself at a vertex into rings that do not."""
    touched = corners.vertices[path[corners.shared[path]]].tolist()
    if len(set(touched)) == len(touched):
        yield path
        return
    place: dict[int, int] = {}
    kept: list[tuple[int, int]] = []
    for index, vertex in zip(path.tolist(), corners.vertices[path].tolist(), strict=True):
        if vertex in place:
            start = place[vertex]
            yield np.array([corner for corner, _ in kept[start:]])
            for _, gone in kept[start + 1 :]:
                place.pop(gone)
            del kept[start:]
        place[vertex] = len(kept)
        kept.append((index, vertex))
    yield np.array([corner for corner, _ in kept])


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
