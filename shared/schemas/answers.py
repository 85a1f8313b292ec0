"""Answers of the four tasks, as JSON in the formats `rle`, `polygon` and `png`.

Services write them as bytes, not through these types: these document them, and tests hold answers against them.

A mask's geometry is `rle`, or `polygons` with `format=polygon`; with `format=png` the answer has one `png` instead.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.schemas.masks import Logits, PixelBox, Polygon, Rle
from shared.schemas.wire import Fraction, ImageId, Reply, Sha256
from shared.types import Tier

Pixels = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1)]


class Common(Reply):
    """What every answer says of the model and the image: width and height in pixels, upright."""

    model: str
    model_version: str
    weights_sha256: Sha256
    engine: str
    label_space: str
    width: Side
    height: Side
    request_id: str


class Geometry(Reply):
    """A mask in the format asked for."""

    rle: Rle | None = None
    polygons: list[Polygon] | None = None


class SemanticSegment(Geometry):
    """One class that is present. `score` is its pixels' mean calibrated probability; in a large image that of evenly
    spaced pixels."""

    label: str
    label_id: Annotated[int, Field(ge=0)]
    score: Fraction
    area: Pixels


class SemanticAnswer(Common):
    """Every class present; void is absent. `png`: indexed label map, void 255."""

    task: Literal["semantic"]
    segments: list[SemanticSegment]
    png: str | None = None


class InstanceItem(Geometry):
    """One object. `box` is its mask's tight box, `detection_box` the detector's own where it has one."""

    label: str
    label_id: Annotated[int, Field(ge=0)]
    score: Fraction
    box: PixelBox
    detection_box: Annotated[list[float], Field(min_length=4, max_length=4)] | None
    area: Pixels


class InstanceAnswer(Common):
    """Objects, best score first. `png`: 16-bit map of their places in the list, 65535 where there is none."""

    task: Literal["instance"]
    instances: list[InstanceItem]
    png: str | None = None


class PanopticItem(Geometry):
    """One thing or stuff region."""

    id: Annotated[int, Field(gt=0)]
    label: str
    label_id: Annotated[int, Field(ge=0)]
    isthing: bool
    score: Fraction
    area: Pixels
    box: PixelBox


class PanopticAnswer(Common):
    """Disjoint segments. `png`: COCO's ids as RGB."""

    task: Literal["panoptic"]
    segments: list[PanopticItem]
    png: str | None = None


class PromptableMask(Geometry):
    """One candidate. `score` for text prompts; `logits` only if asked for; `png`: the mask as a picture."""

    predicted_iou: float
    stability_score: Fraction
    score: Fraction | None = None
    area: Pixels
    box: PixelBox
    png: str | None = None
    logits: Logits | None = None


class PromptResult(Reply):
    """The candidates of one prompt, best predicted IoU first."""

    masks: list[PromptableMask]


class EverythingMask(Geometry):
    """One mask of the automatic generator; `point` is the click that found it."""

    predicted_iou: float
    stability_score: Fraction
    area: Pixels
    box: PixelBox
    point: Annotated[list[float], Field(min_length=2, max_length=2)]


class EverythingAnswer(Common):
    """All masks of an image. `embedding` says where the image's embedding was found."""

    task: Literal["promptable"]
    image_id: ImageId
    embedding: Tier
    masks: list[EverythingMask]


class PromptableAnswer(Common):
    """One result a prompt, in order. `embedding` says where the image's embedding was found."""

    task: Literal["promptable"]
    image_id: ImageId
    embedding: Tier
    results: list[PromptResult]
