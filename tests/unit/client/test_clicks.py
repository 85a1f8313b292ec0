"""Clicks on something that is no SegServe: told as every other method of the client tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.sync.server import ServerConnection, serve

from shared.client import Client, ServerUnreachable
from shared.errors import DeadlineExceeded, InternalError
from tests.unit.client.test_reach import answering

ID = "sha256:" + "0" * 64
OPENED = f'{{"image_id": "{ID}", "width": 4, "height": 3, "embedding": "memory"}}'


@contextmanager
def saying(*messages: str, paths: list[str] | None = None) -> Iterator[str]:
    """A WebSocket server that answers the first messages with these, and notes in `paths` what it was asked for."""

    def answer(connection: ServerConnection) -> None:
        if paths is not None and connection.request is not None:
            paths.append(connection.request.path)
        for message in messages:
            connection.recv()
            connection.send(message)

    with served(answer) as url:
        yield url


@contextmanager
def served(answer: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A WebSocket server that gives each connection to `answer`."""
    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"",
    ],
)
def test_a_server_without_this_websocket_is_unreachable(answer: bytes) -> None:
    with answering(answer) as address, Client(f"http://{address}") as client, pytest.raises(ServerUnreachable):
        client.clicks(ID)


def test_a_server_that_does_not_become_a_websocket_in_time() -> None:
    late = pytest.raises(DeadlineExceeded, match=r"No connection to ws://.* in time")
    with answering(None) as address, Client(f"http://{address}", timeout_s=0.2) as client, late:
        client.clicks(ID)


def test_an_answer_that_takes_too_long_may_still_come() -> None:
    told = threading.Event()

    def answer(connection: ServerConnection) -> None:
        connection.recv()
        connection.send(OPENED)
        connection.recv()
        told.wait()
        connection.send('{"id": 1, "dropped": true}')

    with served(answer) as url, Client(url) as client, client.clicks(ID) as clicks:
        clicks.send([{"points": [[1, 1]]}])
        patience, clicks._timeout_s = clicks._timeout_s, 0.1
        try:
            with pytest.raises(DeadlineExceeded, match=r"No answer from ws://.* in time"):
                clicks.receive()
        finally:
            told.set()
        clicks._timeout_s = patience
        assert clicks.receive() == (1, None)


@pytest.mark.parametrize("message", ["no JSON", "[]", '"text"', '{"id": 1}', '{"pong": true}'])
def test_an_answer_of_another_kind_is_of_no_segserve(message: str) -> None:
    with saying(OPENED, message) as url, Client(url) as client, client.clicks(ID) as clicks:
        clicks.send([{"points": [[1, 1]]}])
        with pytest.raises(InternalError, match="no SegServe server"):
            clicks.receive()


@pytest.mark.parametrize(
    ("prefix", "before"), [("", ""), ("/", ""), ("/behind/a/proxy", "/behind/a/proxy"), ("/x/", "/x")]
)
def test_clicks_go_where_every_other_request_goes(prefix: str, before: str) -> None:
    paths: list[str] = []
    with saying(OPENED, paths=paths) as url, Client(url + prefix) as client:
        client.clicks(ID, model="street").close()
    assert paths == [f"{before}/v1/promptable/stream?model=street"]
