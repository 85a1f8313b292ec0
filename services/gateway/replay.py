"""A request whose gateway ended under it is asked once more, and what Serve itself answers in words becomes our errors.

At Serve's own port (`doorway.middlewares`): its proxy sends nothing when a replica dies before the answer begins, and
plain text when there is no replica. Every route that is repeated here is idempotent; one that makes a job knows the
second try by the unique id that `Doorway`, around this, has given the request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.errors import as_response, of_status
from shared.errors import DeadlineExceeded, GatewayUnavailable, RequestTimeout, SegServeError
from shared.serving.ingress import Place, place
from shared.settings import settings

logger = logging.getLogger(__name__)

REPEATED = frozenset({"GET", "HEAD", "POST"})
"""Methods that are asked once more; a second `DELETE` would not find what the first one may have deleted."""
OWN_PATHS = "/-/"
"""Serve's own pages, which HAProxy asks whether a gateway is well: left as they are."""
GRACE_S = 5.0
"""What the gateway's own deadline is given to come first."""


class Replay:
    """Keeps a request's body, up to the largest that the gateway takes, until its answer begins.

    In the gateway's own replica there is nothing to repeat (HAProxy, before it, does) and the gateway keeps the
    deadline: there Serve's words are replaced, and no more.
    """

    def __init__(
        self,
        app: ASGIApp,
        kept_bytes: int | None = None,
        within_s: float | None = None,
        longer_s: float | None = None,
        where: Callable[[], Place] = place,
    ) -> None:
        here = settings()
        self.app = app
        self._where = where
        self._place: Place = "closed"
        self._kept_bytes = here.max_body_bytes if kept_bytes is None else kept_bytes
        self._within_s = here.request_timeout_s + GRACE_S if within_s is None else within_s
        self._longer_s = max(0.0, here.stream_timeout_s - here.request_timeout_s) if longer_s is None else longer_s
        """Added for a body of more than is kept: an upload, which the gateway works on while it comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OWN_PATHS):
            await self.app(scope, receive, send)
            return
        if self._place == "closed":
            self._place = self._where()
        if self._place == "gateway":
            await self._translated(scope, receive, send)
            return
        tape, answer = _Tape(receive, self._kept_bytes), _Answer(scope, send)
        try:
            async with asyncio.timeout(self._within_s) as limit:
                answer.limit = tape.limit = limit
                tape.longer_s = self._longer_s
                await self.app(dict(scope), tape.play(), answer.send)
                if not (answer.begun or tape.gone) and tape.whole and scope["method"] in REPEATED:
                    logger.warning("%s %s: the gateway is gone: once more", scope["method"], scope["path"])
                    await self.app(dict(scope), tape.play(), answer.send)
        except TimeoutError:
            if not answer.begun:
                await answer.refuse(RequestTimeout() if tape.stalls else DeadlineExceeded())
        if not (answer.begun or tape.gone):
            await answer.refuse(GatewayUnavailable())

    async def _translated(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(scope, send)
        await self.app(scope, receive, answer.send)
        if not answer.begun:
            await answer.refuse(GatewayUnavailable())


class _Tape:
    """A request's messages, kept while they are few enough bytes to be played again."""

    def __init__(self, receive: Receive, kept_bytes: int) -> None:
        self.gone = False
        """Whether the caller has left."""
        self.stalls = False
        """Whether more of the body is being waited for."""
        self.whole = True
        """Whether every message is still here."""
        self.limit: asyncio.Timeout | None = None
        """Ends `longer_s` later once the body is too long to be kept."""
        self.longer_s = 0.0
        self._receive, self._left = receive, kept_bytes
        self._messages: list[Message] = []
        self._ended = False

    def play(self) -> Receive:
        """A channel that begins with what is kept and goes on with what comes."""
        place = 0

        async def receive() -> Message:
            nonlocal place
            if place >= len(self._messages):
                self.stalls = not self._ended
                message = await self._receive()
                self.stalls = False
                self._ended = self._ended or not message.get("more_body", False)
                self._keep(message)
                if not self.whole:
                    return message
            place += 1
            return self._messages[place - 1]

        return receive

    def _keep(self, message: Message) -> None:
        self.gone = self.gone or message["type"] == "http.disconnect"
        self._left -= len(message.get("body", b""))
        if self.whole and self._left < 0:
            self.whole = False
            self._messages.clear()
            if self.limit is not None and (until := self.limit.when()) is not None and not self.limit.expired():
                self.limit.reschedule(until + self.longer_s)
        if self.whole:
            self._messages.append(message)


class _Answer:
    """The way back to the caller: passes answers on, but for Serve's own errors, which are replaced."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.begun = False
        self.limit: asyncio.Timeout | None = None
        """Runs until the answer begins: a stream goes on for as long as the gateway lets it."""
        self._scope, self._send = scope, send
        self._replaced = False

    async def send(self, message: Message) -> None:
        """What the application calls."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                await self._replace(message)
            if self.limit is not None and not self.limit.expired():
                self.limit.reschedule(None)
        self.begun = True
        if not self._replaced:
            await self._send(message)

    async def _replace(self, message: Message) -> None:
        headers = Headers(raw=message.get("headers", []))
        if headers.get("content-type", "").startswith("text/plain"):
            self._replaced = True
            await self.refuse(_ours(message["status"], headers.get("retry-after")))

    async def refuse(self, error: SegServeError) -> None:
        """Answer with an error of ours."""
        self.begun = True
        asked = Headers(scope=self._scope).get("x-request-id", "")
        await as_response(error, asked)(self._scope, _nothing, self._send)


def _ours(status: int, retry_after: str | None) -> SegServeError:
    """Our error for Serve's. The gateway takes every path: where Serve knows none, there is no gateway."""
    if status == 404:
        return GatewayUnavailable("The gateway does not run yet: try again.")
    return of_status(status, retry_after)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
