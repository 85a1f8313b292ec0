"""The store full, crowded, or asked by callers who leave: every answer right or an honest miss."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import numpy as np
import pytest
import redis

from deploy.valkey import EmbeddedValkey
from shared.errors import ImageNotFound, ImageStoreUnavailable
from shared.settings import Settings
from shared.store.keys import image_id, parse_image_id
from shared.store.metrics import BREAKER_OPEN, ERRORS
from shared.store.opening import Stores, open_stores
from shared.store.redis import CONCURRENT_CALLS
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

MIB = 2**20


@pytest.fixture(params=["volatile-ttl", "noeviction"])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(memory_bytes=16 * MIB, eviction=request.param) as valkey:
        yield valkey


@pytest.fixture
def settings(server: EmbeddedValkey) -> Settings:
    return Settings.model_validate({"redis_url": server.url, "redis_timeout_s": 2.0, "max_stored_bytes": 4 * MIB})


only_evicting = pytest.mark.parametrize("server", ["volatile-ttl"], indirect=True)


def picture(number: int, size: int = MIB) -> bytes:
    return number.to_bytes(4) * (size // 4)


@only_evicting
async def test_a_full_store_makes_room(stores: Stores, sink: RecordingSink) -> None:
    for number in range(64):
        record = await stores.images.put("t", picture(number), 1, 1)
        assert await stores.images.get("t", record.image_id) == picture(number)
    assert sink.total(ERRORS) == 0


@pytest.mark.parametrize("server", ["noeviction"], indirect=True)
async def test_a_full_store_that_makes_no_room_still_answers_and_deletes(stores: Stores, sink: RecordingSink) -> None:
    kept: list[str] = []

    async def fill() -> None:
        for number in range(64):
            record = await stores.images.put("t", picture(number), 1, 1)
            kept.append(record.image_id)

    with pytest.raises(ImageStoreUnavailable):
        await fill()
    assert 8 <= len(kept) < 16
    assert sink.total(ERRORS, operation="image_put", reason="full") == 1

    async def compute() -> Embedding:
        return Embedding((1, 1), (np.zeros(MIB, np.float16),))

    assert (await stores.embeddings.get_or_compute("t", parse_image_id(kept[0]), "f", compute))[1] == "computed"
    await stores.embeddings.flush()
    assert sink.total(ERRORS, operation="embedding_put", reason="full") == 1
    assert await stores.images.get("t", kept[0]) == picture(0)
    assert sink.values(BREAKER_OPEN) == [0.0], "a full store answers: it is not skipped"
    for image in kept:
        assert await stores.images.delete("t", image)
    assert (await stores.images.put("t", picture(99), 1, 1)).image_id not in kept


@only_evicting
async def test_a_value_over_the_cap_never_empties_the_store(
    server: EmbeddedValkey, stores: Stores, sink: RecordingSink
) -> None:
    kept = [(await stores.images.put("t", picture(number), 1, 1)).image_id for number in range(8)]

    async def compute() -> Embedding:
        return Embedding((1, 1), (np.zeros(16 * MIB, np.float16),))

    for number in range(3):
        await stores.embeddings.get_or_compute("t", f"{number:064x}", "f", compute)
    await stores.embeddings.flush()
    assert sink.total(ERRORS, operation="embedding_put") == 3
    assert [await stores.images.exists("t", image) for image in kept] == [True] * 8
    with redis.Redis.from_url(server.url) as client:
        assert client.info("stats")["evicted_keys"] == 0


@only_evicting
async def test_callers_who_leave_never_leave_another_ones_answer_behind(
    server: EmbeddedValkey, stores: Stores, sink: RecordingSink
) -> None:
    pictures = {image_id(data): data for data in (picture(number, 64 * 1024) for number in range(16))}
    for data in pictures.values():
        await stores.images.put("t", data, 1, 1)
    dice = random.Random(7)
    names = list(pictures)

    async def read(image: str) -> None:
        assert await stores.images.get("t", image) == pictures[image]

    callers: list[asyncio.Task[None]] = []
    for _ in range(600):
        callers.append(asyncio.create_task(read(dice.choice(names))))
        if dice.random() < 0.5:
            dice.choice(callers[-20:]).cancel()
        await asyncio.sleep(dice.random() * 0.002)
    results = await asyncio.gather(*callers, return_exceptions=True)
    left = sum(isinstance(result, asyncio.CancelledError) for result in results)
    assert 0 < left < 600
    assert all(result is None for result in results if not isinstance(result, asyncio.CancelledError))
    assert sink.values(BREAKER_OPEN) == [0.0]
    with redis.Redis.from_url(server.url) as client:
        assert client.info("clients")["connected_clients"] <= CONCURRENT_CALLS + 1


@only_evicting
async def test_a_crowd_takes_no_more_than_its_connections(
    server: EmbeddedValkey, stores: Stores, sink: RecordingSink
) -> None:
    record = await stores.images.put("t", picture(1), 1, 1)
    answers = await asyncio.gather(*(stores.images.get("t", record.image_id) for _ in range(256)))
    assert all(answer == picture(1) for answer in answers)
    with redis.Redis.from_url(server.url) as client:
        assert client.info("clients")["connected_clients"] <= CONCURRENT_CALLS + 1
    assert sink.total(ERRORS) == 0


@only_evicting
async def test_deleting_while_others_read_gives_the_whole_image_or_none(stores: Stores) -> None:
    data = picture(1)
    image = image_id(data)
    seen = {"whole": 0, "none": 0}

    async def read() -> None:
        for _ in range(60):
            try:
                assert await stores.images.get("t", image) == data
                seen["whole"] += 1
            except ImageNotFound:
                seen["none"] += 1

    async def come_and_go() -> None:
        for _ in range(60):
            await stores.images.put("t", data, 1, 1)
            await asyncio.sleep(0.002)
            await stores.images.delete("t", image)

    await asyncio.gather(*(read() for _ in range(4)), come_and_go())
    assert min(seen.values()) > 0
    assert not await stores.images.exists("t", image)


@only_evicting
async def test_tenants_with_the_same_image_never_touch_each_others(stores: Stores, settings: Settings) -> None:
    data = picture(3, 64 * 1024)
    image, image_hex = image_id(data), parse_image_id(image_id(data))
    runs = {"quiet": 0, "busy": 0}

    def encoder_of(tenant: str, value: float) -> object:
        async def compute() -> Embedding:
            runs[tenant] += 1
            return Embedding((1, 1), (np.full(1000, value, np.float16),))

        return compute

    await stores.images.put("quiet", data, 1, 1)
    quiet, busy = encoder_of("quiet", 1), encoder_of("busy", 2)
    assert callable(quiet)
    assert callable(busy)
    await stores.embeddings.get_or_compute("quiet", image_hex, "f", quiet)
    await stores.embeddings.flush()
    elsewhere = open_stores(settings, RecordingSink())
    forgetful = open_stores(settings.model_copy(update={"memory_tier_bytes": 0}), RecordingSink())
    for _ in range(20):
        await stores.images.put("busy", data, 1, 1)
        own, _ = await forgetful.embeddings.get_or_compute("busy", image_hex, "f", busy)
        assert own.tensors[0][0] == 2
        await stores.images.delete("busy", image)
        theirs, _ = await elsewhere.embeddings.get_or_compute("quiet", image_hex, "f", quiet)
        assert theirs.tensors[0][0] == 1
        assert await elsewhere.images.get("quiet", image) == data
    await elsewhere.close()
    await forgetful.close()
    assert runs == {"quiet": 1, "busy": 20}
