"""What every door does: a foreign request's JSON in, one native call made of it, its answer out as values or masks.

A door's image passes the checks of every upload, its options those of the native call, and its errors the one boundary;
only how they are written differs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import OFF_LOOP_BYTES, Sent, check_encoding, read_bytes
from services.gateway.context import Gateway
from services.gateway.errors import sentence
from services.gateway.fields import check
from services.gateway.json_text import json_kind
from services.gateway.responses import JSON_OPTIONS
from services.gateway.scopes import arrival
from services.gateway.tasks import TaskKind
from services.gateway.uploads import taken_apart
from shared.calls import Caller
from shared.errors import BodyTooLarge, Malformed, SegServeError
from shared.imaging.rle import decode
from shared.schemas import wire
from shared.settings import Settings
from shared.telemetry.stages import Stages, server_timing
from shared.types import BoolArray

MAX_JSON_BYTES = 4 * 2**20
"""Most bytes of a door's JSON besides long texts, which are images: a million numbers, read in some 20 ms."""
MAX_JSON_LISTS = 2**18
"""Most lists and objects in it, as many as the rows and pixels of 480x360 as nested lists: read in some 30 ms."""
_LONG_TEXT = re.compile(rb'"[^"\\]{1024,}+"')

Fields = TypeVar("Fields", bound=wire.Request)
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request at a door: who asks, until when, and its stopwatch."""

    here: Gateway
    caller: Caller
    stages: Stages


def error_text(error: SegServeError, identifier: str) -> bytes:
    """`{"error": text}`, which is all that most of these clients read. The request's id is in its header."""
    return orjson.dumps({"error": sentence(error)})


async def json_fields(request: Request, settings: Settings, fields: type[Fields]) -> Fields:
    """A JSON body as checked fields. Raises `UnsupportedFormat`, `BodyTooLarge`, `Malformed` or `InvalidOption`."""
    check_encoding(request)
    return await checked(await read_bytes(request, settings.max_body_bytes), settings, fields)


async def checked(body: bytes | memoryview, settings: Settings, fields: type[Fields]) -> Fields:
    """What `json_fields` gives and raises, of a body that was read; a large one in a thread."""
    if len(body) < OFF_LOOP_BYTES:
        return _checked(body, settings, fields)
    return await asyncio.to_thread(_checked, body, settings, fields)


def _checked(body: bytes | memoryview, settings: Settings, fields: type[Fields]) -> Fields:
    limit = min(MAX_JSON_BYTES, settings.max_fields_bytes)
    size = len(body)
    if size > limit:
        size -= sum(match.end() - match.start() for match in _LONG_TEXT.finditer(body))
    if size > limit:
        raise BodyTooLarge.of("body", f"{size} bytes", limit, f"more than {limit} bytes of JSON besides the image")
    if len(body) > MAX_JSON_LISTS:
        text = bytes(body)
        lists = text.count(b"[") + text.count(b"{")
        if lists > MAX_JSON_LISTS:
            raise Malformed.of("body", f"{lists} lists and objects", MAX_JSON_LISTS, "the JSON has too many lists")
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed.of("body", reason=f"not valid JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(values, dict):
        raise Malformed.of("body", json_kind(values), "a JSON object", "the JSON body must be an object")
    return check(fields, values)


async def ask(request: Request, visit: Visit, kind: TaskKind, sent: Sent) -> dict[str, Any]:
    """The native JSON answer to this image and these options. Raises whatever the task's own path would."""
    here, stages = visit.here, visit.stages
    with stages.stage("receive"):
        upload = await taken_apart((), sent, here, kind.options, arrival(request.scope).deadline, stages)
        work = await kind.prepare(here, visit.caller, upload, "")
    with stages.stage("service"):
        answer = await work()
    if len(answer.body) < OFF_LOOP_BYTES:
        found = orjson.loads(answer.body)
    else:
        found = await asyncio.to_thread(orjson.loads, answer.body)
    return dict(found)


async def each_mask(rles: Iterable[Mapping[str, Any]], use: Callable[[BoolArray], Found]) -> list[Found]:
    """`use` of each mask, HxW bool, one after another in a thread: whose caller leaves is done for none after that."""
    return [await asyncio.to_thread(lambda each: use(decode(each)), rle) for rle in rles]


def answered(content: object, visit: Visit) -> Response:
    """JSON that must not be kept, with the time of each stage. Numpy arrays become lists."""
    body = orjson.dumps(content, option=JSON_OPTIONS | orjson.OPT_SERIALIZE_NUMPY)
    timing = server_timing(visit.stages.timings())
    return Response(body, headers={"Cache-Control": "no-store", "Server-Timing": timing}, media_type="application/json")
