"""Roboflow's calls about SAM 2 as they travel. Coordinates are pixels, boxes about their centre."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.schemas.doors import Guest
from shared.schemas.wire import Reply

Length = Annotated[float, Field(gt=0)]


class ImageFields(Guest):
    """An image: base64 text or a URL."""

    type: Literal["base64", "url"]
    value: Annotated[str, Field(min_length=1)]


class EmbedFields(Guest):
    """Body of `embed_image`."""

    image: ImageFields
    sam2_version_id: str | None = None


class CentreBox(Guest):
    """A box about its centre."""

    x: float
    y: float
    width: Length
    height: Length


class SamPoint(Guest):
    """A click on the object, or beside it."""

    x: float
    y: float
    positive: bool


class SamPrompt(Guest):
    """Points and/or a box."""

    box: CentreBox | None = None
    points: Annotated[list[SamPoint], Field(max_length=2**16, fail_fast=True)] | None = None


class PromptSet(Guest):
    """Prompts, each for a mask of its own."""

    prompts: Annotated[list[SamPrompt], Field(min_length=1, fail_fast=True)]


class SegmentFields(Guest):
    """Body of `segment_image`."""

    prompts: PromptSet
    image: ImageFields | None = None
    image_id: str | None = None
    format: Literal["json", "rle"] = "json"
    multimask_output: bool = True
    sam2_version_id: str | None = None
    mask_input: None = None
    use_mask_input_cache: Literal[False] | None = None


class EmbedAnswer(Reply):
    """`time` in seconds; `model`, which answered, is our own addition."""

    image_id: str
    time: float
    model: str


class SamPrediction(Reply):
    """`masks`: `[[[x, y], ...], ...]`, or COCO's run lengths."""

    masks: list[Any] | dict[str, Any]
    confidence: float
    format: str


class SegmentAnswer(Reply):
    """One prediction a prompt."""

    predictions: list[SamPrediction]
    time: float
    model: str
