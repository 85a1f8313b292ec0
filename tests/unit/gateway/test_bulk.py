"""Hundreds of images in one upload: progress, bounded memory and concurrency, errors of single images."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.gateway import bulk
from shared.errors import ModelUnavailable, Overloaded
from shared.schemas.resources import UploadedImage, UploadedImages
from shared.settings import Settings
from shared.store.keys import image_id
from tests.bad_input import IMAGES, PNG, picture
from tests.unit.gateway.asgi import Server
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.test_everything import EVENTS, permits, read
from tests.unit.gateway.tiny import Wand, info

Parts = list[tuple[str, tuple[str, bytes, str]]]


def parts(*images: bytes) -> Parts:
    return [("image", (f"{index}.png", data, "image/png")) for index, data in enumerate(images)]


def multipart(images: Parts, fields: dict[str, str]) -> tuple[bytes, str]:
    """The body and its content type, fields first."""
    request = httpx.Request("POST", "http://x", files=images, data=fields)
    return request.read(), request.headers["content-type"]


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    """The same without a length ahead of it."""
    for start in range(0, len(content), 500):
        yield content[start : start + 500]


async def test_events_tell_of_every_image(gateway: Running) -> None:
    images = parts(PNG, b"no image", *(picture(number) for number in range(30)))
    response = await gateway.client.post(IMAGES, files=images, data={"embed": "wand"}, headers=EVENTS)
    assert response.status_code == 200
    found = read(response)
    entries = {data["index"]: data for name, data in found if name == "image"}
    assert sorted(entries) == list(range(32))
    progress = [data for name, data in found if name == "progress"]
    assert progress[-1] == {"done": 32, "failed": 1, "total": 32}
    assert [name for name, _ in found][-1] == "result"
    answer = UploadedImages.model_validate(found[-1][1])
    assert answer.images[0] == UploadedImage.model_validate(found[-1][1]["images"][0])
    assert found[-1][1]["images"][1]["error"]["code"] == "unsupported_format"
    assert [{key: value for key, value in entries[n].items() if key != "index"} for n in range(32)] == found[-1][1][
        "images"
    ]
    assert gateway.wand.most_at_once <= bulk.AT_ONCE
    assert permits(gateway) == 0


async def test_of_several_embeddings_of_an_image_none_goes_on_when_one_fails() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        await begun.wait()
        raise ModelUnavailable

    slow, broken = (Wand(info(name, "promptable"), do) for name, do in (("slow", hang), ("broken", fail)))
    async with running(more=([], [slow, broken])) as gateway:
        refused = await gateway.client.post(IMAGES, files=parts(PNG), data={"embed": "slow,broken"})
        assert refused.json()["code"] == "model_unavailable"
        async with asyncio.timeout(30):
            await ended.wait()


async def test_one_image_may_be_followed_by_events_too(gateway: Running) -> None:
    response = await gateway.client.post(IMAGES, content=PNG, headers={"Content-Type": "image/png"} | EVENTS)
    assert [name for name, _ in read(response)] == ["image", "progress", "result"]
    refused = await gateway.client.post(IMAGES, files=parts(PNG), data={"embed": "nobody"}, headers=EVENTS)
    assert (refused.status_code, refused.json()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["json", "events"])
async def test_a_body_beyond_the_usual_limit_is_worked_on_as_it_comes(headers: dict[str, str], announced: bool) -> None:
    images = [picture(number % 200) for number in range(300)]
    body, kind = multipart(parts(*images), {"embed": "wand"})
    content = body if announced else pieces(body)
    async with running(settings=Settings(max_body_bytes=1024)) as gateway:
        response = await gateway.client.post(IMAGES, content=content, headers={"Content-Type": kind} | headers)
        assert response.status_code == 200, response.text
        answer = read(response)[-1][1] if headers else response.json()
        assert [entry["image_id"] for entry in answer["images"]] == [image_id(data) for data in images]
        assert all(entry["embeddings"]["wand"] in ("computed", "memory") for entry in answer["images"])
        assert gateway.wand.most_at_once <= bulk.AT_ONCE


async def test_a_short_body_without_a_length_is_read_whole(gateway: Running) -> None:
    body, kind = multipart(parts(PNG), {})
    response = await gateway.client.post(IMAGES, content=pieces(body), headers={"Content-Type": kind})
    assert response.json()["image_id"] == image_id(PNG)


async def test_reading_waits_while_the_models_are_busy() -> None:
    gate, full = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        if wand.embedding == bulk.AT_ONCE:
            full.set()
        await asyncio.wait_for(gate.wait(), 60)

    wand = Wand(info("wand", "promptable"), wait)
    body, kind = multipart(parts(*(picture(number) for number in range(100))), {"embed": "wand"})
    pieces = [body[start : start + 200] for start in range(0, len(body), 200)]
    async with running(wand=wand, settings=Settings(max_body_bytes=1024)) as gateway:
        length = str(len(body))
        server = Server(pieces[0], False, IMAGES, content_type=kind, content_length=length, accept="text/event-stream")
        for piece in pieces[1:]:
            server.feed(piece, piece is pieces[-1])
        request = asyncio.create_task(server.run(gateway.app))
        await asyncio.wait_for(full.wait(), 60)
        await asyncio.sleep(0.1)
        assert server.unread > 0.7 * len(pieces)
        gate.set()
        await asyncio.wait_for(request, 60)
        sent = b"".join(message.get("body", b"") for message in server.sent)
        assert sent.count(b"event: image\n") == 100
        assert wand.most_at_once == bulk.AT_ONCE


async def test_a_caller_who_leaves_ends_the_work() -> None:
    busy = asyncio.Event()

    async def hang() -> None:
        if wand.embedding == 2:
            busy.set()
        await asyncio.sleep(1000)

    wand = Wand(info("wand", "promptable"), hang)
    body, kind = multipart(parts(PNG, picture(3)), {"embed": "wand"})
    async with running(wand=wand) as gateway:
        server = Server(body, True, IMAGES, content_type=kind, accept="text/event-stream")
        request = asyncio.create_task(server.run(gateway.app))
        await asyncio.wait_for(busy.wait(), 60)
        server.leave()
        await asyncio.wait({request}, timeout=60)
        assert wand.embedding == 0
        assert permits(gateway) == 0


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_long_body_that_is_wrong_is_told_where(announced: bool) -> None:
    async with running(
        settings=Settings(max_body_bytes=1024, max_images_per_upload=20, max_upload_bytes=20_000)
    ) as gateway:

        async def post(content: bytes, kind: str) -> dict[str, Any]:
            sent = content if announced else pieces(content)
            response = await gateway.client.post(IMAGES, content=sent, headers={"Content-Type": kind})
            return {"status": response.status_code, **response.json()}

        body, kind = multipart(parts(*(picture(number) for number in range(15))), {})
        cut = await post(body[:-50], kind)
        assert (cut["status"], cut["code"]) == (400, "malformed")
        late, kind = multipart(parts(*(picture(number) for number in range(15))), {})
        boundary = kind.partition("boundary=")[2].encode()
        field = b'--%b\r\nContent-Disposition: form-data; name="embed"\r\n\r\nwand\r\n' % boundary
        end = b"--%b--\r\n" % boundary
        told = await post(late.removesuffix(end) + field + end, kind)
        assert (told["status"], told["details"][0]["field"]) == (422, "embed")
        many = await post(*multipart(parts(*(picture(number) for number in range(21))), {}))
        assert (many["status"], many["details"][0]["limit"]) == (422, "20")
        big = await post(*multipart(parts(b"x" * 2000), {}))
        assert (big["status"], big["code"]) == (413, "body_too_large")
        huge = await post(*multipart(parts(*[b"x" * 1000] * 30), {}))
        assert (huge["status"], huge["details"][0]["limit"]) == (413, "20000")


async def test_a_busy_model_is_waited_for() -> None:
    refusals = [Overloaded(retry_after_s=0.01)] * 3

    async def busy() -> None:
        if refusals:
            raise refusals.pop()

    async with running(wand=Wand(info("wand", "promptable"), busy)) as gateway:
        response = await gateway.client.post(IMAGES, files=parts(PNG, picture(3)), data={"embed": "wand"})
        assert [entry["embeddings"] for entry in response.json()["images"]] == [{"wand": "computed"}] * 2
    assert json.loads(response.content)["images"][0]["image_id"] == image_id(PNG)
