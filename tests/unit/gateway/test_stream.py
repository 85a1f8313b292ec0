"""Clicks over a real WebSocket: the newest wins, ids come back, errors are messages, nobody comes in without a key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.client import Client
from shared.client.clicks import Clicks
from shared.errors import ImageNotFound, InvalidOption
from shared.settings import Settings
from shared.store.images_memory import MemoryImageStore
from shared.store.keys import image_id
from shared.telemetry.recording import RecordingSink
from tests.bad_input import HEIGHT, PNG, WIDTH, picture
from tests.unit.client.test_client import KEY, KEY_SHA256
from tests.unit.gateway.tiny import Wand, info

LEFT, RIGHT = [{"points": [[0, 0]]}], [{"points": [[WIDTH - 1, HEIGHT - 1]]}]
LEFT_BOX, RIGHT_BOX = [0, 0, WIDTH // 2, HEIGHT], [WIDTH // 2, 0, WIDTH, HEIGHT]


class Served:
    """A gateway on a socket, its wand, and what was counted."""

    def __init__(self, settings: Settings, wand: Wand) -> None:
        self.wand, self.sink = wand, RecordingSink()

        async def page() -> bytes:
            return b""

        images = MemoryImageStore(2**22, 60, self.sink)
        self.app = create_app(settings, InProcessDirectory([], [wand]), images, self.sink, page)
        config = uvicorn.Config(self.app, "127.0.0.1", 0, log_level="error", lifespan="off", ws="websockets-sansio")
        self.server = uvicorn.Server(config)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    @contextmanager
    def connect(self, query: str = "", **options: Any) -> Iterator[ClientConnection]:
        with connect(f"ws://{self.address}/v1/promptable/stream{query}", **options) as socket:
            yield socket


@contextmanager
def serving(wand: Wand | None = None, **settings: Any) -> Iterator[Served]:
    served = Served(Settings(**settings), wand or Wand(info("wand", "promptable")))
    thread = threading.Thread(target=served.server.run)
    thread.start()
    while not served.server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield served
    finally:
        served.server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


def read(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(60))


def send(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def eventually(check: Callable[[], bool]) -> bool:
    """Whether `check` comes true: the server does the last of its work after the caller has heard of it."""
    until = time.monotonic() + 60
    while not (done := check()) and time.monotonic() < until:
        time.sleep(0.02)
    return done


def closed(socket: ClientConnection) -> int:
    """The code with which the server closed the connection."""
    with pytest.raises(ConnectionClosed) as caught:
        socket.recv(60)
    assert caught.value.rcvd is not None
    return int(caught.value.rcvd.code)


def test_an_image_then_clicks_whose_ids_come_back(served: Served) -> None:
    with served.connect() as socket:
        socket.send(PNG)
        opened = read(socket)
        assert opened == {"image_id": image_id(PNG), "width": WIDTH, "height": HEIGHT, "embedding": opened["embedding"]}
        for number, prompts, box in ((1, RIGHT, RIGHT_BOX), ("a", LEFT, LEFT_BOX)):
            send(socket, id=number, prompts=prompts)
            answer = read(socket)
            assert (answer["id"], answer["embedding"]) == (number, "memory")
            assert answer["results"][0]["masks"][0]["box"] == box
        send(socket, ping=True)
        assert read(socket) == {"pong": True}
        send(socket, image_id=image_id(PNG))
        assert read(socket)["embedding"] == "memory"
        assert served.wand.calls[-1].image is None


def test_only_the_newest_of_the_clicks_that_wait_is_answered() -> None:
    answering, go_on = threading.Event(), threading.Event()

    async def slow() -> None:
        if len(wand.calls) == 1:
            answering.set()
            await asyncio.to_thread(go_on.wait, 60)

    wand = Wand(info("wand", "promptable"), slow)
    with serving(wand) as served, served.connect() as socket:
        socket.send(PNG)
        read(socket)
        send(socket, id=0, prompts=LEFT)
        assert answering.wait(60)
        for number in range(1, 20):
            send(socket, id=number, prompts=RIGHT)
        assert [read(socket) for _ in range(18)] == [{"id": number, "dropped": True} for number in range(1, 19)]
        go_on.set()
        messages = [read(socket), read(socket)]
        assert [message["id"] for message in messages if "results" in message] == [0, 19]
        assert len(wand.calls) == 2
        assert served.sink.total("segserve_stream_clicks_total", outcome="dropped") == 18


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"id": 5, "prompts": []}', "invalid_option"),
        ('{"id": 5, "prompts": [{"points": [[9999, 0]]}]}', "invalid_option"),
        ('{"id": 5, "prompt": [{"points": [[1, 1]]}]}', "invalid_option"),
        ('{"id": 5, "prompts": [{"points": [[1, 1]]}], "format": "npz"}', "invalid_option"),
        ('{"id": [5], "prompts": [{"points": [[1, 1]]}]}', "invalid_option"),
        ('{"id": 18446744073709551616, "prompts": [{"points": [[1, 1]]}]}', "invalid_option"),
        ('{"id": "\\ud800", "prompts": [{"points": [[1, 1]]}]}', "invalid_option"),
        (json.dumps({f"k{number}": 1 for number in range(65)}), "invalid_option"),
        ("[" + " " * 300_000, "malformed"),
        ("[1]", "malformed"),
        ("null", "malformed"),
        ("{", "malformed"),
        ('{"image_id": "sha256:00"}', "invalid_option"),
        (json.dumps({"image_id": image_id(picture(9))}), "image_not_found"),
    ],
)
def test_what_is_wrong_is_told_in_a_message_and_the_connection_goes_on(message: str, code: str, served: Served) -> None:
    with served.connect() as socket:
        socket.send(PNG)
        read(socket)
        socket.send(message)
        told = read(socket)
        assert told["id"] == (5 if '"id": 5' in message else None)
        assert told["error"]["code"] == code
        assert set(told["error"]) == {"code", "message", "details", "request_id"}
        socket.send(PNG)
        assert read(socket)["image_id"] == image_id(PNG)


def test_prompts_before_an_image_and_bytes_that_are_none(served: Served) -> None:
    with served.connect() as socket:
        send(socket, id=1, prompts=LEFT)
        assert read(socket)["error"]["code"] == "invalid_option"
        socket.send(b"no image")
        assert read(socket)["error"]["code"] == "unsupported_format"


def test_clicks_after_an_image_that_was_refused_are_not_about_the_one_before() -> None:
    with serving(max_concurrent_requests=1) as served, served.connect() as socket:
        socket.send(PNG)
        assert read(socket)["image_id"] == image_id(PNG)
        with served.app.state.gateway.permits.permit("another"):
            socket.send(picture(9))
            assert read(socket)["error"]["code"] == "overloaded"
        send(socket, id=1, prompts=LEFT)
        assert read(socket)["error"]["code"] == "invalid_option"
        assert served.wand.calls == []


def test_nobody_comes_in_without_a_key_and_a_browser_can_bring_one() -> None:
    with serving(api_keys={KEY_SHA256: "a"}) as served:
        with served.connect() as socket:
            assert read(socket)["error"]["code"] == "unauthorized"
            assert closed(socket) == 1008
        with served.connect(additional_headers={"X-API-Key": KEY}) as socket:
            socket.send(PNG)
            assert read(socket)["width"] == WIDTH
    token = "4b7f0c3f"  # protocols are tokens, and so must such a key be
    settings: Any = {"api_keys": {hashlib.sha256(token.encode()).hexdigest(): "a"}}
    with serving(**settings) as served, served.connect(subprotocols=["segserve", f"key.{token}"]) as socket:
        assert socket.subprotocol == "segserve"
        send(socket, ping=True)
        assert read(socket) == {"pong": True}


def test_a_page_of_another_site_and_an_unknown_model_are_refused(served: Served) -> None:
    with served.connect(origin="http://elsewhere.example") as socket:
        assert read(socket)["error"]["code"] == "forbidden"
        assert closed(socket) == 1008
    with served.connect(origin="http://[no-address") as socket:
        assert read(socket)["error"]["code"] == "forbidden"
    with served.connect(origin=f"http://{served.address}") as socket:
        send(socket, ping=True)
        assert read(socket) == {"pong": True}
    with served.connect("?model=nobody") as socket:
        assert read(socket)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(("query", "field"), [("?modle=wand", "modle"), ("?model=wand&model=wand", "model")])
def test_a_query_that_is_not_understood_is_refused(query: str, field: str, served: Served) -> None:
    with served.connect(query) as socket:
        told = read(socket)["error"]
        assert (told["code"], told["details"][0]["field"]) == ("invalid_option", field)
        assert closed(socket) == 1008


def test_a_refusal_shows_values_as_json_has_them_and_the_fields_of_that_message(served: Served) -> None:
    with served.connect() as socket:
        socket.send("null")
        assert read(socket)["error"]["details"][0]["value"] == "null"
        send(socket, image_id=image_id(PNG), prompts=LEFT)
        assert read(socket)["error"]["details"][0]["limit"] == "image_id"


@pytest.mark.parametrize("number", [-(2**63), 2**64 - 1])
def test_an_id_of_64_bits_comes_back(number: int, served: Served) -> None:
    with served.connect() as socket:
        socket.send(PNG)
        read(socket)
        send(socket, id=number, prompts=LEFT)
        answer = read(socket)
        assert (answer["id"], "results" in answer) == (number, True)


def test_limits_on_size_number_and_silence() -> None:
    with serving(max_body_bytes=1024, max_streams=1) as served, served.connect() as socket:
        send(socket, ping=True)
        read(socket)
        with served.connect() as second:
            assert read(second)["error"]["code"] == "too_many_requests"
        socket.send(b"x" * 2000)
        assert read(socket)["error"]["code"] == "body_too_large"
        assert closed(socket) == 1009
    with serving(stream_idle_s=0.2) as served:
        with served.connect() as socket:
            assert closed(socket) == 1001
        assert eventually(lambda: served.sink.values("segserve_streams_open")[-1] == 0)


def test_the_limit_of_a_text_is_of_its_bytes_not_its_characters() -> None:
    with serving(max_fields_bytes=1024) as served, served.connect() as socket:
        socket.send(json.dumps({"id": "é" * 480}, ensure_ascii=False))
        assert read(socket)["error"]["code"] == "invalid_option"  # it was read: no image came before it
        long = json.dumps({"id": "é" * 600}, ensure_ascii=False)
        assert len(long) < 1024 < len(long.encode())
        socket.send(long)
        told = read(socket)["error"]
        assert (told["code"], told["message"]) == ("body_too_large", "message: a message of more than 1024 bytes")
        assert told["details"][0]["value"] == f"{len(long.encode())} bytes"
        assert closed(socket) == 1009


def test_a_click_whose_caller_left_is_ended() -> None:
    ended, begun = threading.Event(), threading.Event()

    async def hang() -> None:
        if wand.calls:
            begun.set()
            try:
                await asyncio.sleep(1000)
            finally:
                ended.set()

    wand = Wand(info("wand", "promptable"), hang)
    with serving(wand) as served:
        with served.connect() as socket:
            socket.send(PNG)
            read(socket)
            send(socket, id=1, prompts=LEFT)
            assert begun.wait(60)
        assert ended.wait(60)
        assert eventually(lambda: served.app.state.gateway.permits.taken == 0)


def test_the_client_clicks(served: Served) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, 5:] = 255
    with Client(f"http://{served.address}") as client, client.clicks(pixels) as clicks:
        assert clicks.ask([{"points": [[6, 1]]}]).results[0][0].box == (5, 0, 8, 6)
        first = clicks.send([{"points": np.zeros((1, 2)), "labels": (np.int64(1),)}])
        number, answer = clicks.receive()
        assert (number, answer and answer.results[0][0].box) == (first, (0, 0, 5, 6))
        with pytest.raises(InvalidOption):
            clicks.ask([{"points": [[100, 0]]}])
        with pytest.raises(ImageNotFound):
            clicks.open(image_id(picture(200)))


def test_the_client_clicks_on_an_image_that_is_too_large_for_a_message(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = picture(3)
    monkeypatch.setattr("shared.client.session.MAX_IMAGE_BYTES", len(large) - 1)
    monkeypatch.setattr(Clicks, "open", lambda clicks, sent: opened.append(sent))
    opened: list[bytes | str] = []
    with Client(f"http://{served.address}") as client:
        for image in (PNG[: len(large) - 1], large):
            client.clicks(image).close()
    assert opened == [PNG[: len(large) - 1], image_id(large)]
