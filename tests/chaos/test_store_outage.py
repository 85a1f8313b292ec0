"""The store frozen, killed and brought back in the middle of load: nothing that can answer fails, nothing is late,
everything is counted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from deploy.valkey import EmbeddedValkey, binary
from shared.errors import ImageStoreUnavailable
from shared.settings import Settings
from shared.store.images import Known, Unreachable
from shared.store.keys import image_id, parse_image_id
from shared.store.metrics import BREAKER_OPEN, ERRORS, LOOKUPS
from shared.store.opening import Stores, open_stores
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

TIMEOUT_S = 0.3
MARGIN_S = 0.15
OPEN_S = 0.6
WORKERS = 16


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(memory_bytes=64 * 2**20) as valkey:
        yield valkey


@pytest.fixture
async def stores(server: EmbeddedValkey, sink: RecordingSink) -> AsyncIterator[Stores]:
    settings = Settings.model_validate(
        {"redis_url": server.url, "redis_timeout_s": TIMEOUT_S, "breaker_open_s": OPEN_S, "memory_tier_bytes": 0}
    )
    opened = open_stores(settings, sink)
    yield opened
    await opened.close()


def picture(number: int) -> bytes:
    return number.to_bytes(4) * 25_000


def embedding(number: int) -> Embedding:
    return Embedding((number, number), (np.full(100_000, number % 1000, np.float16),))


@contextmanager
def server_at(path: Path) -> Iterator[None]:
    """Another server on the same socket, as after a restart: it knows nothing any more."""
    command = [str(binary()), "--port", "0", "--unixsocket", str(path), "--save", "", "--loglevel", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


class Load:
    """Workers that ask without a pause, check every answer, and note when each call began and how long it took."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.calls: list[tuple[float, float]] = []
        self.tiers: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.lag_s = 0.0
        """Longest that this process itself was held up, by a crowded machine: no fault of the store."""
        self._numbers = count()
        self._on = True

    async def __aenter__(self) -> Load:
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self._workers.append(asyncio.create_task(self._watch()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._on = False
        await asyncio.gather(*self._workers)

    def since(self, began: float) -> list[float]:
        """Seconds of the calls that began after `began`."""
        return [seconds for at, seconds in self.calls if at >= began]

    async def _watch(self) -> None:
        while self._on:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            self.lag_s = max(self.lag_s, time.perf_counter() - began - 0.005)

    async def _work(self) -> None:
        while self._on:
            number = next(self._numbers) % 50
            await self._timed(self._upload(number))
            await self._timed(self._embed(number))
            await self._timed(self._resolve(number))
            await asyncio.sleep(0.002)

    async def _timed(self, call: object) -> None:
        assert asyncio.iscoroutine(call)
        began = time.perf_counter()
        await call
        self.calls.append((began, time.perf_counter() - began))

    async def _upload(self, number: int) -> None:
        try:
            record = await self.stores.images.put("t", picture(number), number + 1, 7, image_id(picture(number)))
        except ImageStoreUnavailable:
            self.answers["not kept"] += 1
        else:
            assert (record.width, record.height) == (number + 1, 7)
            self.answers["kept"] += 1

    async def _embed(self, number: int) -> None:
        async def compute() -> Embedding:
            return embedding(number)

        found, tier = await self.stores.embeddings.get_or_compute(
            "t", parse_image_id(image_id(picture(number))), "f", compute
        )
        assert found.size == (number, number)
        assert found.tensors[0][0] == number % 1000
        self.tiers[tier] += 1

    async def _resolve(self, number: int) -> None:
        resolution = await self.stores.images.resolve("t", image_id(picture(number)))
        if isinstance(resolution, Known):
            assert resolution.record.width == number + 1
        self.answers[type(resolution).__name__] += 1


def everything_is_counted(load: Load, sink: RecordingSink) -> None:
    """What the callers saw and what the metrics say are the same."""
    assert sink.total(ERRORS, operation="image_put") == load.answers["not kept"]
    assert sink.total(LOOKUPS, tier="image", outcome="error") == load.answers["Unreachable"]
    assert sink.total(LOOKUPS, tier="image", outcome="hit") == load.answers["Known"]
    assert (
        sink.total(LOOKUPS, tier="computed", outcome="run") + sink.total(LOOKUPS, tier="computed", outcome="joined")
        == (load.tiers["computed"])
    )
    assert sink.total(LOOKUPS, tier="redis") >= load.tiers["redis"]
    assert sink.total(LOOKUPS, tier="redis", outcome="error") == sink.total(ERRORS, operation="embedding_get")


async def test_a_frozen_store_costs_no_answer_and_never_more_than_its_timeout(
    server: EmbeddedValkey, stores: Stores, sink: RecordingSink
) -> None:
    async with Load(stores) as load:
        await asyncio.sleep(0.7)
        assert load.tiers["redis"] > 0
        os.kill(server.pid, signal.SIGSTOP)
        await asyncio.sleep(2.5)
        frozen_for_good = time.perf_counter()
        await asyncio.sleep(1.0)
        os.kill(server.pid, signal.SIGCONT)
        await asyncio.sleep(2 * OPEN_S + TIMEOUT_S)
        from_redis, back = load.tiers["redis"], time.perf_counter()
        await asyncio.sleep(0.7)
    assert max(load.since(0)) <= TIMEOUT_S + MARGIN_S + load.lag_s
    assert median(s for at, s in load.calls if frozen_for_good <= at < frozen_for_good + 1) < 0.02
    assert sink.total(ERRORS, reason="timeout") > 0
    assert sink.total(ERRORS, reason="open") > 0
    gauge = sink.values(BREAKER_OPEN)
    assert 1.0 in gauge
    assert gauge[-1] == 0.0
    assert load.tiers["redis"] > from_redis
    assert load.since(back)
    await stores.embeddings.flush()
    everything_is_counted(load, sink)


async def test_a_killed_store_costs_no_answer_and_is_used_again_when_it_is_back(
    server: EmbeddedValkey, stores: Stores, sink: RecordingSink
) -> None:
    path = server.socket_path
    async with Load(stores) as load:
        await asyncio.sleep(0.5)
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.sleep(1.5)
        path.unlink()
        with server_at(path):
            await asyncio.sleep(2 * OPEN_S + 0.5)
            from_redis = load.tiers["redis"]
            await asyncio.sleep(0.7)
            assert load.tiers["redis"] > from_redis
            assert sink.values(BREAKER_OPEN)[-1] == 0.0
    assert max(load.since(0)) <= TIMEOUT_S + MARGIN_S + load.lag_s
    assert sink.total(ERRORS, reason="connection") > 0
    await stores.embeddings.flush()
    everything_is_counted(load, sink)


async def test_a_store_that_never_was_there_is_unreachable_at_once(sink: RecordingSink) -> None:
    nowhere = Settings.model_validate({"redis_url": "unix:///nonexistent/valkey.sock"})
    stores = open_stores(nowhere, sink)
    picture_id = image_id(picture(1))

    async def compute() -> Embedding:
        return embedding(1)

    assert isinstance(await stores.images.resolve("t", picture_id), Unreachable)
    for ask in (stores.images.get, stores.images.head, stores.images.exists, stores.images.delete):
        with pytest.raises(ImageStoreUnavailable):
            await ask("t", picture_id)
    image_hex = parse_image_id(picture_id)
    assert (await stores.embeddings.get_or_compute("t", image_hex, "f", compute))[1] == "computed"
    assert stores.embeddings.peek("t", image_hex, "f") is not None, "memory answers while the authority is away"
    await stores.close()
    assert sink.total(ERRORS, operation="embedding_put") == 1


async def test_what_was_being_written_when_the_store_froze_is_counted_as_lost(
    server: EmbeddedValkey, stores: Stores, sink: RecordingSink
) -> None:
    await stores.images.exists("t", image_id(b"connect"))
    os.kill(server.pid, signal.SIGSTOP)

    async def compute() -> Embedding:
        return embedding(1)

    began = time.perf_counter()
    for number in range(4):
        await stores.embeddings.get_or_compute("t", f"{number:064x}", "f", compute)
    assert time.perf_counter() - began < 4 * TIMEOUT_S + MARGIN_S
    await stores.embeddings.flush()
    os.kill(server.pid, signal.SIGCONT)
    assert sink.total(ERRORS, operation="embedding_put") == 4
