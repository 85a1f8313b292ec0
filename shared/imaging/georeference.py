"""A GeoTIFF's header in, where its pixels lie on the map out (OGC 19-008r4, GeoTIFF 1.1, chapters 7 and B.6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.imaging.formats import open_image, sniff
from shared.imaging.polygon import Affine

_SCALE, _TIEPOINT, _TRANSFORMATION, _KEYS, _ORIENTATION = 33550, 33922, 34264, 34735, 274
_RASTER_TYPE, _GEODETIC, _PROJECTED = 1025, 2048, 3072
_POINT = 2
_USER_DEFINED = 32767


@dataclass(frozen=True, slots=True)
class Georeference:
    """`transform` makes map coordinates of pixels, as `polygon.geojson` takes it; `epsg` names the map's reference
    system, where the file does by number."""

    transform: Affine
    epsg: int | None = None


def georeference(data: bytes) -> Georeference | None:
    """Of an encoded image that the probe has taken; None for one that is not georeferenced, by three of its points
    alone, or not stored upright. Decodes no pixel."""
    if sniff(data) != "tiff":
        return None
    tags: Mapping[int, Any] = getattr(open_image(data, "tiff"), "tag_v2", {})
    keys = _keys(tags)
    transform = _transform(tags, keys.get(_RASTER_TYPE) == _POINT)
    if transform is None or tags.get(_ORIENTATION, 1) != 1:
        return None
    codes = [keys[name] for name in (_PROJECTED, _GEODETIC) if 0 < keys.get(name, 0) < _USER_DEFINED]
    return Georeference(transform, codes[0] if codes else None)


def _transform(tags: Mapping[int, Any], of_centres: bool) -> Affine | None:
    """`of_centres`: whether the file's whole numbers are the centres of pixels, not their corners."""
    matrix, scale, tie = (_numbers(tags, name) for name in (_TRANSFORMATION, _SCALE, _TIEPOINT))
    if len(matrix) == 16:
        a, b, _, c, d, e, _, f = matrix[:8]
    elif len(scale) == 3 and len(tie) >= 6:
        a, b, d, e = scale[0], 0.0, 0.0, -scale[1]
        c, f = tie[3] - tie[0] * a, tie[4] - tie[1] * e
    else:
        return None
    if of_centres:
        c, f = c - (a + b) / 2, f - (d + e) / 2
    transform = (a, b, c, d, e, f)
    return transform if all(map(math.isfinite, transform)) and a * e - b * d else None


def _keys(tags: Mapping[int, Any]) -> dict[int, int]:
    """The GeoKeys whose value stands in the directory itself: four numbers each, after four of its own."""
    directory = [number for number in _numbers(tags, _KEYS) if isinstance(number, int)]
    entries = [directory[start : start + 4] for start in range(4, len(directory) - 3, 4)]
    return {name: value for name, place, _, value in entries if place == 0}


def _numbers(tags: Mapping[int, Any], name: int) -> Sequence[float]:
    """The numbers of a tag; none where it is missing or is no numbers."""
    value = tags.get(name, ())
    if not isinstance(value, tuple) or not all(isinstance(each, int | float) for each in value):
        return ()
    return value
