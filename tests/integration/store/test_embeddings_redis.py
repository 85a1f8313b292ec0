"""Embeddings in a real Valkey, seen from two processes: shared, checked, forgotten."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import redis

from shared.settings import Settings
from shared.store.embeddings_redis import RedisEmbeddings
from shared.store.keys import embeddings_key, image_id, parse_image_id
from shared.store.metrics import ERRORS, LOOKUPS
from shared.store.opening import Stores, open_stores
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding

pytestmark = pytest.mark.integration

PICTURE = b"\xff\xd8 a picture"
ID = image_id(PICTURE)
HEX = parse_image_id(ID)
KEY = embeddings_key("t", HEX)


def embedding(value: float = 1.0) -> Embedding:
    return Embedding((480, 640), (np.full((8, 4, 4), value, np.float16), np.full((2, 3), value, np.float16)))


async def make() -> Embedding:
    return embedding()


async def never() -> Embedding:
    raise AssertionError("the encoder must not run")


async def test_another_process_reads_what_one_computed(stores: Stores, elsewhere: Stores) -> None:
    first, tier = await stores.embeddings.get_or_compute("t", HEX, "f", make)
    assert tier == "computed"
    await stores.embeddings.flush()
    back, tier = await elsewhere.embeddings.get_or_compute("t", HEX, "f", never)
    assert tier == "redis"
    assert back.size == first.size
    assert [a.tobytes() for a in back.tensors] == [a.tobytes() for a in first.tensors]
    assert (await elsewhere.embeddings.get_or_compute("t", HEX, "f", never))[1] == "memory"


async def test_the_answer_does_not_wait_for_the_write(stores: Stores, by_hand: redis.Redis) -> None:
    await stores.embeddings.get_or_compute("t", HEX, "f", make)
    assert not by_hand.exists(KEY)
    await stores.embeddings.flush()
    assert by_hand.hkeys(KEY) == [b"f"]
    assert 60 < by_hand.ttl(KEY) <= 120


@pytest.mark.parametrize("other", [("u", HEX, "f"), ("t", "cd" * 32, "f"), ("t", HEX, "g")])
async def test_another_tenant_image_or_encoder_reads_nothing_of_it(
    other: tuple[str, str, str], stores: Stores, elsewhere: Stores
) -> None:
    await stores.embeddings.get_or_compute("t", HEX, "f", make)
    await stores.embeddings.flush()
    assert (await elsewhere.embeddings.get_or_compute(*other, make))[1] == "computed"


async def test_without_keep_nothing_reaches_the_store(stores: Stores, by_hand: redis.Redis) -> None:
    await stores.embeddings.get_or_compute("t", HEX, "f", make, keep=False)
    await stores.embeddings.flush()
    assert not by_hand.keys()


@pytest.mark.parametrize(
    "harm", [lambda v: v[:-1], lambda v: v[:100] + b"\xff" + v[101:], lambda _: b"", lambda _: b"\x80\x04N."]
)
async def test_an_altered_embedding_is_a_miss_and_is_replaced(
    harm: object, settings: Settings, stores: Stores, elsewhere: Stores, by_hand: redis.Redis, sink: RecordingSink
) -> None:
    assert callable(harm)
    await elsewhere.embeddings.get_or_compute("t", HEX, "f", make)
    await elsewhere.embeddings.flush()
    by_hand.hset(KEY, "f", harm(by_hand.hget(KEY, "f")))
    assert (await stores.embeddings.get_or_compute("t", HEX, "f", make))[1] == "computed"
    assert sink.total(LOOKUPS, tier="redis", outcome="corrupt") == 1
    assert sink.total(ERRORS, operation="embedding_get", reason="corrupt") == 1
    await stores.embeddings.flush()
    again = open_stores(settings, RecordingSink())
    assert (await again.embeddings.get_or_compute("t", HEX, "f", never))[1] == "redis"
    await again.close()


async def test_a_key_of_another_type_is_a_miss(stores: Stores, by_hand: redis.Redis, sink: RecordingSink) -> None:
    by_hand.set(KEY, b"not a hash")
    assert (await stores.embeddings.get_or_compute("t", HEX, "f", make))[1] == "computed"
    await stores.embeddings.flush()
    assert sink.total(LOOKUPS, tier="redis", outcome="error") == 1
    assert sink.total(ERRORS, operation="embedding_get", reason="refused") == 1
    assert sink.total(ERRORS, operation="embedding_put", reason="refused") == 1


async def test_a_value_over_the_cap_is_not_sent(settings: Settings, by_hand: redis.Redis, sink: RecordingSink) -> None:
    capped = open_stores(settings.model_copy(update={"max_stored_bytes": 200}), sink)
    by_hand.set("precious", b"1")
    assert (await capped.embeddings.get_or_compute("t", HEX, "f", make))[1] == "computed"
    await capped.close()
    assert by_hand.keys() == [b"precious"]
    assert sink.total(ERRORS, operation="embedding_put", reason="too_large") == 1


async def test_what_would_wait_too_long_to_be_written_is_dropped_and_counted(
    stores: Stores, sink: RecordingSink, by_hand: redis.Redis
) -> None:
    assert stores.client is not None
    crowded = RedisEmbeddings(stores.client, 60, 2 * embedding().nbytes, sink)
    for number in range(5):
        crowded.put_behind("t", HEX, f"f{number}", embedding())
    await crowded.flush()
    assert sorted(by_hand.hkeys(KEY)) == [b"f0", b"f1"]
    assert sink.total(ERRORS, operation="embedding_put", reason="dropped") == 3
    crowded.put_behind("t", HEX, "later", embedding())
    await crowded.flush()
    assert by_hand.hexists(KEY, "later")


async def test_deleting_an_image_removes_every_encoders_embedding(stores: Stores, by_hand: redis.Redis) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    for fingerprint in ("f", "g"):
        await stores.embeddings.get_or_compute("t", HEX, fingerprint, make)
    await stores.embeddings.flush()
    await stores.images.delete("t", ID)
    assert not by_hand.exists(KEY)


async def test_what_was_computing_when_its_image_was_deleted_is_not_kept(
    stores: Stores, elsewhere: Stores, by_hand: redis.Redis
) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    gate = asyncio.Event()

    async def slow() -> Embedding:
        await gate.wait()
        return embedding()

    caller = asyncio.create_task(elsewhere.embeddings.get_or_compute("t", HEX, "f", slow))
    await asyncio.sleep(0.02)
    await stores.images.delete("t", ID)
    gate.set()
    assert (await caller)[1] == "computed"
    await elsewhere.embeddings.flush()
    assert not by_hand.exists(KEY)


async def test_an_image_that_comes_again_after_its_deletion_keeps_its_embedding(
    stores: Stores, by_hand: redis.Redis
) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    await stores.images.delete("t", ID)
    await stores.images.put("t", PICTURE, 640, 480)
    await stores.embeddings.get_or_compute("t", HEX, "f", make)
    await stores.embeddings.flush()
    assert by_hand.hexists(KEY, "f")


async def test_callers_at_once_ask_the_store_once(stores: Stores, elsewhere: Stores, sink: RecordingSink) -> None:
    await elsewhere.embeddings.get_or_compute("t", HEX, "f", make)
    await elsewhere.embeddings.flush()
    results = await asyncio.gather(*(stores.embeddings.get_or_compute("t", HEX, "f", never) for _ in range(16)))
    assert {tier for _, tier in results} == {"redis"}
    assert sink.total(LOOKUPS, tier="redis", outcome="hit") == 1
