"""`/v1/promptable/stream`: a WebSocket for clicks on one image at a time.

Query: `model`. Binary message: an encoded image. Text: `{"image_id"}`, or `{"id", "prompts", ...}` as `POST
/v1/promptable` takes them, or `{"ping": true}`. Back come `{"image_id", "width", "height", "embedding"}`, the answer
with its `id`, `{"id", "dropped"}` for a click that a newer one has overtaken, or `{"id", "error"}`.

The server below closes (1009) on a message above 16 MiB, whatever `Settings.max_body_bytes` says: an image that is
larger goes to `POST /v1/images`, its id comes here.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter
from starlette.datastructures import MutableHeaders
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.gateway.body import Sent
from services.gateway.clicks import ClickSession
from services.gateway.context import Gateway
from services.gateway.errors import fields
from services.gateway.fields import check, gather
from shared.errors import Forbidden, SegServeError
from shared.schemas.clicks import StreamFields

PROTOCOL = "segserve"
KEY_PROTOCOL = "key."
"""A browser, which cannot set headers, offers the protocols `segserve` and `key.` followed by its API key."""
REFUSED = 1008

router = APIRouter()


@router.websocket("/v1/promptable/stream")
async def stream(socket: WebSocket) -> None:
    """Serve one connection. Who may not come in is told why in a message, then the connection is closed."""
    here: Gateway = socket.app.state.gateway
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    with suppress(WebSocketDisconnect):
        try:
            tenant = _tenant(here, socket, offered)
            asked = check(StreamFields, gather(socket.query_params.multi_items(), Sent(), StreamFields))
            service = here.directory.promptable(asked.model)
            with here.streams.permit(tenant):
                here.sink.gauge("segserve_streams_open", here.streams.taken)
                await ClickSession(here, socket, tenant, service).run()
        except SegServeError as error:
            body = {"id": None, "error": {**fields(error), "request_id": uuid.uuid4().hex}}
            await socket.send_text(orjson.dumps(body).decode("utf-8"))
            await socket.close(REFUSED, error.code)
        finally:
            here.sink.gauge("segserve_streams_open", here.streams.taken)


def _tenant(here: Gateway, socket: WebSocket, offered: list[str]) -> str:
    """Who asks. Raises `Unauthorized`, or `Forbidden` for a page of another site: browsers let any page connect."""
    origin, host = socket.headers.get("origin"), socket.headers.get("host")
    if origin is not None and _host_of(origin) != host:
        raise Forbidden.of("Origin", origin, host, "a page of another site")
    headers = MutableHeaders(raw=list(socket.headers.raw))
    for name in offered:
        if name.startswith(KEY_PROTOCOL):
            headers["x-api-key"] = name.removeprefix(KEY_PROTOCOL)
    return here.keys.tenant(headers)


def _host_of(origin: str) -> str:
    """Host and port of an origin; empty for one that is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
