"""Masks that the automatic generator found -> the body of its answer, in every format it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.promptable.suppression import Box
from shared.calls import Answer, EverythingOptions
from shared.errors import InvalidOption
from shared.imaging import rle
from shared.imaging.compose import encode_picture, overlay_one_by_one
from shared.imaging.georeference import Georeference
from shared.serving.answers import (
    Finding,
    coco_results,
    feature_collection,
    features,
    geometry,
    json_answer,
    picture_answer,
)
from shared.serving.effects import EFFECTS, Decode, effect_answer
from shared.types import Region, UInt8Array

TEXTS = ("rle", "polygon", "coco", "geojson")
PICTURES = ("overlay", *EFFECTS)
"""Formats for which the image itself is needed; they are not streamed."""


@dataclass(frozen=True, slots=True)
class Found:
    """One mask, kept as runs. `number` tells it apart in one run; `point` is the click (x, y) that found it, in pixels
    of the image; `crop_area` the size of the crop in which it was found."""

    number: int
    runs: rle.Rle
    box: Box
    area: int
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_area: int

    @property
    def region(self) -> Region:
        """The mask itself."""
        return Region.from_mask(rle.decode(self.runs))


def check_format(options: EverythingOptions, live: bool) -> None:
    """Raises `InvalidOption` for a format that this answer does not have, or not as events."""
    offered = TEXTS if live else (*TEXTS, *PICTURES)
    if options.format not in offered:
        reason = "not offered as events" if options.format in PICTURES else "not offered for all masks of an image"
        raise InvalidOption.of("format", options.format, ", ".join(offered), reason)


def fields_of(found: Found, options: EverythingOptions) -> dict[str, Any]:
    """One entry of `masks`."""
    if options.format == "polygon":
        return {**_plain(found), **geometry(found.region, "polygon", options.simplify)}
    return {**_plain(found), "rle": found.runs}


def answer_of(
    common: Mapping[str, Any],
    found: Sequence[Found],
    options: EverythingOptions,
    pixels: UInt8Array | None,
    decode: Decode,
    place: Georeference | None = None,
) -> Answer:
    """The whole answer; `common` are its first fields, `pixels` the image for `PICTURES`, `place` where it lies on the
    map. One mask is held at once."""
    if options.format in ("rle", "polygon"):
        return json_answer({**common, "masks": [fields_of(each, options) for each in found]})
    if pixels is not None and options.format in EFFECTS:
        objects = ((f"{each.predicted_iou:.2f}", each.region) for each in found)
        return effect_answer(options.format, options.effect, pixels, objects, decode)
    if pixels is not None:
        largest_first = sorted(found, key=lambda each: -each.area)
        drawn = overlay_one_by_one(pixels, (each.region for each in largest_first))
        return picture_answer(encode_picture(drawn, "png"))
    if options.format == "coco":
        return json_answer(coco_results(_findings(found)))
    return feature_collection(features(_findings(found), options.simplify, place), place)


def _findings(found: Sequence[Found]) -> Iterator[Finding]:
    return (Finding(_plain(each), each.region, 1, each.predicted_iou) for each in found)


def _plain(found: Found) -> dict[str, Any]:
    """Everything but the geometry."""
    return {
        "predicted_iou": round(found.predicted_iou, 4),
        "stability_score": round(found.stability_score, 4),
        "area": found.area,
        "box": list(found.box),
        "point": [round(coordinate, 2) for coordinate in found.point],
    }
