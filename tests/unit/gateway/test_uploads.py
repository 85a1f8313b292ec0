"""Every way to send an image, each of which must reach the service as the same bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.body import decode_base64
from shared.errors import Malformed
from shared.schemas.answers import SemanticAnswer
from shared.settings import Settings
from shared.store.keys import image_id
from tests.bad_input import IMAGES, PNG, SEMANTIC
from tests.unit.gateway.running import Running, running

TEXT = base64.b64encode(PNG).decode()

WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "raw": lambda: {"content": PNG, "headers": {"Content-Type": "image/png"}},
    "raw, of unknown type": lambda: {"content": PNG, "headers": {"Content-Type": "application/octet-stream"}},
    "raw, wrongly named": lambda: {"content": PNG, "headers": {"Content-Type": "image/jpeg; q=1"}},
    "multipart": lambda: {"files": {"image": ("a.png", PNG, "image/png")}},
    "multipart without a file name": lambda: {"files": {"image": (None, PNG, "image/png")}},
    "JSON": lambda: {"json": {"image": TEXT}},
    "JSON, slashes escaped": lambda: {
        "content": json.dumps({"image": TEXT}).replace("/", "\\/"),
        "headers": {"Content-Type": "application/json; charset=utf-8"},
    },
    "JSON, data URI": lambda: {"json": {"image": f"data:image/png;base64,{TEXT}"}},
    "JSON, in lines": lambda: {"json": {"image": base64.encodebytes(PNG).decode()}},
    "JSON, URL-safe and unpadded": lambda: {"json": {"image": base64.urlsafe_b64encode(PNG).decode().rstrip("=")}},
    "image id in JSON": lambda: {"json": {"image_id": image_id(PNG)}},
    "image id in the query": lambda: {"params": {"image_id": image_id(PNG)}},
    "image id in a form": lambda: {"data": {"image_id": image_id(PNG)}},
    "image and its own id": lambda: {"json": {"image": TEXT, "image_id": image_id(PNG)}},
}


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_brings_the_same_bytes(way: str, gateway: Running) -> None:
    await gateway.images.put("public", PNG, 64, 48)
    response = await gateway.client.post(SEMANTIC, **WAYS[way]())
    assert response.status_code == 200, response.text
    assert gateway.dense.calls[-1].image == PNG
    answer = SemanticAnswer.model_validate_json(response.content)
    assert (answer.width, answer.height) == (64, 48)
    assert answer.segments[0].area == 64 * 48 // 2


async def test_a_body_in_pieces_is_taken_up_to_the_limit() -> None:
    async with running(settings=Settings(max_body_bytes=4096)) as gateway:
        for size, status in ((4096, 415), (4097, 413)):
            response = await gateway.client.post(
                SEMANTIC, content=bytes(size), headers={"Content-Type": "application/octet-stream"}
            )
            assert response.status_code == status


async def test_large_bodies_are_parsed_off_the_loop_with_the_same_result(gateway: Running) -> None:
    padded = PNG + bytes(400_000)
    for arguments in (
        {"files": {"image": ("a.png", padded, "image/png")}},
        {"json": {"image": base64.b64encode(padded).decode()}},
    ):
        response = await gateway.client.post(SEMANTIC, **arguments)
        assert response.status_code == 200, response.text
        assert gateway.dense.calls[-1].image == padded


async def test_options_mean_the_same_in_query_form_and_json(gateway: Running) -> None:
    fields = {"min_confidence": 0.25, "tta": True, "classes": ["road", "car"], "format": "polygon", "simplify": 2}
    as_text = {"min_confidence": ".25", "tta": "true", "classes": "road, car", "format": "polygon", "simplify": "2"}
    image = {"image": ("a.png", PNG, "image/png")}
    for arguments in (
        {"json": {"image": TEXT, **fields}},
        {"files": image, "params": as_text},
        {"files": image, "data": as_text},
        {"files": image, "params": {"min_confidence": ".25", "tta": "1"}, "data": {
            "classes": '["road", "car"]', "format": "polygon", "simplify": "2e0"}},
        {"files": image, "data": {**as_text, "classes": ["road", "car"]}},
    ):  # fmt: skip
        response = await gateway.client.post(SEMANTIC, **arguments)
        assert response.status_code == 200, response.text
    first, *rest = [call.options for call in gateway.dense.calls]
    assert first.classes == ("road", "car")
    assert first.min_confidence == 0.25
    assert first.tta
    assert all(options == first for options in rest)


async def test_sizes_of_images_are_counted(gateway: Running) -> None:
    await gateway.client.post(SEMANTIC, **WAYS["raw"]())
    assert gateway.sink.values("segserve_image_bytes") == [len(PNG)]
    assert gateway.sink.values("segserve_image_pixels") == [64 * 48]


async def test_another_tenants_image_is_not_found() -> None:
    async with running() as gateway:
        await gateway.images.put("somebody else", PNG, 64, 48)
        response = await gateway.client.post(SEMANTIC, json={"image_id": image_id(PNG)})
        assert response.status_code == 404
        assert (await gateway.client.get(f"{IMAGES}/{image_id(PNG)}")).status_code == 404


@pytest.mark.parametrize("text", ["a", "a===", "ab=c", "äöü=", "YQ==YQ==", "data:;base64", "data:,YQ=="])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as raised:
        decode_base64(text, "image")
    assert raised.value.details[0].field == "image"
