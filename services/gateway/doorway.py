"""What happens to every HTTP message and WebSocket at Serve's own ports, before and after Serve: one request id, nobody
but us steers Serve by headers, and a model's replica answers nothing.

Serve puts this around its proxy and around each replica's own port when `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` is
`services.gateway.doorway:middlewares`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.errors import body
from services.gateway.replay import Replay
from shared.errors import NotFound
from shared.serving.ingress import answers_http

REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
REQUEST_ID_HEADER = b"x-request-id"
STEERING_HEADERS = frozenset(
    (
        b"serve-multiplexed-model-id",
        b"x-session-id",
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
    )
)
"""Serve takes these from any caller: another replica, another timeout, work that goes on when its caller has left."""


class Doorway:
    """Gives each request one well-formed id, which Serve and the gateway then use and the answer carries once. Nothing
    passes where `is_open` says no: Serve would send any path to a model's replica."""

    def __init__(self, app: ASGIApp, is_open: Callable[[], bool] = answers_http) -> None:
        self.app = app
        self._is_open = is_open
        self._opened = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The replica's object is there once the first request is, not yet when its port is opened.
        self._opened = self._opened or self._is_open()
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if not self._opened:
            await _refuse(scope, receive, send)
            return
        asked = [value for name, value in scope["headers"] if name == REQUEST_ID_HEADER]
        valid = len(asked) == 1 and REQUEST_ID.fullmatch(asked[0])
        identifier = asked[0] if valid else uuid.uuid4().hex.encode()
        dropped = STEERING_HEADERS | {REQUEST_ID_HEADER}
        kept = [(name, value) for name, value in scope["headers"] if name.replace(b"_", b"-") not in dropped]
        scope = {**scope, "headers": [*kept, (REQUEST_ID_HEADER, identifier)]}

        async def send_once(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != REQUEST_ID_HEADER]
                message = {**message, "headers": [*headers, (REQUEST_ID_HEADER, identifier)]}
            await send(message)

        await self.app(scope, receive, send_once)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """What a port that is no door answers."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
        return
    error = NotFound()
    await Response(body(error, uuid.uuid4().hex), error.status, media_type="application/json")(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve calls in each process that has an HTTP port; the last of them is outermost."""
    return [Middleware(Replay), Middleware(Doorway)]
