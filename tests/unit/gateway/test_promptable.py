"""Prompts over HTTP: typed for the model, on images sent, stored or merely remembered by the service."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from shared.errors import ImageStoreUnavailable
from shared.schemas.answers import PromptableAnswer
from shared.store.images import ImageRecord
from shared.store.images_memory import MemoryImageStore
from shared.store.keys import image_id
from tests.bad_input import HEIGHT, PNG, PROMPTABLE, WIDTH, picture
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Wand, info

CLICK = [{"points": [[WIDTH - 1, 1]]}]
IMAGE = {"image": ("a.png", PNG, "image/png")}


async def click(gateway: Running, prompts: Any = CLICK, **fields: Any) -> httpx.Response:
    """Prompts on the picture, as multipart."""
    data = {"prompts": json.dumps(prompts), **fields}
    return await gateway.client.post(PROMPTABLE, files=IMAGE, data=data)


class Unreachable(MemoryImageStore):
    """A store that does not answer."""

    async def put(self, tenant: str, data: bytes, width: int, height: int, image_id: str | None = None) -> ImageRecord:
        raise ImageStoreUnavailable

    async def get(self, tenant: str, image_id: str) -> bytes:
        raise ImageStoreUnavailable

    async def head(self, tenant: str, image_id: str) -> ImageRecord:
        raise ImageStoreUnavailable


async def test_a_click_selects_what_it_hits(gateway: Running) -> None:
    response = await click(gateway, [{"points": [[WIDTH - 1, HEIGHT - 1]]}, {"points": [[0, 0]]}])
    answer = PromptableAnswer.model_validate_json(response.content)
    assert answer.image_id == image_id(PNG)
    boxes = [result.masks[0].box for result in answer.results]
    assert boxes == [[WIDTH // 2, 0, WIDTH, HEIGHT], [0, 0, WIDTH // 2, HEIGHT]]


async def test_prompts_reach_the_service_as_typed_arrays(gateway: Running) -> None:
    logits = np.arange(16, dtype=np.float16).reshape(4, 4) / 3
    mask = {"shape": [4, 4], "dtype": "float16", "data": base64.b64encode(logits.tobytes()).decode()}
    prompts = [
        {"points": [[1, 2], [3.5, 4]], "labels": [1, 0], "box": [0, 0, WIDTH, HEIGHT]},
        {"points": [[5, 6]], "mask": mask},
    ]
    await click(gateway, prompts, multimask="true", return_logits="1")
    call = gateway.wand.calls[0]
    first, second = call.prompts
    assert first.points.dtype == np.float32
    assert first.points.tolist() == [[1, 2], [3.5, 4]]
    assert first.labels.tolist() == [1, 0]
    assert list(first.box or ()) == [0, 0, WIDTH, HEIGHT]
    assert second.labels.tolist() == [1]
    assert second.mask is not None
    assert np.array_equal(second.mask, logits.astype(np.float32))
    assert call.options.multimask
    assert call.options.return_logits


async def test_the_second_prompt_needs_only_the_id(gateway: Running) -> None:
    first = (await click(gateway)).json()
    response = await gateway.client.post(PROMPTABLE, json={"image_id": first["image_id"], "prompts": CLICK})
    assert response.status_code == 200
    second = response.json()
    assert (first["embedding"], second["embedding"]) == ("computed", "memory")
    assert second["results"] == first["results"]
    assert gateway.wand.calls[1].image is None


async def test_a_service_that_forgot_the_image_is_given_it_again() -> None:
    async with running() as gateway:
        await gateway.images.put("public", PNG, WIDTH, HEIGHT)
        response = await gateway.client.post(PROMPTABLE, json={"image_id": image_id(PNG), "prompts": CLICK})
        assert response.json()["embedding"] == "computed"
        assert [call.image for call in gateway.wand.calls] == [None, PNG]


async def test_store_false_keeps_nothing(gateway: Running) -> None:
    response = await click(gateway, store="false")
    assert response.status_code == 200
    assert not gateway.wand.calls[0].options.store
    assert not await gateway.images.exists("public", image_id(PNG))


async def test_points_are_checked_against_the_stored_size(gateway: Running) -> None:
    await click(gateway)
    outside = [{"points": [[WIDTH + 1, 0]]}]
    response = await gateway.client.post(PROMPTABLE, json={"image_id": image_id(PNG), "prompts": outside})
    assert response.status_code == 422
    assert f"{WIDTH}x{HEIGHT}" in response.json()["details"][0]["limit"]


async def test_an_image_with_prompts_is_answered_while_the_store_is_down() -> None:
    async with running(images=Unreachable) as gateway:
        assert (await click(gateway)).status_code == 200
        known = await gateway.client.post(PROMPTABLE, json={"image_id": image_id(PNG), "prompts": CLICK})
        assert known.json()["embedding"] == "memory"
        unknown = await gateway.client.post(PROMPTABLE, json={"image_id": image_id(picture(9)), "prompts": CLICK})
        assert (unknown.status_code, unknown.json()["code"]) == (503, "image_store_unavailable")
        assert "retry-after" in unknown.headers


async def test_a_store_that_does_not_answer_is_asked_once_a_request() -> None:
    asked: list[str] = []

    class Counting(Unreachable):
        async def get(self, tenant: str, image_id: str) -> bytes:
            asked.append("get")
            return await super().get(tenant, image_id)

        async def head(self, tenant: str, image_id: str) -> ImageRecord:
            asked.append("head")
            return await super().head(tenant, image_id)

    async with running(images=Counting) as gateway:
        answer = await gateway.client.post(PROMPTABLE, json={"image_id": image_id(PNG), "prompts": CLICK})
    assert answer.status_code == 503
    assert asked == ["head"]


@pytest.mark.parametrize("taken", [True, False])
async def test_text_only_where_the_model_takes_it(taken: bool) -> None:
    wand = Wand(replace(info("wand", "promptable"), text_prompts=taken))
    async with running(wand=wand) as gateway:
        response = await click(gateway, [{"points": [[1, 1]], "text": "car"}])
        assert response.status_code == (200 if taken else 422)
