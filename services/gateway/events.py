"""Work that reports while it goes on -> server-sent events: framed, kept alive, errors as events.

What fails within the first second is answered like any request; later the answer has begun and an `error` event ends
it. A caller who reads slowly holds the work up; one who leaves ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.errors import ErrorAnswers
from services.gateway.middleware import stopped
from services.gateway.negotiation import EVENTS

PLAIN_FOR_S = 1.0
"""How long the answer waits for the first event before it begins without one."""
KEEP_ALIVE_S = 10.0
"""A comment is sent where no event came for so long: proxies and clients then know that the work goes on."""
AHEAD = 16
"""Events that wait for a slow reader; then the work waits too."""
HEADERS = [(b"content-type", EVENTS.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
KEEP_ALIVE = b": working\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, and its data as JSON without line breaks."""

    name: str
    data: bytes

    def framed(self) -> bytes:
        """As the stream carries it."""
        return b"event: %b\ndata: %b\n\n" % (self.name.encode(), self.data)


class EventStream(Response):
    """The answer of a route whose events are made while they are sent.

    `begun` is entered and left in here, so whatever it holds (a permit, a call to a replica) is held exactly as long as
    the answer takes. What it raises when entered is answered like any error.
    """

    def __init__(self, begun: AbstractAsyncContextManager[AsyncIterator[Event]], answers: ErrorAnswers) -> None:
        super().__init__()
        self._begun = begun
        self._answers = answers
        self._ready: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(AHEAD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._begun as events:
            work = asyncio.create_task(self._work(events))
            try:
                await self._relay(scope, send)
            finally:
                await stopped(work)

    async def _relay(self, scope: Scope, send: Send) -> None:
        item = await self._next(PLAIN_FOR_S)
        if isinstance(item, Exception):
            raise item
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        while item is not None:
            if isinstance(item, Exception):
                item = Event("error", bytes(self._answers.answer(scope, item).body)).framed()
            await send({"type": "http.response.body", "body": item, "more_body": True})
            item = await self._next(KEEP_ALIVE_S)
        await send({"type": "http.response.body", "body": b""})

    async def _work(self, events: AsyncIterator[Event]) -> None:
        """Puts the events, then what ended them early, then None."""
        try:
            async for event in events:
                await self._ready.put(event.framed())
        except Exception as error:
            await self._ready.put(error)
        await self._ready.put(None)

    async def _next(self, within_s: float) -> bytes | Exception | None:
        try:
            async with asyncio.timeout(within_s):
                return await self._ready.get()
        except TimeoutError:
            return KEEP_ALIVE
