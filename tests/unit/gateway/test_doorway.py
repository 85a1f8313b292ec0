"""At Serve's door: one request id in and out, and no header of a caller that Serve would obey."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from services.gateway.doorway import Doorway, middlewares
from services.gateway.replay import Replay
from shared.serving.ingress import Place


async def seen(request: Request) -> JSONResponse:
    response = JSONResponse([[name, value] for name, value in request.headers.items()])
    response.headers["X-Request-ID"] = "set-by-the-gateway"
    return response


async def ask(headers: dict[str, str] | list[tuple[str, str]], place: Place = "proxy") -> httpx.Response:
    app = Doorway(Starlette(routes=[Route("/", seen)]), lambda: place)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get("/", headers=headers)


async def test_a_well_formed_id_goes_in_and_comes_out_once() -> None:
    answer = await ask({"X-Request-ID": "Run_1.a-b"})
    assert answer.headers.get_list("x-request-id") == ["Run_1.a-b"]
    assert ["x-request-id", "Run_1.a-b"] in answer.json()


async def test_a_missing_a_malformed_and_a_doubled_id_are_replaced() -> None:
    for headers in ([], [("X-Request-ID", "a b")], [("X-Request-ID", "x" * 65)], [("X-Request-ID", "a")] * 2):
        answer = await ask(headers)
        (identifier,) = answer.headers.get_list("x-request-id")
        assert re.fullmatch("[0-9a-f]{32}", identifier)
        assert [value for name, value in answer.json() if name == "x-request-id"] == [identifier]


async def unique_id(headers: list[tuple[str, str]], place: Place) -> str:
    answer = await ask(headers, place)
    assert "x-unique-id" not in answer.headers, "nobody is told"
    (found,) = [value for name, value in answer.json() if name.replace("_", "-") == "x-unique-id"]
    return str(found)


@pytest.mark.parametrize("place", ["proxy", "spare", "gateway"])
async def test_one_unique_id_goes_in_which_the_public_ports_caller_does_not_choose(place: Place) -> None:
    given = await unique_id([("X-Unique-ID", "given")], place)
    assert (given == "given") == (place != "proxy")
    for headers in ([], [("X-Unique-ID", "a b")], [("X-Unique-ID", "a")] * 2, [("X_Unique_ID", "a")]):
        made = {await unique_id(headers, place) for _ in range(2)}
        assert len(made) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)


async def test_headers_that_steer_serve_do_not_pass() -> None:
    answer = await ask(
        {
            "X-Session-Id": "1",
            "serve_multiplexed_model_id": "m",
            "X-Request-Timeout-Seconds": "1",
            "X-Request-Disconnect-Disabled": "1",
            "X-Other": "stays",
        }
    )
    names = {name for name, _ in answer.json()}
    assert "x-other" in names
    steering = {name for name in names if "session" in name or "multiplexed" in name or name.startswith("x-request-")}
    assert steering == {"x-request-id"}


async def test_in_a_gateway_serve_is_told_not_to_watch_the_caller_whatever_the_caller_says() -> None:
    app = Doorway(Starlette(routes=[Route("/", seen)]), lambda: "gateway")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/", headers={"X-Request-Disconnect-Disabled": "?0"})
    assert [value for name, value in answer.json() if name == "x-request-disconnect-disabled"] == ["?1"]


async def test_headers_that_steer_serve_do_not_pass_with_a_websocket() -> None:
    came: list[Scope] = []
    sent: list[Message] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(scope)
        await send({"type": "websocket.accept", "headers": [(b"X-Request-ID", b"inner"), (b"x-other", b"stays")]})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    steering = [(b"x-session-id", b"1"), (b"serve_multiplexed_model_id", b"m"), (b"x-request-timeout-seconds", b"1")]
    headers = [*steering, (b"x-request-id", b"a b"), (b"sec-websocket-protocol", b"segserve.v1")]
    doorway = Doorway(inside, lambda: "proxy")
    await doorway({"type": "websocket", "path": "/v1/promptable/stream", "headers": headers}, receive, send)
    passed = dict(came[0]["headers"])
    assert passed.keys() == {b"sec-websocket-protocol", b"x-request-id", b"x-unique-id"}
    assert re.fullmatch(b"[0-9a-f]{32}", passed[b"x-request-id"])
    assert sent[0]["headers"] == [(b"x-other", b"stays"), (b"x-request-id", passed[b"x-request-id"])]


async def test_a_port_that_is_no_door_answers_nothing() -> None:
    passed = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    doorway = Doorway(inside, lambda: "closed")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(doorway), base_url="http://test") as client:
        for path in ("/", "/segment", "/-/healthz"):
            answer = await client.post(path, content=b"x")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    sent = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await doorway({"type": "websocket", "path": "/"}, receive, send)
    assert sent == ["websocket.close"]
    await doorway({"type": "lifespan"}, receive, send)
    assert passed == ["lifespan"]


def test_serve_is_given_the_doorway_outermost() -> None:
    assert [str(each.cls) for each in middlewares()] == [str(Replay), str(Doorway)]


@pytest.mark.parametrize(
    ("probes", "caller", "path", "status"),
    [
        (True, "127.0.0.1", "/-/healthz", 200),
        (True, "::1", "/-/healthz", 200),
        (True, "10.0.0.7", "/-/healthz", 404),
        (True, "127.0.0.1", "/-/routes", 404),
        (True, "", "/-/healthz", 404),
        (False, "127.0.0.1", "/-/healthz", 404),
    ],
)
async def test_serves_health_is_told_to_the_node_itself_where_the_settings_say_so(
    probes: bool, caller: str, path: str, status: int
) -> None:
    inside = Starlette(routes=[Route("/{any:path}", seen)])
    transport = httpx.ASGITransport(Doorway(inside, lambda: "proxy", probes), client=(caller, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get(path)).status_code == status
