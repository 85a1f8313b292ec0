"""Messages of the click stream, as its callers send them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.schemas.options import SIMPLIFY, ModelName, Simplify
from shared.schemas.prompts import PromptFields
from shared.schemas.wire import ImageId, Request


class StreamFields(Request):
    """What a stream is asked for in its query."""

    model: ModelName | None = None


class OpenFields(Request):
    """Which stored image the next clicks are about."""

    image_id: ImageId


class ClickFields(Request):
    """Prompts on the open image."""

    prompts: list[PromptFields] = Field(min_length=1, fail_fast=True)
    format: Literal["rle", "polygon", "png"] = "rle"
    multimask: bool | None = None
    return_logits: bool = False
    simplify: Simplify = Field(default=0.0, description=SIMPLIFY)
