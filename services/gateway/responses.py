"""A service's answer in, an HTTP response out; and JSON that a caller may keep until its `ETag` changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from shared.calls import Answer
from shared.telemetry.stages import Stages, server_timing

JSON = "application/json"
JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


def respond(answer: Answer, stages: Stages) -> Response:
    """The response of a task: the service's body as it is, with the time of each stage, here and there."""
    timing = server_timing((*answer.timings, *stages.timings()))
    headers = {"Cache-Control": "no-store", "Server-Timing": timing, **dict(answer.headers)}
    return Response(answer.body, headers=headers, media_type=answer.media_type)


def fresh(content: Mapping[str, Any], status: int = 200, stages: Stages | None = None) -> Response:
    """JSON that must not be kept, with the time of each stage, if any. Times are written as RFC 3339, UTC."""
    body = orjson.dumps(content, option=JSON_OPTIONS)
    timing = {} if stages is None else {"Server-Timing": server_timing(stages.timings())}
    return Response(body, status, {"Cache-Control": "no-store", **timing}, JSON)


def tagged(request: Request, content: Mapping[str, Any] | Sequence[Any]) -> Response:
    """JSON with an `ETag`; 304 without a body when the caller's `If-None-Match` has it already."""
    body = orjson.dumps(content, option=JSON_OPTIONS)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, JSON)
