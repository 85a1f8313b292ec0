"""What every wire type shares: requests are strict and refuse unknown fields; answers are plain records.

Strict means what it says: no text or boolean as a number, no NaN, no infinity. Numbers in query strings and forms are
read into numbers by the gateway before they come here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
"""A score, confidence or threshold, 0 to 1."""
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
"""Hexadecimal SHA-256; empty where there is nothing to hash."""
ImageId = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""The SHA-256 of the bytes as uploaded."""


class Request(BaseModel):
    """Fields that a caller may send."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Reply(BaseModel):
    """Fields of an answer. Answers may gain fields; they never lose or change one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
