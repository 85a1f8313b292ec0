"""The promptable pipeline over a model that is easily checked: caching, tenants, order, defaults, errors."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.promptable import pipeline
from shared.calls import Caller, PromptCall
from shared.errors import (
    DeadlineExceeded,
    ImageNotFound,
    ImageStoreUnavailable,
    InvalidOption,
    Malformed,
)
from shared.imaging.rle import decode as decode_rle
from shared.store.images import Resolution, Unreachable
from shared.store.images_memory import MemoryImageStore
from shared.store.keys import image_id
from shared.types import DecoderInput, Embedding, Prompt
from tests.unit.promptable.conftest import Service, click
from tests.unit.promptable.intensity import png, stripes

IMAGE = png(stripes())
OTHER = png(stripes(shift=20))


def masks(body: dict[str, Any]) -> list[list[np.ndarray[Any, Any]]]:
    return [[decode_rle(mask["rle"]) for mask in result["masks"]] for result in body["results"]]


async def test_a_click_finds_its_stripe(service: Service) -> None:
    body = await service.ask(IMAGE, click(30, 10))
    assert body["image_id"] == image_id(IMAGE)
    assert (body["task"], body["width"], body["height"], body["embedding"]) == ("promptable", 60, 30, "computed")
    found = masks(body)[0]
    scores = [mask["predicted_iou"] for mask in body["results"][0]["masks"]]
    assert scores == sorted(scores, reverse=True)
    assert len(found) == 3
    expected = np.zeros((30, 60), dtype=bool)
    expected[:, 20:40] = True
    narrow = next(mask for mask in body["results"][0]["masks"] if mask["predicted_iou"] == 0.7)
    assert np.array_equal(decode_rle(narrow["rle"]), expected)
    assert (narrow["box"], narrow["area"], narrow["stability_score"]) == ([20, 0, 40, 30], 600, 1.0)
    assert narrow["score"] is None
    assert "logits" not in narrow


async def test_the_second_prompt_needs_no_encoder(service: Service) -> None:
    await service.images.put("a", IMAGE, 60, 30)
    first = await service.ask(IMAGE, click(30, 10))
    by_bytes = await service.ask(IMAGE, click(30, 10))
    by_id = await service.ask(None, click(30, 10), identifier=image_id(IMAGE))
    assert service.encoder.runs == 1
    assert service.sink.total("segserve_encoder_runs_total", model="grey") == 1
    assert [body["embedding"] for body in (first, by_bytes, by_id)] == ["computed", "memory", "memory"]
    assert first["results"] == by_bytes["results"] == by_id["results"]


async def test_a_hit_does_not_even_look_at_the_bytes(service: Service) -> None:
    await service.embed(IMAGE)
    body = await service.ask(b"no image at all", click(30, 10), identifier=image_id(IMAGE))
    assert body["embedding"] == "memory"


async def test_callers_at_once_share_one_encoder_run(service: Service) -> None:
    bodies = await asyncio.gather(*(service.ask(IMAGE, click(x, 10)) for x in (5, 25, 45, 55)))
    assert service.encoder.runs == 1
    assert {body["embedding"] for body in bodies} == {"computed"}


async def test_embed_ahead(service: Service) -> None:
    assert await service.embed(IMAGE) == "computed"
    assert await service.embed(IMAGE) == "memory"
    assert (await service.ask(IMAGE, click(30, 10)))["embedding"] == "memory"
    assert service.encoder.runs == 1


async def test_an_id_alone_is_fetched_and_embedded(service: Service) -> None:
    record = await service.images.put("a", IMAGE, 60, 30)
    body = await service.ask(None, click(30, 10), identifier=record.image_id)
    assert body["embedding"] == "computed"
    assert service.encoder.runs == 1


async def test_tenants_share_nothing(service: Service) -> None:
    await service.images.put("a", IMAGE, 60, 30)
    await service.ask(IMAGE, click(30, 10))
    service.tenant = "b"
    with pytest.raises(ImageNotFound):
        await service.ask(None, click(30, 10), identifier=image_id(IMAGE))
    assert (await service.ask(IMAGE, click(30, 10)))["embedding"] == "computed"
    assert service.encoder.runs == 2


async def test_a_deleted_image_is_gone_whatever_memory_holds(service: Service) -> None:
    await service.images.put("a", IMAGE, 60, 30)
    await service.ask(IMAGE, click(30, 10))
    await service.images.delete("a", image_id(IMAGE))
    with pytest.raises(ImageNotFound):
        await service.ask(None, click(30, 10), identifier=image_id(IMAGE))


class Gone(MemoryImageStore):
    """A store that does not answer."""

    async def resolve(self, tenant: str, image_id: str) -> Resolution:
        return Unreachable(ImageStoreUnavailable())

    async def get(self, tenant: str, image_id: str) -> bytes:
        raise ImageStoreUnavailable


async def test_with_the_store_out_of_reach_memory_answers(service: Service) -> None:
    service.pipeline._images = Gone(1, 1, service.sink)
    with pytest.raises(ImageStoreUnavailable):
        await service.ask(None, click(30, 10), identifier=image_id(IMAGE))
    assert (await service.ask(IMAGE, click(30, 10)))["embedding"] == "computed"
    assert (await service.ask(None, click(30, 10), identifier=image_id(IMAGE)))["embedding"] == "memory"


async def test_what_the_store_said_on_the_way_is_not_asked_again(service: Service) -> None:
    class Asked(Gone):
        async def resolve(self, tenant: str, image_id: str) -> Resolution:
            raise AssertionError("asked again")

    await service.ask(IMAGE, click(30, 10))
    service.pipeline._images = Asked(1, 1, service.sink)
    for stored in (True, False):
        call = replace(service.call(None, click(30, 10), identifier=image_id(IMAGE)), stored=stored)
        assert await service.pipeline.embedding(call)
    unseen = replace(service.call(None, click(30, 10), identifier=image_id(OTHER)), stored=False)
    with pytest.raises(ImageStoreUnavailable):
        await service.pipeline.segment(unseen)


async def test_store_false_keeps_nothing(service: Service) -> None:
    for _ in range(2):
        body = await service.ask(IMAGE, click(30, 10), store=False)
        assert body["embedding"] == "computed"
    assert service.encoder.runs == 2


async def test_many_prompts_keep_their_order(service: Service) -> None:
    generator = np.random.default_rng(0)
    places = generator.uniform([0, 0], [60, 30], (100, 2))
    body = await service.ask(IMAGE, *(click(x, y) for x, y in places), multimask=False)
    for (x, y), found in zip(places, masks(body), strict=True):
        assert len(found) == 1
        assert found[0][int(y), int(x)]
        assert found[0].sum() == 600
    assert service.sink.total("segserve_decoder_prompts_total", model="grey") == 100
    assert max(service.decoder.batches) == 4
    assert sum(service.decoder.batches) == 100


async def test_two_images_at_once_are_not_mixed_up(service: Service) -> None:
    bodies = await asyncio.gather(*(service.ask(image, click(5, 5)) for image in (IMAGE, OTHER) * 4))
    wanted = (image_id(IMAGE), image_id(OTHER))
    assert all(body["results"] == bodies[index % 2]["results"] for index, body in enumerate(bodies))
    assert [body["image_id"] for body in bodies] == [*wanted] * 4
    assert service.encoder.runs == 2


@pytest.mark.parametrize(
    ("prompt", "multimask", "candidates"),
    [
        (click(5, 5), None, 3),
        (click(5, 5), False, 1),
        (click(5, 5, label=0), None, 1),
        (Prompt(box=(1, 1, 9, 9)), None, 1),
        (Prompt(box=(1, 1, 9, 9)), True, 3),
        (Prompt(np.ones((2, 2), np.float32), np.ones(2, np.int32)), None, 1),
        (Prompt(np.ones((1, 2), np.float32), np.ones(1, np.int32), box=(1, 1, 9, 9)), None, 1),
        (Prompt(np.ones((1, 2), np.float32), np.ones(1, np.int32), mask=np.zeros((30, 60), np.float32)), None, 1),
    ],
)
async def test_three_candidates_for_a_single_click(
    service: Service, prompt: Prompt, multimask: bool | None, candidates: int
) -> None:
    body = await service.ask(IMAGE, prompt, multimask=multimask)
    assert len(body["results"][0]["masks"]) == candidates


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        (click(60.5, 3), "prompts[1].points[0][0]"),
        (click(3, -1), "prompts[1].points[0][1]"),
        (click(float("nan"), 3), "prompts[1].points[0][0]"),
        (Prompt(box=(0, 0, 61, 30)), "prompts[1].box[2]"),
        (Prompt(box=(5, 5, 5, 30)), "prompts[1].box"),
        (Prompt(box=(float("nan"), 5, 6, 30)), "prompts[1].box"),
        (Prompt(), "prompts[1]"),
        (Prompt(text="a cat"), "prompts[1].text"),
        (click(3, 3, label=2), "prompts[1].labels"),
        (Prompt(np.ones((2, 2), np.float32), np.ones(1, np.int32)), "prompts[1].labels"),
        (Prompt(mask=np.zeros((3, 3), np.float32)), "prompts[1].mask"),
    ],
)
async def test_a_wrong_prompt_is_named(service: Service, prompt: Prompt, field: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        await service.ask(IMAGE, click(1, 1), prompt)
    assert caught.value.details[0].field == field
    assert caught.value.message.startswith(field)


async def test_what_is_no_image_is_malformed_and_not_kept(service: Service) -> None:
    broken = IMAGE[:60]
    for _ in range(2):
        with pytest.raises(Malformed):
            await service.ask(broken, click(1, 1))
    assert service.encoder.runs == 0


async def test_the_deadline_is_kept(service: Service) -> None:
    late = PromptCall(image_id(IMAGE), (click(1, 1),), Caller("a", "r", time.time() - 1), IMAGE)
    with pytest.raises(DeadlineExceeded):
        await service.pipeline.segment(late)


async def test_the_queue_is_never_full_of_one_request(service: Service) -> None:
    assert service.pipeline._batcher.caps.max_queue == 8
    body = await service.ask(IMAGE, *[click(1, 1)] * 50)
    assert len(body["results"]) == 50


@pytest.mark.parametrize(("held", "at_once"), [(2**40, 8), (0, 4)])
async def test_on_a_large_image_one_batch_of_masks_is_there_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch, held: int, at_once: int
) -> None:
    monkeypatch.setattr(pipeline, "HELD_PIXELS", held)
    assert service.pipeline._batcher.caps.max_batch == 4
    embedding = Embedding((1000, 1000), ())
    items = [DecoderInput(embedding, click(1, 1)) for _ in range(20)]
    there = most = 0

    async def work(index: int, _: DecoderInput) -> int:
        nonlocal there, most
        there += 1
        most = max(most, there)
        await asyncio.sleep(0)
        there -= 1
        return index

    assert await service.pipeline.each(items, work) == list(range(20))
    assert most == at_once


async def test_stages_are_timed(service: Service) -> None:
    answer = await service.answer(IMAGE, click(1, 1))
    assert [name for name, _ in answer.timings] == ["embedding", "predict", "encode"]
    assert all(seconds >= 0 for _, seconds in answer.timings)
