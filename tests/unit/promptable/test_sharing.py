"""Who shares an embedding: models with one encoder do, tenants and images never."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson

from services.promptable.pipeline import PromptablePipeline
from shared.calls import Caller, PromptCall, PromptOptions
from shared.errors import ImageNotFound
from shared.imaging.rle import decode as decode_rle
from shared.serving.batcher import Batcher
from shared.settings import Settings
from shared.store.keys import image_id
from tests.unit.promptable.conftest import CARD, Service, click
from tests.unit.promptable.intensity import GreyDecoder, png, stripes

REQUESTS = 1000
IMAGES = [png(stripes(30, 60 + 3 * number)) for number in range(10)]
"""Ten pictures whose middle stripes differ in width."""


def caller(tenant: str) -> Caller:
    return Caller(tenant, "request", time.time() + 60)


async def masks(pipeline: PromptablePipeline, tenant: str, index: int, with_image: bool) -> Any:
    """The answer to a click into the middle stripe of a picture."""
    width = 60 + 3 * index
    image = IMAGES[index]
    sent = image if with_image else None
    options = PromptOptions(multimask=False)
    call = PromptCall(image_id(image), (click(width / 2, 10),), caller(tenant), sent, options)
    return orjson.loads((await pipeline.segment(call)).body)


async def test_a_thousand_mixed_requests_of_two_tenants_see_their_own_image_only(service: Service) -> None:
    for tenant in ("a", "b"):
        for image in IMAGES:
            await service.images.put(tenant, image, 60, 30)
    turns = [(tenant, index) for tenant in ("a", "b") for index in range(len(IMAGES))] * (REQUESTS // 20)
    random.Random(0).shuffle(turns)
    places = asyncio.Semaphore(8)

    async def ask(number: int, tenant: str, index: int) -> tuple[int, Any]:
        async with places:
            return index, await masks(service.pipeline, tenant, index, with_image=number % 2 == 0)

    answers = await asyncio.gather(*(ask(number, *turn) for number, turn in enumerate(turns)))
    assert len(answers) == REQUESTS
    for index, answer in answers:
        width = 60 + 3 * index
        expected = np.zeros((30, width), np.bool_)
        expected[:, width // 3 : 2 * (width // 3)] = True
        assert answer["image_id"] == image_id(IMAGES[index])
        assert np.array_equal(decode_rle(answer["results"][0]["masks"][0]["rle"]), expected)
    assert service.encoder.runs == 2 * len(IMAGES), "once an image and tenant"


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110 (what is waited for sets no event)
            await asyncio.sleep(0.001)


async def test_prompts_of_several_images_and_tenants_meet_in_one_batch(service: Service) -> None:
    callers = [(tenant, index) for index in range(2) for tenant in ("a", "b")]
    for tenant, index in callers:
        await masks(service.pipeline, tenant, index, with_image=True)
    decoder, earlier = service.decoder, len(service.decoder.batches)
    decoder.go_on = threading.Event()

    def ask(tenant: str, index: int) -> asyncio.Task[Any]:
        return asyncio.create_task(masks(service.pipeline, tenant, index, with_image=True))

    first = ask(*callers[0])
    await eventually(lambda: len(decoder.batches) > earlier)
    asked = [ask(*turn) for turn in callers * 2]
    await eventually(lambda: service.sink.values("segserve_queue_depth", role="decoder")[-1] == len(asked))
    decoder.go_on.set()
    answers = await asyncio.gather(first, *asked)
    assert decoder.batches[earlier:] == [1, 4, 4], "one had begun, the others gathered up to the cap of four"
    assert decoder.embeddings[earlier:] == [1, 4, 4], "a batch has two images of two tenants each"
    assert service.sink.values("segserve_batch_size", role="decoder")[earlier:] == [1, 4, 4]
    assert [answer["width"] for answer in answers] == [60, *[60, 60, 63, 63] * 2]


async def test_an_image_of_one_tenant_is_unknown_to_another_even_when_it_is_in_memory(service: Service) -> None:
    await service.images.put("a", IMAGES[0], 60, 30)
    await masks(service.pipeline, "a", 0, with_image=True)
    try:
        await masks(service.pipeline, "b", 0, with_image=False)
    except ImageNotFound:
        return
    raise AssertionError("another tenant's image was answered")


async def test_models_with_one_encoder_share_its_embedding_and_others_do_not(service: Service) -> None:
    own = service.pipeline
    decoder = GreyDecoder()
    common: dict[str, Any] = {"max_batch": 4, "max_cost": 10**9, "max_queue": 8, "sink": service.sink}
    batcher: Batcher[Any, Any] = Batcher(decoder.predict, cost=decoder.cost, model="b", role="decoder", **common)

    def beside(name: str, fingerprint: str) -> PromptablePipeline:
        info = dataclasses.replace(own.info, name=name, encoder_fingerprint=fingerprint)
        stores = (service.images, service.embeddings)
        return PromptablePipeline(CARD, info, own.encoder, batcher, *stores, Settings(), service.sink, executor)

    with ThreadPoolExecutor(1) as executor:
        first = await masks(own, "a", 0, with_image=True)
        twin = await masks(beside("twin", own.info.encoder_fingerprint), "a", 0, with_image=True)
        other = await masks(beside("other", "g"), "a", 0, with_image=True)
        await batcher.close()
    assert [each["embedding"] for each in (first, twin, other)] == ["computed", "memory", "computed"]
    assert service.encoder.runs == 2
    assert twin["results"] == first["results"]
