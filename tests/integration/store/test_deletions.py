"""A deleted image leaves the memory of every process that holds its embedding, whatever that process does meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import redis

from deploy.valkey import EmbeddedValkey
from shared.errors import ImageStoreUnavailable
from shared.settings import Settings
from shared.store import sweep
from shared.store.keys import deleted_key, image_id, parse_image_id
from shared.store.metrics import CALL_SECONDS, ERRORS
from shared.store.opening import Stores, open_stores
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding

pytestmark = pytest.mark.integration

PICTURE = b"\xff\xd8 a picture"
ID = image_id(PICTURE)
HEX = parse_image_id(ID)


async def make() -> Embedding:
    return Embedding((480, 640), (np.ones((8, 4, 4), np.float16),))


def holds(stores: Stores, tenant: str = "t", fingerprint: str = "f", image_hex: str = HEX) -> bool:
    return stores.embeddings.peek(tenant, image_hex, fingerprint) is not None


async def eventually(true: Callable[[], bool], within_s: float = 20.0) -> bool:
    for _ in range(int(within_s / 0.02)):
        if true():
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SWEEP_S", 0.05)


@pytest.fixture
async def third(settings: Settings) -> AsyncIterator[Stores]:
    """One more process, whose embeddings are packed."""
    opened = open_stores(settings, RecordingSink(), packed=True)
    yield opened
    await opened.close()


async def test_every_process_lets_go_of_every_encoders_embedding(
    stores: Stores, elsewhere: Stores, third: Stores
) -> None:
    for tenant in ("t", "u"):
        await stores.images.put(tenant, PICTURE, 640, 480)
        for each in (stores, elsewhere, third):
            for fingerprint in ("f", "g"):
                await each.embeddings.get_or_compute(tenant, HEX, fingerprint, make)
    await stores.embeddings.get_or_compute("t", "cd" * 32, "f", make)
    await stores.images.delete("t", ID)
    everywhere = [(each, fingerprint) for each in (stores, elsewhere, third) for fingerprint in ("f", "g")]
    assert await eventually(lambda: not any(holds(each, "t", fingerprint) for each, fingerprint in everywhere))
    assert all(holds(each, "u", fingerprint) for each, fingerprint in everywhere), "another tenant's stay"
    assert holds(stores, image_hex="cd" * 32), "other images' stay"


async def test_what_was_computing_at_a_deletion_does_not_stay_in_memory(stores: Stores, elsewhere: Stores) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow() -> Embedding:
        begun.set()
        await gate.wait()
        return await make()

    caller = asyncio.create_task(elsewhere.embeddings.get_or_compute("t", HEX, "f", slow))
    await begun.wait()
    await stores.images.delete("t", ID)
    gate.set()
    assert (await caller)[1] == "computed"
    assert await eventually(lambda: not holds(elsewhere))


async def test_an_image_sent_again_after_its_deletion_stays(stores: Stores, elsewhere: Stores) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    await elsewhere.embeddings.get_or_compute("t", HEX, "f", make)
    await stores.images.delete("t", ID)
    assert await eventually(lambda: not holds(elsewhere))
    await stores.images.put("t", PICTURE, 640, 480)
    await elsewhere.embeddings.get_or_compute("t", HEX, "f", make)
    await asyncio.sleep(0.5)
    assert holds(elsewhere)
    await stores.images.delete("t", ID)
    assert await eventually(lambda: not holds(elsewhere)), "deleted once more"


async def test_a_process_that_could_not_ask_lets_go_when_it_can(
    server: EmbeddedValkey, settings: Settings, stores: Stores, by_hand: redis.Redis
) -> None:
    impatient = {"redis_timeout_s": 0.1, "breaker_open_s": 0.2}
    cut_off = open_stores(settings.model_copy(update=impatient), RecordingSink())
    await stores.images.put("t", PICTURE, 640, 480)
    await cut_off.embeddings.get_or_compute("t", HEX, "f", make)
    await cut_off.embeddings.flush()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(0.7)
        assert holds(cut_off), "what lies in memory answers while the store is silent"
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await stores.images.delete("t", ID)
    assert await eventually(lambda: not holds(cut_off))
    await cut_off.close()


async def test_who_holds_nothing_asks_nothing(stores: Stores, by_hand: redis.Redis, sink: RecordingSink) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    await stores.embeddings.get_or_compute("t", HEX, "f", make)
    await stores.images.delete("t", ID)
    assert await eventually(lambda: not holds(stores))
    await asyncio.sleep(0.2)
    asked = by_hand.info("commandstats")["cmdstat_mget"]["calls"]
    await asyncio.sleep(0.3)
    assert by_hand.info("commandstats")["cmdstat_mget"]["calls"] == asked
    assert not sink.values(CALL_SECONDS, operation="embedding_marks"), "looking is not counted: it goes on at rest"


async def test_a_mark_outlives_all_that_is_written_beside_it(stores: Stores, by_hand: redis.Redis) -> None:
    """A full store gives up first what expires first."""
    await stores.images.put("t", PICTURE, 640, 480)
    await stores.images.delete("t", ID)
    assert by_hand.pttl(deleted_key("t", HEX)) > 119_000


async def test_a_store_too_full_for_the_mark_is_no_success(
    stores: Stores, by_hand: redis.Redis, sink: RecordingSink
) -> None:
    await stores.images.put("t", PICTURE, 640, 480)
    by_hand.config_set("maxmemory-policy", "noeviction")
    by_hand.config_set("maxmemory", 1)
    try:
        with pytest.raises(ImageStoreUnavailable):
            await stores.images.delete("t", ID)
    finally:
        by_hand.config_set("maxmemory", 128 * 2**20)
        by_hand.config_set("maxmemory-policy", "volatile-ttl")
    assert sink.total(ERRORS, operation="image_delete", reason="full") == 1
    assert not await stores.images.exists("t", ID)
    assert not await stores.images.delete("t", ID)
    assert by_hand.exists(deleted_key("t", HEX)), "asked again, those who hold it are told"
