"""One WebSocket: an image, then clicks on it; masks come back. The newest click wins.

Text messages are JSON, binary ones an encoded image. While one click is answered the newest of those that came
meanwhile waits; older ones are out of date and are told `dropped`, so that hovering never falls behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.gateway.body import OFF_LOOP_BYTES
from services.gateway.context import Gateway
from services.gateway.errors import as_known, fields
from services.gateway.fields import check, shown
from services.gateway.json_text import json_kind, parse_json
from services.gateway.middleware import stopped
from services.gateway.prompts import limit_prompts, typed_aside
from services.gateway.subjects import Subject, kept, subject_of
from services.gateway.uploads import measure
from shared.calls import Caller, EmbedCall, PromptCall, PromptOptions
from shared.errors import (
    BodyTooLarge,
    ImageNotFound,
    ImageStoreUnavailable,
    InternalError,
    InvalidOption,
    Malformed,
    SegServeError,
)
from shared.protocols import PromptableService
from shared.schemas.clicks import ClickFields, OpenFields
from shared.serving.prompts import Bounds
from shared.telemetry.logs import bound

logger = logging.getLogger(__name__)

IDLE, TOO_BIG = 1001, 1009
"""WebSocket close codes (RFC 6455): nothing came for too long; a message was larger than is read."""


@dataclass(frozen=True, slots=True)
class _Opening:
    """The image that was asked for: sent, or named."""

    data: bytes | None
    image_id: str | None


@dataclass(frozen=True, slots=True)
class _Click:
    """One message with prompts; `id` is the caller's own and comes back."""

    id: Any
    values: dict[str, Any]


