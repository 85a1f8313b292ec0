"""Jobs in a real Valkey: the contract, what lies there, and what a full store or a dead gateway does to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from deploy.valkey import EmbeddedValkey
from shared.errors import BodyTooLarge, JobNotFound, JobStoreUnavailable
from shared.settings import Settings
from shared.store.jobs import Caps, JobStore, Key, Outcome, new_id
from shared.store.jobs_redis import RedisJobStore
from shared.store.keys import PREFIX
from shared.store.metrics import CALL_SECONDS, ERRORS
from shared.store.opening import Stores, caps_of, open_stores
from shared.telemetry.recording import RecordingSink
from tests.unit.store.job_contract import ANSWER, CAPS, FAILURE, JobStoreContract, put

pytestmark = pytest.mark.integration
MIB = 2**20
ROOMY = Settings(max_job_bytes_per_tenant=64 * MIB)


class TestContract(JobStoreContract):
    @pytest.fixture
    async def jobs(self, stores: Stores) -> JobStore:
        assert stores.client is not None
        return RedisJobStore(stores.client, CAPS, 4096)


async def test_another_process_takes_what_was_sent_here(stores: Stores, elsewhere: Stores) -> None:
    job = await put(stores.jobs)
    lease = await elsewhere.jobs.take()
    assert lease is not None
    assert await elsewhere.jobs.finish(lease, ANSWER)
    assert await stores.jobs.outcome("t", job.job_id) == (await elsewhere.jobs.get("t", job.job_id), ANSWER)


async def test_many_takers_take_each_job_once(stores: Stores, elsewhere: Stores) -> None:
    ids = [(await put(stores.jobs)).job_id for _ in range(40)]
    leases = await asyncio.gather(*(each.jobs.take() for each in (stores, elsewhere) for _ in range(30)))
    assert sorted(lease.job_id for lease in leases if lease) == sorted(ids)


async def test_what_a_job_leaves_ends_with_it(stores: Stores, by_hand: redis.Redis) -> None:
    job = await put(stores.jobs, bytes(1000))
    lease = await stores.jobs.take()
    assert lease is not None
    await stores.jobs.finish(lease, ANSWER)
    (record,) = [key for key in by_hand.scan_iter() if job.job_id.encode() in key]
    assert 0 < by_hand.ttl(record) <= 86_400
    assert b"request" not in by_hand.hkeys(record)
    assert {key.decode().removeprefix(f"{PREFIX}:{{jobs}}:").partition(":")[0] for key in by_hand.scan_iter()} == {
        "index", lease.owner,
    }  # fmt: skip
    await stores.jobs.delete("t", job.job_id)
    assert by_hand.keys() == []


async def test_a_result_ends_with_its_time(settings: Settings, sink: RecordingSink) -> None:
    opened = open_stores(settings.model_copy(update={"job_ttl_s": 1}), sink)
    job = await put(opened.jobs)
    lease = await opened.jobs.take()
    assert lease is not None
    await opened.jobs.finish(lease, ANSWER)
    await asyncio.sleep(1.1)
    with pytest.raises(JobNotFound):
        await opened.jobs.get("t", job.job_id)
    assert (await opened.jobs.page("t", 10, None, None)).jobs == []
    await opened.close()


async def test_more_than_one_value_may_hold_is_refused(stores: Stores, sink: RecordingSink) -> None:
    assert stores.client is not None
    jobs = RedisJobStore(stores.client, caps_of(ROOMY), 1000)
    with pytest.raises(BodyTooLarge):
        await put(jobs, bytes(1001))
    await put(jobs)
    lease = await jobs.take()
    assert lease is not None
    with pytest.raises(BodyTooLarge):
        await jobs.finish(lease, Outcome(200, "image/png", (), bytes(1001)))
    assert sink.total(ERRORS, reason="too_large") == 2


async def test_a_request_that_comes_back_altered_is_told_and_the_job_ends(
    stores: Stores, by_hand: redis.Redis, sink: RecordingSink
) -> None:
    request = bytes(range(256)) * 8
    for at in (0, 1000, len(request) - 1):
        job = await put(stores.jobs, request)
        (record,) = [key for key in by_hand.scan_iter() if job.job_id.encode() in key]
        kept = by_hand.hget(record, "request")
        assert kept == request
        by_hand.hset(record, "request", request[:at] + bytes([request[at] ^ 0x10]) + request[at + 1 :])
        lease = await stores.jobs.take()
        assert lease is not None
        assert (lease.job_id, lease.request, lease.is_damaged) == (job.job_id, None, True)
        assert await stores.jobs.finish(lease, FAILURE)
        assert set(by_hand.hkeys(record)) & {b"request", b"sum"} == set()
    assert sink.total(ERRORS, operation="job_take", reason="corrupt") == 3


async def test_looking_for_work_at_rest_moves_no_metric(stores: Stores, sink: RecordingSink) -> None:
    assert await stores.jobs.look() == (0, 0)
    assert await stores.jobs.take() is None
    assert sink.values(CALL_SECONDS) == []


async def test_looking_for_work_in_a_store_that_is_gone_moves_none_either(sink: RecordingSink) -> None:
    opened = open_stores(Settings.model_validate({"redis_url": "unix:///nowhere.sock"}), sink)
    for ask in (opened.jobs.look, opened.jobs.take) * 4:
        with pytest.raises(JobStoreUnavailable):
            await ask()
    assert (sink.values(ERRORS), sink.values(CALL_SECONDS)) == ([], [])
    with pytest.raises(JobStoreUnavailable):
        await opened.jobs.get("t", "job_1")
    assert len(sink.values(ERRORS, operation="job_get")) == 1
    await opened.close()


async def test_a_store_that_is_gone_is_told() -> None:
    opened = open_stores(Settings.model_validate({"redis_url": "unix:///nowhere.sock"}), RecordingSink())
    asks = [put(opened.jobs), opened.jobs.get("t", "job_1"), opened.jobs.page("t", 1, None, None), opened.jobs.look()]
    for ask in asks:
        with pytest.raises(JobStoreUnavailable) as gone:
            await ask
        assert gone.value.retry_after_s
    await opened.close()


@pytest.fixture
async def small() -> AsyncIterator[tuple[Stores, redis.Redis]]:
    """A store of 16 MiB and a client of it."""
    with EmbeddedValkey(memory_bytes=16 * MIB) as server, redis.Redis.from_url(server.url) as client:
        opened = open_stores(Settings.model_validate({"redis_url": server.url, "redis_timeout_s": 10}), RecordingSink())
        yield opened, client
        await opened.close()


async def test_a_full_store_gives_up_images_before_jobs_that_wait(small: tuple[Stores, redis.Redis]) -> None:
    stores, client = small
    ids = [(await put(stores.jobs, bytes([number]) * MIB)).job_id for number in range(4)]
    for number in range(40):
        await stores.images.put("t", number.to_bytes(4) * (MIB // 4), 1, 1)
    assert client.info("stats")["evicted_keys"] > 20
    for number, job_id in enumerate(ids):
        lease = await stores.jobs.take()
        assert lease is not None
        assert (lease.job_id, lease.request) == (job_id, bytes([number]) * MIB)


async def test_a_store_full_of_jobs_refuses_more_and_loses_none(small: tuple[Stores, redis.Redis]) -> None:
    stores, _ = small
    kept = await filled(stores)
    for job_id in kept:
        lease = await stores.jobs.take()
        assert lease is not None
        assert (lease.job_id, len(lease.request or b"")) == (job_id, MIB)
        assert await stores.jobs.finish(lease, ANSWER)
    await put(stores.jobs)


async def test_results_make_room_whole(small: tuple[Stores, redis.Redis]) -> None:
    stores, client = small
    for _ in range(40):
        await put(stores.jobs, key=Key("k" + new_id(), "f" * 64))
        lease = await stores.jobs.take()
        assert lease is not None
        await stores.jobs.finish(lease, Outcome(200, "image/png", (), bytes(MIB)))
    assert client.info("stats")["evicted_keys"] > 20
    left = [job.job_id for job in (await stores.jobs.page("t", 100, None, None)).jobs]
    assert 4 <= len(left) < 16
    for job_id in left:
        _, outcome = await stores.jobs.outcome("t", job_id)
        assert outcome is not None
        assert len(outcome.body) == MIB


async def filled(stores: Stores) -> list[str]:
    """Jobs of 1 MiB until no more is taken."""
    kept: list[str] = []

    async def fill() -> None:
        for number in range(40):
            kept.append((await put(stores.jobs, bytes([number]) * MIB)).job_id)  # noqa: PERF401 - until it raises

    with pytest.raises(JobStoreUnavailable):
        await fill()
    assert 8 <= len(kept) < 16
    return kept


async def test_a_store_that_makes_no_room_refuses_a_job_and_still_ends_those_it_has() -> None:
    with EmbeddedValkey(memory_bytes=16 * MIB, eviction="noeviction") as server:
        settings = Settings.model_validate({"redis_url": server.url, "redis_timeout_s": 10})
        stores = open_stores(settings, RecordingSink())
        kept = await filled(stores)
        assert [job.job_id for job in (await stores.jobs.page("t", 100, None, None)).jobs] == sorted(kept, reverse=True)
        await stores.jobs.delete("t", kept.pop())
        for job_id in kept:
            lease = await stores.jobs.take()
            assert lease is not None
            assert lease.job_id == job_id
            assert await stores.jobs.finish(lease, ANSWER)
        await stores.close()


async def test_in_a_full_store_a_request_makes_room_for_its_result() -> None:
    with EmbeddedValkey(memory_bytes=16 * MIB, eviction="noeviction") as server:
        settings = Settings.model_validate({"redis_url": server.url, "redis_timeout_s": 10})
        sink = RecordingSink()
        stores = open_stores(settings, sink)
        kept = await filled(stores)
        for job_id in kept:
            lease = await stores.jobs.take()
            assert lease is not None
            assert await stores.jobs.finish(lease, Outcome(200, "image/png", (), bytes(MIB)))
            _, outcome = await stores.jobs.outcome("t", job_id)
            assert outcome is not None
            assert len(outcome.body) == MIB
        assert sink.total(ERRORS, operation="job_end", reason="full") > 0
        await stores.close()


def test_caps_are_those_of_the_settings() -> None:
    assert caps_of(Settings(job_ttl_s=7, max_jobs_per_tenant=3)) == Caps(3, 128 * MIB, 7, 30)
