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
from shared.errors import ClientGone, DeadlineExceeded, RequestTimeout
from shared.protocols import Sink
from shared.telemetry.logs import bound

REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
PROBES = frozenset({"/metrics", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/label-studio/health"})
"""Paths that are not counted: they would dilute the percentiles, and reading the page would change it."""
LISTENS_AFTER_S = 0.1
"""A caller who leaves earlier is noticed now: the work of most requests is over by then."""
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


class InFlight:
    """How many requests are being worked on, whichever way through the application they take."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._count = sink, 0

    def add(self, change: int) -> None:
        """One more, or one less."""
        self._count += change
        self._sink.gauge("segserve_in_flight_requests", self._count)


class AccessMetrics:
    """Counts each request by route, method and status, times it, and knows how many are being worked on; not probes."""

    def __init__(self, app: ASGIApp, sink: Sink, in_flight: InFlight) -> None:
        self.app = app
        self._sink, self._in_flight = sink, in_flight

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

        self._in_flight.add(+1)
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self._in_flight.add(-1)
            path, method = route(scope), scope["method"] if scope["method"] in METHODS else "OTHER"
            self._sink.count("segserve_requests_total", route=path, method=method, status=str(status))
            self._sink.observe("segserve_request_seconds", time.perf_counter() - begun, route=path)


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

    The work runs in the request's own task: a task of its own for each would cost as much as the rest of this file.
    """

    def __init__(self, app: ASGIApp, sink: Sink) -> None:
        self.app = app
        self._sink = sink

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        caller = _Caller(scope, receive, send)
        try:
            with caller:
                await self.app(scope, caller.receive, caller.send)
        except (ClientGone, ClientDisconnect, asyncio.CancelledError):
            self._sink.count("segserve_client_gone_total", route=route(scope))
            raise


class _Caller:
    """One caller's two channels, watched. Within `with`, the task is cancelled when the caller leaves or its deadline
    passes, which a route may move meanwhile, unless the answer is complete; `with` then raises `ClientGone`,
    `DeadlineExceeded`, or `RequestTimeout` where it was the body that was waited for.

    Until the body has been read, reading it tells of the caller's leaving. Then a task listens for it, but only in a
    request that has taken `LISTENS_AFTER_S`: most are answered before.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._gone: asyncio.Future[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._why: ClientGone | DeadlineExceeded | RequestTimeout | None = None
        self._has_body = self._is_late = self._answered = self._reads = False

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(min(LISTENS_AFTER_S, max(0.0, self._remaining())), self._look)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._why is None or self._task is None:
            return
        ours = self._task.uncancel() == 0 and kind is asyncio.CancelledError
        if ours or (kind is None and not self._answered):
            raise self._why from None

    async def receive(self) -> Message:
        """As ASGI has it. After the body there is nothing but the caller's leaving."""
        if self._has_body:
            self._listen()
            await asyncio.shield(self._leaving())
            return {"type": "http.disconnect"}
        self._reads = True
        message = await self._receive()
        self._reads = False
        if message["type"] == "http.disconnect":
            self._has_body = True
            self._leaving().set_result(None)  # whoever reads hears it: nothing to cancel
        elif not message.get("more_body", False):
            self._has_body = True
            if self._is_late:
                self._listen()
        return message

    async def send(self, message: Message) -> None:
        """As ASGI has it."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    def _look(self) -> None:
        self._is_late = True
        if self._has_body:
            self._listen()
        if (remaining := self._remaining()) > 0:
            self._timer = self._loop.call_later(remaining, self._look)
        else:
            self._end(RequestTimeout() if self._reads else DeadlineExceeded())

    def _remaining(self) -> float:
        came = arrival(self._scope)
        return came.deadline + came.grace_s - time.time()

    def _leaving(self) -> asyncio.Future[None]:
        self._gone = self._gone or self._loop.create_future()
        return self._gone

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = self._loop.create_task(self._hear())

    async def _hear(self) -> None:
        if self._leaving().done():
            return
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leaving().set_result(None)
        self._end(ClientGone())

    def _end(self, why: ClientGone | DeadlineExceeded | RequestTimeout) -> None:
        if self._why is None and not self._answered and self._task is not None:
            self._why = why
            self._task.cancel()


async def stopped(work: asyncio.Future[None]) -> None:
    """Cancel `work` and wait until it has ended; what it raises then concerns nobody."""
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
    if not work.cancelled():
        work.exception()
