"""What stands behind HAProxy in its tests: a small application on ports of its own, and servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

EVENTS = 5


async def length(request: Request) -> Response:
    """How many bytes came, and under which ids."""
    ids = {"id": request.headers.get("x-request-id"), "unique_ids": request.headers.getlist("x-unique-id")}
    return JSONResponse({"bytes": len(await request.body()), **ids})


async def refused(request: Request) -> Response:
    """A refusal of ours, before the body was read."""
    status = int(request.path_params["status"])
    return JSONResponse({"code": "ours"}, status, {"Retry-After": "7", "X-Request-ID": "from-behind"})


async def too_large(request: Request) -> Response:
    """A refusal of ours by what the headers say."""
    return JSONResponse({"code": "ours"}, 413)


async def events(request: Request) -> Response:
    """Server-sent events: each but the first after a `POST /next`."""
    waiting: asyncio.Queue[None] = asyncio.Queue()
    request.app.state.waiting = waiting

    async def each() -> AsyncIterator[str]:
        for index in range(EVENTS):
            if index:
                await waiting.get()
            yield f"data: {index}\n\n"

    return StreamingResponse(each(), media_type="text/event-stream")


async def go_on(request: Request) -> Response:
    """Lets the next event come."""
    request.app.state.waiting.put_nowait(None)
    return PlainTextResponse("")


async def echo(socket: WebSocket) -> None:
    """Each message back."""
    await socket.accept()
    async for message in socket.iter_text():
        await socket.send_text(message)


async def healthy(request: Request) -> Response:
    return PlainTextResponse("success")


APP = Starlette(
    routes=[
        Route("/length", length, methods=["GET", "POST"]),
        Route("/v1/jobs", length, methods=["POST"]),
        Route("/v1/images", too_large, methods=["POST"]),
        Route("/refused/{status}", refused, methods=["GET", "POST"]),
        Route("/events", events),
        Route("/next", go_on, methods=["POST"]),
        WebSocketRoute("/echo", echo),
        Route("/-/healthz", healthy),
    ]
)


@contextmanager
def application() -> Iterator[int]:
    """`APP` on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(APP, port=0, log_level="error", ws="websockets-sansio"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def misbehaving(cuts: bool, heard: list[bytes] | None = None) -> Iterator[int]:
    """A server that is healthy when asked, and closes every other connection unanswered, or says nothing at all;
    `heard` takes the beginning of each request."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections: list[socket.socket] = []

    def meet(connection: socket.socket) -> None:
        with suppress(OSError):  # HAProxy may think better of it
            begun = connection.recv(65536)
            if begun.startswith(b"GET /-/healthz"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                connection.close()
                return
            if heard is not None:
                heard.append(begun)
            if cuts:
                connection.close()

    def serve() -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                open_connections.append(connection)
                meet(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_connections:
            connection.close()
