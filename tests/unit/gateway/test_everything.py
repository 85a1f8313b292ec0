"""Everything mode over HTTP: one answer, or events while it goes on; errors, callers who leave, permits, deadlines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from services.gateway import events
from shared.errors import InvalidOption
from shared.schemas.answers import EverythingAnswer
from shared.settings import Settings
from shared.store.keys import image_id
from tests.bad_input import HEIGHT, PNG, WIDTH, picture
from tests.unit.gateway.asgi import Server
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Wand, info
from tests.unit.serving.held import settle, skip

PATH = "/v1/promptable/everything"
EVENTS = {"Accept": "text/event-stream"}
RAW = {"Content-Type": "image/png"}


def read(response: httpx.Response) -> list[tuple[str, Any]]:
    """The events of a stream; comments are passed over."""
    found = []
    for block in response.text.split("\n\n")[:-1]:
        if not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def permits(gateway: Running) -> int:
    taken: int = gateway.app.state.gateway.permits.taken
    return taken


async def test_every_mask_in_one_answer(gateway: Running) -> None:
    response = await gateway.client.post(PATH, content=PNG, headers=RAW)
    assert response.status_code == 200, response.text
    answer = EverythingAnswer.model_validate_json(response.content)
    assert [mask.box for mask in answer.masks] == [[0, 0, WIDTH // 2, HEIGHT], [WIDTH // 2, 0, WIDTH, HEIGHT]]
    assert (answer.image_id, answer.embedding) == (image_id(PNG), "computed")
    assert "service;dur=" in response.headers["server-timing"]
    assert not gateway.wand.generated[0].live


async def test_the_image_is_kept_and_its_id_is_enough(gateway: Running) -> None:
    first = (await gateway.client.post(PATH, content=PNG, headers=RAW)).json()
    again = await gateway.client.post(PATH, json={"image_id": first["image_id"]})
    assert again.json()["masks"] == first["masks"]
    assert gateway.wand.generated[1].image is None
    await gateway.client.post(PATH, content=picture(3), headers=RAW, params={"store": "false"})
    assert not await gateway.images.exists("public", image_id(picture(3)))


async def test_a_service_that_forgot_the_image_is_given_it_again() -> None:
    async with running() as gateway:
        await gateway.images.put("public", PNG, WIDTH, HEIGHT)
        for headers in ({}, EVENTS):
            response = await gateway.client.post(PATH, json={"image_id": image_id(PNG)}, headers=headers)
            assert response.status_code == 200
        assert [call.image for call in gateway.wand.generated] == [None, PNG, None]


async def test_parameters_reach_the_service_by_the_names_of_sam(gateway: Running) -> None:
    sent = {
        "points_per_side": 16,
        "points_per_batch": 32,
        "pred_iou_thresh": 0.5,
        "stability_score_thresh": 0.6,
        "stability_score_offset": 0.7,
        "box_nms_thresh": 0.8,
        "crop_n_layers": 1,
        "crop_nms_thresh": 0.65,
        "crop_overlap_ratio": 0.25,
        "crop_n_points_downscale_factor": 2,
        "min_mask_region_area": 100,
    }
    form = {name: str(value) for name, value in sent.items()} | {"point_grids": "[[[0.5, 0.25]], [[0.1, 0.2]]]"}
    response = await gateway.client.post(PATH, files={"image": ("a.png", PNG)}, data=form)
    assert response.status_code == 200, response.text
    options = gateway.wand.generated[0].options
    assert {name: getattr(options, name) for name in sent} == sent
    assert options.point_grids == (((0.5, 0.25),), ((0.1, 0.2),))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("points_per_side", 0),
        ("points_per_side", 181),
        ("points_per_batch", 1025),
        ("pred_iou_thresh", 1.1),
        ("crop_n_layers", 4),
        ("crop_overlap_ratio", 1),
        ("stability_score_offset", 0),
        ("min_mask_region_area", -1),
        ("format", "npz"),
        ("point_per_side", 3),
        ("point_grids", []),
    ],
)
@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["json", "events"])
async def test_what_is_outside_the_limits_is_named(
    field: str, value: Any, headers: dict[str, str], gateway: Running
) -> None:
    response = await gateway.client.post(PATH, json={"image_id": image_id(PNG), field: value}, headers=headers)
    assert response.status_code == 422
    assert response.json()["details"][0]["field"] == field
    assert permits(gateway) == 0


async def test_events_come_one_by_one_and_end_with_the_answer(gateway: Running) -> None:
    response = await gateway.client.post(PATH, content=PNG, headers=RAW | EVENTS)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    found = read(response)
    assert [name for name, _ in found] == ["mask", "progress", "mask", "progress", "result"]
    answer = EverythingAnswer.model_validate(found[-1][1])
    assert [mask.area for mask in answer.masks] == [data["area"] for name, data in found if name == "mask"]
    assert answer.request_id == response.headers["x-request-id"]
    assert gateway.wand.generated[0].live
    assert permits(gateway) == 0
    less = {"Accept": "application/json, text/event-stream;q=.5"}
    plain = await gateway.client.post(PATH, content=PNG, headers=RAW | less)
    assert plain.headers["content-type"] == "application/json"


async def test_an_error_before_the_first_event_is_an_ordinary_answer(gateway: Running) -> None:
    unknown = await gateway.client.post(PATH, json={"image_id": image_id(picture(9))}, headers=EVENTS)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "image_not_found")
    nobody = await gateway.client.post(PATH, content=PNG, params={"model": "none"}, headers=RAW | EVENTS)
    assert (nobody.status_code, nobody.json()["code"]) == (404, "model_not_found")


async def test_an_error_later_is_the_last_event() -> None:
    async def fail() -> None:
        raise InvalidOption.of("points_per_side", 9, 3, "too many")

    async with running(wand=Wand(info("wand", "promptable"), fail)) as gateway:
        response = await gateway.client.post(PATH, content=PNG, headers=RAW | EVENTS)
        assert response.status_code == 200
        found = read(response)
        assert [name for name, _ in found] == ["mask", "progress", "error"]
        assert found[-1][1]["code"] == "invalid_option"
        assert found[-1][1]["details"][0]["field"] == "points_per_side"
        assert found[-1][1]["request_id"] == response.headers["x-request-id"]
        assert permits(gateway) == 0


async def test_an_unforeseen_failure_shows_nothing_of_its_cause() -> None:
    async def fail() -> None:
        raise ArithmeticError("secret")

    async with running(wand=Wand(info("wand", "promptable"), fail)) as gateway:
        response = await gateway.client.post(PATH, content=PNG, headers=RAW | EVENTS)
        assert read(response)[-1][1]["code"] == "internal"
        assert "secret" not in response.text


async def test_a_silent_stream_is_kept_alive() -> None:
    async def long() -> None:
        for _ in range(3):
            await skip(events.KEEP_ALIVE_S)

    async with running(wand=Wand(info("wand", "promptable"), long)) as gateway:
        response = await gateway.client.post(PATH, content=PNG, headers=RAW | EVENTS)
        assert response.text.count(": working\n\n") >= 2
        assert read(response)[-1][0] == "result"


async def test_a_stream_has_a_deadline_of_its_own() -> None:
    async with running(settings=Settings(request_timeout_s=5, stream_timeout_s=500)) as gateway:
        await gateway.client.post(PATH, content=PNG, headers=RAW)
        await gateway.client.post(PATH, content=PNG, headers=RAW | EVENTS)
        plain, stream = (call.caller.deadline for call in gateway.wand.generated)
        assert 490 < stream - plain < 510


async def test_work_ends_with_its_caller_and_the_permit_is_given_back() -> None:
    waiting = asyncio.Event()

    async def hang() -> None:
        waiting.set()
        await asyncio.sleep(1000)

    async with running(wand=Wand(info("wand", "promptable"), hang)) as gateway:
        server = Server(PNG, path=PATH, accept="text/event-stream")
        request = asyncio.create_task(server.run(gateway.app))
        await waiting.wait()
        await settle()
        assert permits(gateway) == 1
        assert b"event: mask" in b"".join(message.get("body", b"") for message in server.sent)
        server.leave()
        await asyncio.wait({request}, timeout=60)
        assert request.done()
        assert len(gateway.wand.ended) == 1
        assert permits(gateway) == 0
        assert gateway.sink.total("segserve_client_gone_total", route=PATH) == 1
