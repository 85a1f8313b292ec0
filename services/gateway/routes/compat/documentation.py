"""What OpenAPI says of the doors: what each takes and gives, with examples, and errors in the door's own shape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.gateway.openapi import BINARY, DESCRIBED, REF, Kwargs, refusals
from shared.errors import SegServeError
from shared.schemas.doors import DoorError
from shared.schemas.wire import Request

DOOR_ERRORS = (400, 401, 404, 408, 413, 415, 422, 429, 503, 504)
READ_ERRORS = (401, 404)


def door(answer: Any, example: Any, body: Kwargs | None = None, errors: Iterable[int] = DOOR_ERRORS) -> Kwargs:
    """Arguments of a door's route, whose errors are `{"error": text}`. `body`: what it takes, from `json_of`."""
    content = {"application/json": {"example": example}}
    found: dict[int | str, Any] = {200: {"model": answer, "description": "OK", "content": content}}
    for status in errors:
        kinds = [kind for kind in SegServeError.__subclasses__() if kind.status == status]
        shown = {kind.code: {"value": {"error": kind.default_message}} for kind in kinds}
        text = " ".join(kind.default_message for kind in kinds)
        found[status] = {"model": DoorError, "description": text, "content": {"application/json": {"examples": shown}}}
    return {"responses": found, "openapi_extra": {} if body is None else {"requestBody": body}}


def native_errors(answer: Any, example: Any, body: Kwargs) -> Kwargs:
    """Arguments of a door's route whose errors are those of the native paths."""
    found = door(answer, example, body, ())
    return {**found, "responses": {**found["responses"], **refusals(DOOR_ERRORS)}}


def json_of(fields: type[Request], example: Any = None) -> Kwargs:
    """A body of JSON."""
    DESCRIBED.add(fields)
    content: Kwargs = {"schema": {"$ref": REF.format(model=fields.__name__)}}
    return {
        "required": True,
        "content": {"application/json": content if example is None else {**content, "example": example}},
    }


def image_or(fields: type[Request]) -> Kwargs:
    """A body that is the image itself, or JSON."""
    found = json_of(fields)
    found["content"] |= {kind: {"schema": BINARY} for kind in ("image/*", "application/octet-stream")}
    return found
