"""What happens to every HTTP message and WebSocket at Serve's own ports, before and after Serve: one request id, one
unique id over all tries, nobody but us steers Serve by headers, and a model's replica answers nothing.

Serve puts this around its proxy and around each replica's own port when `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` is
`services.gateway.doorway:middlewares`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from ipaddress import ip_address

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.errors import body
from services.gateway.replay import OWN_PATHS, Replay
from shared.errors import NotFound
from shared.headers import NODE_PROBE, UNIQUE_ID
from shared.serving.ingress import Place, place
from shared.settings import settings

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
UNIQUE_ID_HEADER = UNIQUE_ID.lower().encode()
DROPPED = STEERING_HEADERS | {REQUEST_ID_HEADER, UNIQUE_ID_HEADER}
UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
"""To Serve in a gateway's replica: do not listen for the caller's leaving, for which it would run two more tasks a
request. The gateway does (`middleware.CallerWatch`)."""


class Doorway:
    """Gives each request one well-formed id, which Serve and the gateway then use and the answer carries once, and one
    that its caller does not choose, by which `Replay`'s second try is known: at the public port a new one, behind
    HAProxy the one that it gave. Nothing passes where `where` says closed: Serve would send any path to a model's
    replica. Nor do Serve's own pages at the public port, but for the probes of its own node where `probes` (none: the
    settings) says so; HAProxy asks for them at the others, and keeps its own callers from them."""

    def __init__(self, app: ASGIApp, where: Callable[[], Place] = place, probes: bool | None = None) -> None:
        self.app = app
        self._where = where
        self._probes = settings().node_probes if probes is None else probes
        self._place: Place = "closed"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The replica's object is there once the first request is, not yet when its port is opened.
        if self._place == "closed":
            self._place = self._where()
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if self._place == "closed" or (self._place == "proxy" and self._own(scope)):
            await _refuse(scope, receive, send)
            return
        identifier = _one(scope, REQUEST_ID_HEADER) or uuid.uuid4().hex.encode()
        unique = (None if self._place == "proxy" else _one(scope, UNIQUE_ID_HEADER)) or uuid.uuid4().hex.encode()
        headers = [(name, value) for name, value in scope["headers"] if name.replace(b"_", b"-") not in DROPPED]
        headers += [(REQUEST_ID_HEADER, identifier), (UNIQUE_ID_HEADER, unique)]
        headers += [UNWATCHED] if self._place == "gateway" else []
        scope = {**scope, "headers": headers}

        async def send_once(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != REQUEST_ID_HEADER]
                message = {**message, "headers": [*headers, (REQUEST_ID_HEADER, identifier)]}
            await send(message)

        await self.app(scope, receive, send_once)

    def _own(self, scope: Scope) -> bool:
        """Whether this is one of Serve's own pages, but for the probe of a caller on the node itself."""
        path: str = scope["path"]
        return path.startswith(OWN_PATHS) and not (self._probes and path == NODE_PROBE and _from_here(scope))


def _from_here(scope: Scope) -> bool:
    """Whether the caller is on this machine."""
    client = scope.get("client")
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:  # a Unix socket's
        return False


def _one(scope: Scope, header: bytes) -> bytes | None:
    """The id in this header; None where there is none, more than one, or none that is well formed."""
    given = [value for name, value in scope["headers"] if name == header]
    return given[0] if len(given) == 1 and REQUEST_ID.fullmatch(given[0]) else None


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
