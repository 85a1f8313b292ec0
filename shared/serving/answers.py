"""Masks in, bodies out: the fields that the answers of all services share, and masks in each text format."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.calls import Answer, Caller, Format, ModelInfo
from shared.errors import InvalidOption
from shared.imaging.georeference import Georeference, georeference
from shared.imaging.polygon import IDENTITY, geojson, polygons
from shared.imaging.rle import encode
from shared.types import Region

JSON = "application/json"
PNG = "image/png"
GEOJSON = "application/geo+json"
NPZ = "application/octet-stream"
MAX_MASK_PIXELS = 2**30
"""Most pixels that masks which must all be there at once may have together: a gibibyte."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mask of an answer: its fields without geometry, its region, and its number in COCO's results."""

    fields: dict[str, Any]
    region: Region
    category_id: int = 0
    score: float | None = None


def common_fields(info: ModelInfo, caller: Caller, size: tuple[int, int]) -> dict[str, Any]:
    """Model and image facts that every JSON answer begins with; `size` is (H, W)."""
    return {
        "model": info.name,
        "model_version": info.version,
        "weights_sha256": info.weights_sha256,
        "engine": info.engine,
        "label_space": info.label_space,
        "width": size[1],
        "height": size[0],
        "request_id": caller.request_id,
    }


def geometry(region: Region, form: Format, simplify: float) -> dict[str, Any]:
    """The mask as a field: `polygons` for the format polygon, nothing for the picture formats, else `rle`."""
    if form == "polygon":
        return {"polygons": polygons(region, simplify)}
    return {} if form == "png" else {"rle": encode(region)}


def listed(findings: Iterable[Finding], form: Format, simplify: float) -> list[dict[str, Any]]:
    """Findings as the list of `segments`, `instances` or `masks` of a JSON answer."""
    return [{**finding.fields, **geometry(finding.region, form, simplify)} for finding in findings]


def coco_results(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """A results list that pycocotools loads; `image_id` is 0: the caller knows which image it sent."""
    results = []
    for finding in findings:
        x0, y0, x1, y1 = finding.region.box
        results.append(
            {
                "image_id": 0,
                "category_id": finding.category_id,
                "segmentation": encode(finding.region),
                "area": finding.region.area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": finding.score,
            }
        )
    return results


def features(findings: Iterable[Finding], simplify: float, place: Georeference | None) -> list[dict[str, Any]]:
    """One GeoJSON feature a mask: on the map, or in pixels, y down, without a `place` there."""
    transform = IDENTITY if place is None else place.transform
    return [
        {"type": "Feature", "properties": finding.fields, "geometry": geojson(finding.region, simplify, transform)}
        for finding in findings
        if not finding.region.empty
    ]


def feature_collection(found: list[dict[str, Any]], place: Georeference | None) -> Answer:
    """GeoJSON of these features; `crs` as in GeoJSON of 2008, which GDAL and QGIS read."""
    named: dict[str, Any] = {}
    if place is not None and place.epsg is not None:
        named = {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{place.epsg}"}}}
    return json_answer({"type": "FeatureCollection", **named, "features": found}, GEOJSON)


def text_answer(
    common: dict[str, Any], name: str, findings: list[Finding], form: Format, simplify: float, image: bytes
) -> Answer | None:
    """The answer on an encoded image in a text format (rle, polygon, coco, geojson), the findings under `name`; None
    for other formats."""
    if form in ("rle", "polygon"):
        return json_answer({**common, name: listed(findings, form, simplify)})
    if form == "coco":
        return json_answer(coco_results(findings))
    if form == "geojson":
        place = georeference(image)
        return feature_collection(features(findings, simplify, place), place)
    return None


def json_answer(body: Mapping[str, Any] | list[dict[str, Any]], media_type: str = JSON) -> Answer:
    """A JSON answer; numpy numbers are written as numbers."""
    return Answer(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), media_type)


def picture_answer(data: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """A PNG answer."""
    return Answer(data, PNG, headers)


def stacked(size: tuple[int, int], regions: Sequence[Region]) -> dict[str, NDArray[Any]]:
    """`masks` NxHxW bool and `boxes` Nx4 int32 of an image of `size` (H, W), for `npz_answer`. Raises `InvalidOption`
    for more than `MAX_MASK_PIXELS`."""
    pixels = len(regions) * math.prod(size)
    if pixels > MAX_MASK_PIXELS:
        reason = "too many masks of this size for npz: ask for rle"
        raise InvalidOption.of("format", f"{pixels} pixels of masks", MAX_MASK_PIXELS, reason)
    masks = np.zeros((len(regions), *size), dtype=np.bool_)
    for mask, region in zip(masks, regions, strict=True):
        x0, y0, x1, y1 = region.box
        mask[y0:y1, x0:x1] = region.bits
    return {"masks": masks, "boxes": np.array([each.box for each in regions], dtype=np.int32).reshape(-1, 4)}


def npz_answer(**arrays: NDArray[Any]) -> Answer:
    """Arrays as numpy's compressed archive; nothing in it is pickled."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return Answer(buffer.getvalue(), NPZ, (("Content-Disposition", 'attachment; filename="masks.npz"'),))


def base64_text(data: bytes) -> str:
    """Bytes as base64 ASCII for a JSON field."""
    return base64.b64encode(data).decode("ascii")
