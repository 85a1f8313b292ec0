"""The embedding store without Redis: what is computed, how often, by whom it is seen, and what is counted."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from shared.errors import DeadlineExceeded, Malformed
from shared.store import sweep
from shared.store.embeddings import EmbeddingStore, MemoryEmbeddings
from shared.store.metrics import BYTES, LOOKUPS
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding
from tests.unit.store.clock import Clock

HEX = "ab" * 32


class Encoder:
    """Makes an embedding of a number that grows with every run."""

    def __init__(self, error: Exception | None = None, wait: asyncio.Event | None = None) -> None:
        self.runs = 0
        self.error = error
        self.wait = wait

    async def __call__(self) -> Embedding:
        self.runs += 1
        if self.wait is not None:
            await self.wait.wait()
        if self.error is not None:
            raise self.error
        return Embedding((4, 6), (np.full((2, 3), self.runs, np.float16),))


@pytest.fixture
def store(sink: RecordingSink, clock: Clock) -> EmbeddingStore:
    return EmbeddingStore(MemoryEmbeddings(1000, 60, sink, clock), None, sink)


async def test_it_is_computed_once_and_then_in_memory(store: EmbeddingStore, sink: RecordingSink) -> None:
    encoder = Encoder()
    first, tier = await store.get_or_compute("t", HEX, "f", encoder)
    assert tier == "computed"
    again, tier = await store.get_or_compute("t", HEX, "f", encoder)
    assert tier == "memory"
    assert again is first
    assert encoder.runs == 1
    assert sink.total(LOOKUPS, tier="memory", outcome="miss") == 1
    assert sink.total(LOOKUPS, tier="memory", outcome="hit") == 1
    assert sink.total(LOOKUPS, tier="computed", outcome="run") == 1
    assert sink.values(BYTES, tier="memory")[-1] == first.nbytes


@pytest.mark.parametrize("other", [("u", HEX, "f"), ("t", "cd" * 32, "f"), ("t", HEX, "g")])
async def test_another_tenant_image_or_encoder_is_another_entry(
    store: EmbeddingStore, other: tuple[str, str, str]
) -> None:
    encoder = Encoder()
    await store.get_or_compute("t", HEX, "f", encoder)
    assert store.peek(*other) is None
    embedding, tier = await store.get_or_compute(*other, encoder)
    assert tier == "computed"
    assert embedding.tensors[0][0, 0] == 2


async def test_callers_at_once_share_one_run(store: EmbeddingStore, sink: RecordingSink) -> None:
    encoder = Encoder(wait=asyncio.Event())
    callers = [asyncio.create_task(store.get_or_compute("t", HEX, "f", encoder)) for _ in range(8)]
    await asyncio.sleep(0.01)
    assert encoder.wait is not None
    encoder.wait.set()
    results = await asyncio.gather(*callers)
    assert encoder.runs == 1
    assert {tier for _, tier in results} == {"computed"}
    assert sink.total(LOOKUPS, tier="computed", outcome="run") == 1
    assert sink.total(LOOKUPS, tier="computed", outcome="joined") == 7


async def test_an_error_reaches_everyone_and_is_not_kept(store: EmbeddingStore, sink: RecordingSink) -> None:
    encoder = Encoder(Malformed("bad image"), asyncio.Event())
    callers = [asyncio.create_task(store.get_or_compute("t", HEX, "f", encoder)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert encoder.wait is not None
    encoder.wait.set()
    assert [type(e) for e in await asyncio.gather(*callers, return_exceptions=True)] == [Malformed] * 3
    assert sink.total(LOOKUPS, tier="computed", outcome="failed") == 1
    assert (await store.get_or_compute("t", HEX, "f", Encoder()))[1] == "computed"


async def test_the_deadline_of_the_first_caller_is_not_that_of_those_who_joined(store: EmbeddingStore) -> None:
    late, well = Encoder(DeadlineExceeded(), asyncio.Event()), Encoder()
    first = asyncio.create_task(store.get_or_compute("t", HEX, "f", late))
    await asyncio.sleep(0.01)
    joined = [asyncio.create_task(store.get_or_compute("t", HEX, "f", well)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert late.wait is not None
    late.wait.set()
    with pytest.raises(DeadlineExceeded):
        await first
    assert {tier for _, tier in await asyncio.gather(*joined)} == {"computed"}
    assert well.runs == 1


async def test_without_keep_nothing_stays(store: EmbeddingStore) -> None:
    encoder = Encoder()
    for runs in (1, 2):
        assert (await store.get_or_compute("t", HEX, "f", encoder, keep=False))[1] == "computed"
        assert encoder.runs == runs
        assert store.peek("t", HEX, "f") is None


async def test_a_run_that_keeps_nothing_does_not_take_the_entry_from_one_that_keeps(store: EmbeddingStore) -> None:
    gate = asyncio.Event()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.get_or_compute("t", HEX, "f", Encoder(wait=gate), keep=False),
        lambda: store.get_or_compute("t", HEX, "f", Encoder(wait=gate), keep=True),
    ]
    callers = [asyncio.ensure_future(call()) for call in calls]
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*callers)
    assert store.peek("t", HEX, "f") is not None


async def test_it_ends_with_its_time(store: EmbeddingStore, clock: Clock) -> None:
    await store.get_or_compute("t", HEX, "f", Encoder())
    clock.pass_(60)
    assert store.peek("t", HEX, "f") is None


async def test_whatever_the_encoder_gives_is_kept_as_small_read_only_float16(store: EmbeddingStore) -> None:
    batch = np.arange(64, dtype=np.float32).reshape(8, 8) / 3

    async def slice_of_a_batch() -> Embedding:
        return Embedding((4, 6), (batch[2],))  # float32, against its promise

    embedding, _ = await store.get_or_compute("t", HEX, "f", slice_of_a_batch)
    (tensor,) = embedding.tensors
    np.testing.assert_array_equal(tensor, batch[2].astype(np.float16))
    assert tensor.dtype == np.float16
    assert tensor.base is None
    assert not tensor.flags.writeable


async def test_a_forgotten_image_is_held_no_longer_and_no_other_is(store: EmbeddingStore) -> None:
    for tenant, image_hex, fingerprint in (("t", HEX, "f"), ("t", HEX, "g"), ("u", HEX, "f"), ("t", "cd" * 32, "f")):
        await store.get_or_compute(tenant, image_hex, fingerprint, Encoder())
    store.forget("t", HEX)
    assert store.peek("t", HEX, "f") is store.peek("t", HEX, "g") is None
    assert store.peek("u", HEX, "f") is not None
    assert store.peek("t", "cd" * 32, "f") is not None


async def test_what_is_computing_of_a_forgotten_image_is_answered_and_not_kept(store: EmbeddingStore) -> None:
    encoder = Encoder(wait=asyncio.Event())
    assert encoder.wait is not None
    callers = [asyncio.create_task(store.get_or_compute("t", HEX, "f", encoder)) for _ in range(2)]
    other = asyncio.create_task(store.get_or_compute("u", HEX, "f", encoder))
    await asyncio.sleep(0.01)
    store.forget("t", HEX)
    encoder.wait.set()
    assert {tier for _, tier in await asyncio.gather(*callers)} == {"computed"}
    await other
    assert store.peek("t", HEX, "f") is None
    assert store.peek("u", HEX, "f") is not None


@pytest.mark.parametrize("packed", [False, True])
async def test_what_has_expired_leaves_the_memory_unasked(
    packed: bool, sink: RecordingSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "SWEEP_S", 0.01)
    store = EmbeddingStore(MemoryEmbeddings(1000, 60, sink, clock), None, sink, packed=packed)
    embedding, _ = await store.get_or_compute("t", HEX, "f", Encoder())
    memory = weakref.ref(embedding.tensors[0])
    del embedding
    await asyncio.sleep(0.1)
    assert memory() is not None
    clock.pass_(60)
    await asyncio.sleep(0.1)
    assert memory() is None
    assert sink.values(BYTES, tier="memory")[-1] == 0
