"""At Serve's door: a gateway that dies is asked once more with the same body, and Serve's words become our errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.doorway import Doorway
from services.gateway.replay import Replay
from shared.serving.ingress import Place
from shared.settings import Settings
from tests.bad_input import PNG
from tests.unit.gateway.running import running
from tests.unit.serving.held import skip


class Gateways:
    """What stands behind the door: dies so many times before it answers with the body that it was sent."""

    def __init__(self, deaths: int = 0, after: int = 99) -> None:
        self.deaths, self.after = deaths, after
        self.seen: list[bytes] = []
        self.unique_ids: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        self.unique_ids.append(Headers(scope=scope)["x-unique-id"])
        for _ in range(self.after if self.deaths else 99):
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if not more:
                break
        self.seen.append(body)
        if self.deaths:
            self.deaths -= 1
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def ask(
    app: ASGIApp,
    method: str = "POST",
    path: str = "/v1/semantic",
    kept: int = 100,
    within_s: float = 60.0,
    place: Place = "proxy",
) -> httpx.Response:
    door = Doorway(Replay(app, kept_bytes=kept, within_s=within_s), lambda: place)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://test") as client:
        return await client.request(method, path, content=parts(), headers={"X-Request-ID": "mine"})


async def parts() -> AsyncIterator[bytes]:
    yield b"one "
    yield b"two "
    yield b"three"


class Said:
    """Serve's proxy, answering by itself."""

    def __init__(self, status: int, headers: dict[bytes, bytes] | None = None, media: bytes = b"text/plain") -> None:
        self.status, self.headers = status, {b"content-type": media, **(headers or {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers.items())})
        await send({"type": "http.response.body", "body": b"in words"})


class Mute:
    """A gateway that does what it is asked, and dies the first time before it says so."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.answered = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            self.answered += message["type"] == "http.response.start"
            if self.answered > 1:
                await send(message)

        await self.app(scope, receive, told)


@pytest.mark.parametrize(
    ("path", "more"),
    [("/v1/jobs?task=semantic", {}), ("/v1/semantic", {"Prefer": "respond-async"})],
    ids=["job", "task"],
)
async def test_a_gateway_that_dies_when_it_has_made_a_job_leaves_one(path: str, more: dict[str, str]) -> None:
    async with running(settings=Settings(jobs_at_once=0)) as gateway:
        mute = Mute(gateway.app)
        door = Doorway(Replay(mute), lambda: "proxy")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://test") as client:
            headers = {"Content-Type": "image/png", "X-Unique-ID": "forged", **more}
            answer = await client.post(path, content=PNG, headers=headers)
            assert (answer.status_code, mute.answered) == (202, 2), answer.text
            jobs = (await client.get("/v1/jobs")).json()["jobs"]
            assert [job["id"] for job in jobs] == [answer.json()["id"]]
            other = await client.post(path, content=PNG, headers=headers)
            assert other.json()["id"] != answer.json()["id"], "the same header of another request says nothing"


@pytest.mark.parametrize("after", [0, 1, 2, 99])
async def test_a_gateway_that_dies_is_asked_once_more_with_the_whole_body(after: int) -> None:
    behind = Gateways(deaths=1, after=after)
    answer = await ask(behind)
    assert (answer.status_code, answer.content) == (200, b"one two three")
    assert len(behind.seen) == 2
    assert behind.unique_ids[0] == behind.unique_ids[1]
    again = Gateways()
    await ask(again)
    assert again.unique_ids[0] != behind.unique_ids[0], "another request has another"


async def test_two_deaths_are_told_in_our_words() -> None:
    behind = Gateways(deaths=2)
    answer = await ask(behind)
    assert len(behind.seen) == 2
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {
        "code": "gateway_unavailable",
        "message": "The gateway stopped before it answered: try again.",
        "details": [],
        "request_id": "mine",
    }
    assert answer.headers["x-request-id"] == "mine"


async def test_what_is_not_safe_or_too_large_to_repeat_is_not_repeated() -> None:
    for method, kept in (("DELETE", 100), ("POST", 5)):
        behind = Gateways(deaths=1)
        assert (await ask(behind, method, kept=kept)).status_code == 503
        assert len(behind.seen) == 1


async def test_a_large_body_passes_unkept() -> None:
    assert (await ask(Gateways(), kept=5)).content == b"one two three"


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (Said(404), 503, "gateway_unavailable"),
        (Said(408), 504, "deadline_exceeded"),
        (Said(503, {b"retry-after": b"7"}), 503, "overloaded"),
        (Said(500), 500, "internal"),
    ],
)
async def test_serves_own_errors_become_ours(said: Said, status: int, code: str) -> None:
    answer = await ask(said)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if b"retry-after" in said.headers:
        assert answer.headers["retry-after"] == "7"


async def test_other_answers_are_left_as_they_are() -> None:
    assert (await ask(Said(404, media=b"application/json"))).text == "in words"
    assert (await ask(Said(200))).text == "in words"


async def test_serves_own_pages_are_for_haproxy_alone() -> None:
    for path in ("/-/healthz", "/-/routes", "/%2D/healthz"):
        refused = await ask(Said(503), path=path)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
        assert (await ask(Said(503), path=path, place="spare")).text == "in words"


async def test_a_gateway_that_never_comes_back_has_a_deadline() -> None:
    class Never(Gateways):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if self.deaths:
                return await super().__call__(scope, receive, send)
            return await asyncio.Event().wait() and None

    answer = await ask(Never(deaths=1), within_s=0.1)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


async def test_a_body_that_stops_coming_is_the_callers_fault() -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield b"one "
        await asyncio.Event().wait()

    door = Doorway(Replay(Gateways(), kept_bytes=100, within_s=0.1), lambda: "proxy")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://test") as client:
        answer = await client.post("/v1/semantic", content=stalls())
    assert (answer.status_code, answer.json()["code"]) == (408, "request_timeout")


@pytest.mark.parametrize(("kept", "status"), [(100, 504), (5, 200)], ids=["kept", "too long to be kept"])
async def test_a_long_upload_has_as_long_as_the_gateway_gives_it(kept: int, status: int) -> None:
    async def works(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await skip(30)
        await Gateways()(scope, ended, send)

    async def ended() -> Message:
        return {"type": "http.request"}

    door = Doorway(Replay(works, kept_bytes=kept, within_s=20, longer_s=20), lambda: "proxy")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://test") as client:
        assert (await client.post("/v1/images", content=parts())).status_code == status


async def test_a_stream_that_has_begun_has_none() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(4):
            await skip(30)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    assert (await ask(stream, within_s=60)).content == b"xxxx"


async def test_a_caller_who_left_is_not_answered() -> None:
    sent: list[Message] = []
    calls = 0

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await receive()

    async def left() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/semantic", "headers": []}
    await Replay(behind, kept_bytes=9, within_s=60)(scope, left, send)
    assert (calls, sent) == (1, [])


async def test_in_a_gateways_own_replica_serves_words_are_replaced_and_nothing_is_repeated() -> None:
    async def ask_here(app: ASGIApp) -> httpx.Response:
        door = Doorway(Replay(app, where=lambda: "gateway"), lambda: "gateway")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://test") as client:
            return await client.post("/v1/semantic", content=parts(), headers={"X-Request-ID": "mine"})

    refused = await ask_here(Said(503, {b"retry-after": b"7"}))
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["request_id"]) == (503, "7", "mine")
    behind = Gateways(deaths=1)
    assert (await ask_here(behind)).json()["code"] == "gateway_unavailable"
    assert len(behind.seen) == 1
    passed = await ask_here(Gateways())
    assert passed.content == b"one two three"
