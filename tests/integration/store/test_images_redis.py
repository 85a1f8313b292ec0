"""Images in a real Valkey: the contract, and what lies there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
import redis

from deploy.valkey import EmbeddedValkey
from shared.errors import BodyTooLarge, ImageNotFound
from shared.settings import Settings
from shared.store.images import ImageStore
from shared.store.keys import image_key, parse_image_id
from shared.store.metrics import CALL_SECONDS, ERRORS, LOOKUPS
from shared.store.opening import Stores, open_stores
from shared.store.patience import STEPS
from shared.store.redis import CONCURRENT_CALLS
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding
from tests.unit.store.image_contract import CAP, ID, PICTURE, ImageStoreContract

pytestmark = pytest.mark.integration
MIB = 2**20
KEY = image_key("t", parse_image_id(ID))


class TestContract(ImageStoreContract):
    @pytest.fixture
    async def images(self, settings: Settings) -> AsyncIterator[ImageStore]:
        opened = open_stores(settings.model_copy(update={"max_stored_bytes": CAP}), RecordingSink())
        yield opened.images
        await opened.close()


async def test_another_process_sees_it_at_once(stores: Stores, elsewhere: Stores) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    assert await elsewhere.images.get("t", ID) == PICTURE
    assert await elsewhere.images.delete("t", ID)
    assert not await stores.images.exists("t", ID)


async def test_a_crowd_on_a_busy_loop_is_no_silent_store(settings: Settings, elsewhere: Stores) -> None:
    limited = settings.model_copy(update={"redis_timeout_s": 1.0})

    def hold() -> None:
        time.sleep(limited.redis_timeout_s)

    await elsewhere.images.put("t", PICTURE, 640, 480)
    opened = open_stores(limited, RecordingSink())
    crowd = [asyncio.create_task(opened.images.get("t", ID)) for _ in range(4 * CONCURRENT_CALLS)]
    for _ in range(STEPS - 1):
        await asyncio.sleep(0)
        hold()
    assert await asyncio.gather(*crowd) == [PICTURE] * len(crowd)
    await opened.close()


async def test_every_key_has_a_time_to_live(stores: Stores, by_hand: redis.Redis) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    assert 0 < by_hand.ttl(KEY) <= 60
    await stores.images.delete("t", ID)
    left = by_hand.keys()
    assert left, "a deletion is remembered for a while"
    assert all(by_hand.ttl(key) > 0 for key in left)


async def test_the_same_bytes_again_are_not_sent_again(stores: Stores, by_hand: redis.Redis) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    by_hand.expire(KEY, 5)
    sets = by_hand.info("commandstats")["cmdstat_set"]["calls"]
    await stores.images.put("t", PICTURE, 640, 480)
    assert by_hand.info("commandstats")["cmdstat_set"]["calls"] == sets
    assert by_hand.ttl(KEY) > 5


@pytest.mark.parametrize("harm", [lambda value: value[:-1], lambda value: value[:-1] + b"?", lambda value: b"\0" * 24])
async def test_an_altered_image_is_unknown_and_sending_it_again_heals(
    harm: object, stores: Stores, by_hand: redis.Redis, sink: RecordingSink
) -> None:
    assert callable(harm)
    await stores.images.put("t", PICTURE, 640, 480)
    by_hand.set(KEY, harm(by_hand.get(KEY)), ex=60)
    with pytest.raises(ImageNotFound):
        await stores.images.get("t", ID)
    assert sink.total(LOOKUPS, tier="image", outcome="corrupt") == 1
    assert sink.total(ERRORS, operation="image_get", reason="corrupt") == 1
    await stores.images.put("t", PICTURE, 640, 480)
    assert await stores.images.get("t", ID) == PICTURE


async def test_every_call_is_timed_and_every_lookup_counted(stores: Stores, sink: RecordingSink) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    await stores.images.get("t", ID)
    await stores.images.head("t", ID)
    await stores.images.delete("t", ID)
    await stores.images.exists("t", ID)
    for operation, calls in (("image_put", 1), ("image_get", 1), ("image_head", 2), ("image_delete", 1)):
        assert len(sink.values(CALL_SECONDS, operation=operation)) == calls
    assert sink.total(LOOKUPS, tier="image", outcome="hit") == 2
    assert sink.total(LOOKUPS, tier="image", outcome="miss") == 1


async def test_an_image_that_is_too_large_for_the_store_is_counted(settings: Settings, sink: RecordingSink) -> None:
    """Nobody is told where it came beside prompts: they are answered, and the next ones do not find it."""
    opened = open_stores(settings.model_copy(update={"max_stored_bytes": CAP}), sink)
    with pytest.raises(BodyTooLarge):
        await opened.images.put("t", bytes(CAP), 640, 480)
    await opened.close()
    assert sink.total(ERRORS, operation="image_put", reason="too_large") == 1


async def test_a_full_store_gives_up_embeddings_before_images() -> None:
    with EmbeddedValkey(memory_bytes=16 * MIB) as small, redis.Redis.from_url(small.url) as client:
        stores = open_stores(Settings.model_validate({"redis_url": small.url, "redis_timeout_s": 10}), RecordingSink())

        async def compute() -> Embedding:
            return Embedding((1, 1), (np.zeros(MIB // 2, np.float16),))

        pictures = [number.to_bytes(4) * (MIB // 64) for number in range(100)]
        kept = [await stores.images.put("t", picture, 1, 1) for picture in pictures]
        for record in kept:
            await stores.embeddings.get_or_compute("t", parse_image_id(record.image_id), "f", compute)
            await stores.embeddings.flush()
        assert client.info("stats")["evicted_keys"] > 80
        assert [await stores.images.exists("t", record.image_id) for record in kept] == [True] * 100
        await stores.close()
