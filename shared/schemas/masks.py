"""Masks as answers carry them: COCO RLE, polygons, and whole answers in COCO's and GeoJSON's own shapes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.schemas.wire import Fraction, Reply

PixelBox = Annotated[list[int], Field(min_length=4, max_length=4)]
"""`[x0, y0, x1, y1]` in pixels, half-open."""
Ring = Annotated[list[list[float]], Field(min_length=4)]
"""`[[x, y], ...]` in pixels, y down, the first point again at the end."""
Polygon = Annotated[list[Ring], Field(min_length=1)]
"""The outer ring, then the rings of its holes."""


class Rle(Reply):
    """COCO's compressed run-length encoding: column-major, runs start with zeros; pycocotools reads and writes it."""

    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    """`[H, W]`."""
    counts: str


class Logits(Reply):
    """Low-resolution mask logits, to be sent back as a prompt's `mask`: hxw float16, little-endian, as base64."""

    shape: Annotated[list[int], Field(min_length=2, max_length=2)]
    dtype: Literal["float16"]
    data: str


class CocoResult(Reply):
    """One entry of a COCO results list. `image_id` is 0: only the caller knows which image it was.

    For promptable: `prompt`, the number of the prompt that it answers, and `logits`, if asked for.
    """

    image_id: int
    category_id: int
    segmentation: Rle
    area: int
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)]
    score: float | None
    prompt: Annotated[int, Field(ge=0)] | None = None
    logits: Logits | None = None


class CocoSegment(Reply):
    """One entry of COCO panoptic's `segments_info`."""

    id: Annotated[int, Field(gt=0)]
    category_id: int
    area: int
    bbox: Annotated[list[int], Field(min_length=4, max_length=4)]
    iscrowd: Literal[0]
    isthing: Literal[0, 1]
    score: Fraction


class CocoPanoptic(Reply):
    """COCO's panoptic annotation of one image; `png` is its RGB picture, id = R + 256 G + 65536 B, as base64."""

    image_id: int
    file_name: str
    segments_info: list[CocoSegment]
    png: str


class GeoFeature(Reply):
    """One mask as GeoJSON."""

    type: Literal["Feature"]
    properties: dict[str, Any]
    geometry: dict[str, Any]


class FeatureCollection(Reply):
    """Masks as GeoJSON MultiPolygons: in the coordinates of a GeoTIFF, whose reference system `crs` then names where
    the file does; of any other image in pixels, y down."""

    type: Literal["FeatureCollection"]
    crs: dict[str, Any] | None = None
    features: list[GeoFeature]
