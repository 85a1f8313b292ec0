"""What happens around every request: its id and deadline, its metrics, its caller's leaving, and errors into answers.

Pure ASGI classes, outermost first: `Arrivals`, `AccessMetrics`, `ErrorBoundary`, `CallerWatch`.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.errors import ErrorAnswers
from services.gateway.scopes import Arrival, arrival, note, route
from shared.errors import ClientGone, DeadlineExceeded
from shared.protocols import Sink
from shared.telemetry.logs import bound

REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
PROBES = frozenset({"/metrics", "/healthz", "/readyz"})
"""Paths that are not counted: they would dilute the percentiles, and reading the page would change it."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Arrivals:
    """Gives each request its id (the caller's, if it is well formed) and its deadline; sends the id back."""

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self.app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        identifier = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        now = time.time()
        note(scope, Arrival(identifier, now, now + self._timeout_s))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = identifier
            await send(message)

        with bound(identifier):
            await self.app(scope, receive, send_with_id)


class AccessMetrics:
    """Counts each request by route, method and status, times it, and knows how many are being worked on; not probes."""

    def __init__(self, app: ASGIApp, sink: Sink) -> None:
        self.app = app
        self._sink = sink
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        status = ClientGone.status
        begun = time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._count_in_flight(+1)
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self._count_in_flight(-1)
            path, method = route(scope), scope["method"] if scope["method"] in METHODS else "OTHER"
            self._sink.count("segserve_requests_total", route=path, method=method, status=str(status))
            self._sink.observe("segserve_request_seconds", time.perf_counter() - begun, route=path)

    def _count_in_flight(self, change: int) -> None:
        self._in_flight += change
        self._sink.gauge("segserve_in_flight_requests", self._in_flight)


class ErrorBoundary:
    """Answers whatever nobody inside has answered, unless the answer has begun already."""

    def __init__(self, app: ASGIApp, answers: ErrorAnswers) -> None:
        self.app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            response = self._answers.answer(scope, error)
            if started and isinstance(error, ClientGone):
                return  # who follows events may stop at any time
            if started:
                raise
            await response(scope, receive, send)


class CallerWatch:
    """Cancels the work of a request whose caller has left or whose deadline has passed, and counts who left.

    Once the body has been read, a task listens for the caller's leaving; until then, reading the body tells.
    """

    def __init__(self, app: ASGIApp, sink: Sink) -> None:
        self.app = app
        self._sink = sink

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        caller = _Caller(receive, send)
        work = asyncio.ensure_future(self.app(scope, caller.receive, caller.send))
        try:
            await _over(scope, work, caller.gone)
            if not work.done() and not caller.answered:
                raise ClientGone() if caller.gone.done() else DeadlineExceeded()
            await work
        except (ClientGone, ClientDisconnect, asyncio.CancelledError):
            self._sink.count("segserve_client_gone_total", route=route(scope))
            raise
        finally:
            caller.close()
            await stopped(work)


class _Caller:
    """One caller's two channels, watched: `gone` is done when it has left, `answered` once the answer is complete."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered = False
        self._receive = receive
        self._send = send
        self._listener: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        if self._listener is not None:
            await asyncio.shield(self.gone)
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._note_gone()
        elif not message.get("more_body", False):
            self._listener = asyncio.create_task(self._listen())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.answered = True
        await self._send(message)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
        self.gone.cancel()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._note_gone()

    def _note_gone(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


async def _over(scope: Scope, work: asyncio.Future[None], gone: asyncio.Future[None]) -> None:
    """Return when the work is done, its caller gone, or its deadline past, which a route may move meanwhile."""
    while not work.done() and not gone.done():
        came = arrival(scope)
        remaining = came.deadline + came.grace_s - time.time()
        if remaining <= 0:
            return
        await asyncio.wait({work, gone}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)


async def stopped(work: asyncio.Future[None]) -> None:
    """Cancel `work` and wait until it has ended; what it raises then concerns nobody."""
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
    if not work.cancelled():
        work.exception()