class ClickSession:
    """One connection. `run` ends when the caller leaves or is idle for too long."""

    def __init__(self, here: Gateway, socket: WebSocket, tenant: str, service: PromptableService) -> None:
        self._here, self._socket, self._tenant, self._service = here, socket, tenant, service
        self._opening: _Opening | None = None
        self._click: _Click | None = None
        self._subject: Subject | None = None
        self._news = asyncio.Event()
        self._request_id = uuid.uuid4().hex

    async def run(self) -> None:
        """Takes messages while a task of its own answers them."""
        worker = asyncio.create_task(self._answer())
        try:
            while not worker.done():
                async with asyncio.timeout(self._here.settings.stream_idle_s):
                    message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._take(message)
        except TimeoutError:
            await self._socket.close(IDLE, "nothing was sent for too long")
        except BodyTooLarge as error:
            await self._fail(None, error)
            await self._socket.close(TOO_BIG, "the message is too large")
        finally:
            await stopped(worker)

    async def _take(self, message: Any) -> None:
        """Note what a message asks for; what is out of date now is told so."""
        data, text = message.get("bytes"), message.get("text")
        settings = self._here.settings
        size = len(data) if data is not None else len((text or "").encode("utf-8"))
        limit = settings.max_fields_bytes if data is None else settings.max_body_bytes
        if size > limit:
            raise BodyTooLarge.of("message", f"{size} bytes", limit, f"a message of more than {limit} bytes")
        if data is not None:
            await self._open(_Opening(data, None))
            return
        identifier = None
        try:
            values = await _parsed(text or "")
            if not isinstance(values, dict):
                raise Malformed.of("message", json_kind(values), "a JSON object", "a message is a JSON object")
            identifier = _identifier(values.pop("id", None))
            if "image_id" in values:
                await self._open(_Opening(None, check(OpenFields, values).image_id))
            elif values == {"ping": True}:
                await self._send({"pong": True})
            else:
                await self._drop()
                self._click = _Click(identifier, values)
                self._news.set()
        except SegServeError as error:
            await self._fail(identifier, error)

    async def _open(self, opening: _Opening) -> None:
        await self._drop()
        self._opening = opening
        self._news.set()

    async def _drop(self) -> None:
        dropped, self._click = self._click, None
        if dropped is not None:
            self._here.sink.count("segserve_stream_clicks_total", outcome="dropped")
            await self._send({"id": dropped.id, "dropped": True})

    async def _answer(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while (task := self._next()) is not None:
                await self._guarded(*task)

    def _next(self) -> tuple[Any, Callable[[], Awaitable[bytes]]] | None:
        """What to do next, taken from what waits, and the id to answer under: a new image before a click on it."""
        if self._opening is not None:
            opening, self._opening = self._opening, None
            self._subject = None  # clicks that follow are about the new image, also where that is refused
            return None, partial(self._opened, opening)
        if self._click is not None:
            click, self._click = self._click, None
            return click.id, partial(self._clicked, click)
        return None

    async def _guarded(self, identifier: Any, work: Callable[[], Awaitable[bytes]]) -> None:
        """Do the work under a request id and permit of its own, and send what comes of it."""
        try:
            with self._here.permits.permit(self._tenant):
                body = await work()
        except (WebSocketDisconnect, asyncio.CancelledError):
            raise
        except Exception as error:
            await self._fail(identifier, error)
        else:
            await self._socket.send_text(body.decode("utf-8"))

    async def _opened(self, opening: _Opening) -> bytes:
        """Know the image and have its embedding ready."""
        caller = self._caller()
        image = None if opening.data is None else measure(opening.data, self._here)
        subject = await subject_of(self._here, caller, image, opening.image_id)
        tier = None
        with bound(caller.request_id):
            async with kept(self._here, caller, subject, store=True):
                data = subject.data or await self._stored(subject)
                if data is not None:
                    tier = (await self._service.embed(EmbedCall(subject.image_id, data, caller))).tier
        self._subject = subject
        return orjson.dumps(
            {"image_id": subject.image_id, "width": subject.size[0], "height": subject.size[1], "embedding": tier}
        )

    async def _stored(self, subject: Subject) -> bytes | None:
        """The image behind an id; None while the store is out of reach: the service may hold its embedding."""
        try:
            return await self._here.images.get(self._tenant, subject.image_id)
        except ImageStoreUnavailable:
            return None

    async def _clicked(self, click: _Click) -> bytes:
        subject, caller = self._subject, self._caller()
        if subject is None:
            raise InvalidOption.of("prompts", None, "an image first", "send an image, or its id, before prompts")
        limit_prompts(click.values.get("prompts"), self._here.settings)
        asked = check(ClickFields, click.values)
        prompts = await typed_aside(asked.prompts, Bounds(subject.size, self._service.describe().text_prompts))
        options = PromptOptions(asked.format, asked.multimask, asked.return_logits, asked.simplify)
        call = PromptCall(subject.image_id, prompts, caller, None, options)
        with bound(caller.request_id):
            try:
                answer = await self._service.segment(call)
            except (ImageNotFound, ImageStoreUnavailable):
                if subject.data is None:
                    raise
                answer = await self._service.segment(replace(call, image=subject.data))
        self._here.sink.count("segserve_stream_clicks_total", outcome="answered")
        return b'{"id":%b,%b' % (orjson.dumps(click.id), answer.body[1:])

    def _caller(self) -> Caller:
        self._request_id = uuid.uuid4().hex
        return Caller(self._tenant, self._request_id, time.time() + self._here.settings.request_timeout_s)

    async def _fail(self, identifier: Any, error: Exception) -> None:
        known = as_known(error)
        if isinstance(known, InternalError):
            logger.error("a click failed", exc_info=error)
        self._here.sink.count("segserve_stream_clicks_total", outcome="failed")
        await self._send({"id": identifier, "error": {**fields(known), "request_id": self._request_id}})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(orjson.dumps(message).decode("utf-8"))


async def _parsed(text: str) -> Any:
    """A message's JSON; a long one is read in a thread. Raises as `parse_json`."""
    if len(text) < OFF_LOOP_BYTES:
        return parse_json(text, "message")
    return await asyncio.to_thread(parse_json, text, "message")


def _identifier(value: Any) -> int | str | None:
    """The caller's own id of a message. Raises `InvalidOption` for what cannot be sent back as it came."""
    limit = "a number of 64 bits or text"
    if value is not None and not isinstance(value, int | str):
        raise InvalidOption.of("id", shown(value), limit, "an id is a number or text")
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:  # more than 64 bits, or half a surrogate
        raise InvalidOption.of("id", shown(value), limit, "this id cannot be sent back") from None
    return value
