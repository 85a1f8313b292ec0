"""What a caller points at: one prompt as it comes over the wire, and logits as they travel both ways.

Coordinates are pixels of the upright image, x in [0, W], y in [0, H]. What needs more than one field, or the image
itself (as many labels as points, all of them inside, as many bytes as the shape says), the gateway checks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter

from shared.schemas.wire import Request

Point = Annotated[list[float], Field(min_length=2, max_length=2)]
PointList = Annotated[list[Point], Field(min_length=1, fail_fast=True)]
PointArray = NDArray[np.float64]
"""Nx2, xy."""
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
PointLabel = Annotated[int, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=1024)]

_POINT_LIST: TypeAdapter[PointList] = TypeAdapter(PointList, config=Request.model_config)


def _as_array(sent: Any) -> PointArray:
    """The points as one array. One that is an array already was read as pairs of finite numbers, one pair or more."""
    return sent if isinstance(sent, np.ndarray) else np.array(_POINT_LIST.validate_python(sent), dtype=np.float64)


def _as_list(points: PointArray) -> PointList:
    found: PointList = points.tolist()
    return found


Points = Annotated[PointArray, PlainValidator(_as_array, PointList), PlainSerializer(_as_list)]
"""Sent as a list of pairs, kept as an array."""


class LogitsFields(Request):
    """Low-resolution mask logits of an earlier answer: hxw float16, little-endian, row-major, as base64."""

    shape: Annotated[list[Side], Field(min_length=2, max_length=2)]
    dtype: Literal["float16"]
    data: str = Field(min_length=1)


class PromptFields(Request):
    """Points and/or a box and/or a mask, or a phrase where the model takes text."""

    points: Points | None = Field(default=None, description="`[[x, y], ...]`")
    labels: list[PointLabel] | None = Field(
        default=None, min_length=1, fail_fast=True, description="1 in, 0 out, one a point; default: all 1."
    )
    box: Box | None = Field(default=None, description="`[x0, y0, x1, y1]`, half-open.")
    mask: LogitsFields | None = Field(default=None, description="The `logits` object of an earlier answer.")
    text: str | None = Field(default=None, min_length=1, max_length=200)
