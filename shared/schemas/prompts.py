"""What a caller points at: one prompt as it comes over the wire, and logits as they travel both ways.

Coordinates are pixels of the upright image, x in [0, W], y in [0, H]. What needs more than one field, or the image
itself (as many labels as points, all of them inside, as many bytes as the shape says), the gateway checks.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.schemas.wire import Request

Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
PointLabel = Annotated[int, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=1024)]


class LogitsFields(Request):
    """Low-resolution mask logits of an earlier answer: hxw float16, little-endian, row-major, as base64."""

    shape: Annotated[list[Side], Field(min_length=2, max_length=2)]
    dtype: Literal["float16"]
    data: str = Field(min_length=1)


class PromptFields(Request):
    """Points and/or a box and/or a mask, or a phrase where the model takes text."""

    points: list[Point] | None = Field(default=None, min_length=1, fail_fast=True, description="`[[x, y], ...]`")
    labels: list[PointLabel] | None = Field(
        default=None, min_length=1, fail_fast=True, description="1 in, 0 out, one a point; default: all 1."
    )
    box: Box | None = Field(default=None, description="`[x0, y0, x1, y1]`, half-open.")
    mask: LogitsFields | None = Field(default=None, description="The `logits` object of an earlier answer.")
    text: str | None = Field(default=None, min_length=1, max_length=200)
