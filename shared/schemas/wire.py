"""What every wire type shares: requests are strict and refuse unknown fields; answers are plain records.

Strict means what it says: no text or boolean as a number, no NaN, no infinity. Numbers in query strings and forms are
read into numbers by the gateway before they come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
"""A score, confidence or threshold, 0 to 1."""
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
"""Hexadecimal SHA-256; empty where there is nothing to hash."""
IMAGE_ID, COLOR = r"^sha256:[0-9a-f]{64}$", r"^#[0-9A-Fa-f]{6}$"
ImageId = Annotated[str, Field(pattern=IMAGE_ID)]
"""The SHA-256 of the bytes as uploaded."""
Color = Annotated[str, Field(pattern=COLOR)]
PATTERNS: Mapping[str, str] = {IMAGE_ID: "sha256: and 64 digits 0-9a-f", COLOR: "#rrggbb, hexadecimal"}
"""What an error says in the place of a pattern."""


class Request(BaseModel):
    """Fields that a caller may send."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Reply(BaseModel):
    """Fields of an answer. Answers may gain fields; they never lose or change one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
