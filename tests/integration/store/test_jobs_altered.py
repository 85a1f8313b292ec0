"""Jobs whose hash was altered in a real Valkey, field by field: each ends whole or as damaged, in no other's way.

Whatever was altered, the store takes, lists, gets, cancels and forgets without an error of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from shared.errors import JobDamaged, JobNotFound
from shared.store import jobs_redis
from shared.store.jobs import Caps, Job, Key, Lease, NewJob, Outcome
from shared.store.jobs_redis import RedisJobStore
from shared.store.keys import PREFIX, owner_of
from shared.store.metrics import ERRORS
from shared.store.opening import Stores
from shared.telemetry.recording import RecordingSink
from tests.unit.store.job_contract import ANSWER, FAILURE, put

pytestmark = pytest.mark.integration
CAPS = Caps(jobs=3, request_bytes=10_000, ttl_s=60, lease_s=0.02)
KEY = Key("k", "f" * 64)
DAMAGED = Outcome(500, "application/json", (), b'{"code":"job_damaged"}')
WAITING = ("state", "task", "created", "tries", "request", "sum", "seal", "course", "idem")
RUNNING = (*WAITING, "token", "started", "lease")
SEALED_END = ("created", "seal", "course", "tries", "started", "finished", "status", "media", "headers", "result_sum")
"""Altered in whatever way, what these tell of is not believed."""
ENDED = ("state", "task", "idem", *SEALED_END)
FIELDS = {
    "queued": WAITING,
    "running": RUNNING,
    "done": (*ENDED, "result"),
    "failed": (*ENDED, "error"),
}
OPEN = [(state, field) for state in ("queued", "running") for field in FIELDS[state]]
ENDS = [(state, field) for state in ("done", "failed") for field in FIELDS[state]]
SEALED = ("state", "task", "created", "tries", "started", "request", "sum", "seal", "course")
"""Altered in whatever way, these end a job."""


def harms(value: bytes) -> Iterator[bytes | None]:
    """What may become of a field: one bit of it flipped, in each of some places, others' values, or nothing."""
    for at in sorted({0, len(value) // 2, len(value) - 1}):
        yield from (value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :] for bit in (0, 4, 7))
    others = [b"", b"-5", b"1e9", b"9" * 30, b"\xff\xfe\x00", b"queued", b"running", b"done", b"panoptic", b"{}", b"12"]
    yield from (each for each in others if each != value)
    yield None


@pytest.fixture
def jobs(stores: Stores) -> RedisJobStore:
    """With short leases."""
    assert stores.client is not None
    return RedisJobStore(stores.client, CAPS, 4096)


async def made(jobs: RedisJobStore, state: str) -> Job:
    """A job in this state, with a key."""
    job = await put(jobs, key=KEY)
    if state != "queued":
        lease = await jobs.take()
        assert lease is not None
        if state != "running":
            assert await jobs.finish(lease, ANSWER if state == "done" else FAILURE)
    return job


def alter(by_hand: redis.Redis, job: Job, field: str, value: bytes | None) -> None:
    name = record(job)
    if value is None:
        assert by_hand.hdel(name, field) == 1
    else:
        by_hand.hset(name, field, value)


def record(job: Job) -> str:
    return f"{PREFIX}:{{jobs}}:{owner_of('t')}:{job.job_id}"


def kept(by_hand: redis.Redis, job: Job, field: str) -> bytes:
    found = by_hand.hget(record(job), field)
    assert isinstance(found, bytes)
    return found


async def worked_off(jobs: RedisJobStore) -> dict[str, Lease]:
    """Every job that can be taken, ended as a worker would: what is damaged as damaged."""
    await asyncio.sleep(CAPS.lease_s * 1.2)
    leases: dict[str, Lease] = {}
    while (lease := await jobs.take()) is not None:
        assert lease.job_id not in leases, "taken again"
        leases[lease.job_id] = lease
        assert await jobs.finish(lease, DAMAGED if lease.is_damaged or lease.request is None else ANSWER)
    return leases


async def looked_at(jobs: RedisJobStore, job: Job) -> Outcome | None:
    """All that is told of the job and its list, which agree; what it ended with, None where it was damaged."""
    page = await jobs.page("t", 10, None, None)
    told = await jobs.get("t", job.job_id)
    assert told in page.jobs
    assert told.is_open or told.finished_at is not None, "whoever waits for it comes to an end"
    with suppress(JobDamaged):
        return (await jobs.outcome("t", job.job_id))[1]
    return None


@pytest.mark.parametrize(("state", "field"), OPEN)
async def test_an_altered_open_job_ends_and_lets_the_others_run(
    state: str, field: str, jobs: RedisJobStore, by_hand: redis.Redis, sink: RecordingSink
) -> None:
    for value in harms(kept(by_hand, await made(jobs, state), field)):
        by_hand.flushall()
        sink.records.clear()
        job = await made(jobs, state)
        other = await put(jobs, b"other")
        alter(by_hand, job, field, value)
        await looked_at(jobs, job)
        leases = await worked_off(jobs)
        assert set(leases) == {job.job_id, other.job_id}
        lease, outcome = leases[job.job_id], await looked_at(jobs, job)
        assert lease.request in (b"request", None)
        assert (field in SEALED) == lease.is_damaged, value
        assert lease.is_damaged == (sink.total(ERRORS, operation="job_take", reason="corrupt") == 1), value
        assert outcome in ((DAMAGED, None) if lease.is_damaged else (ANSWER,)), value
        assert (await jobs.get("t", job.job_id)).state == ("failed" if lease.is_damaged else "done"), value
        assert await looked_at(jobs, other) == ANSWER
        assert await jobs.look() == (0, 0)
        lasting = [key for key in by_hand.scan_iter() if by_hand.ttl(key) < 0]
        assert [key for key in lasting if b":idem:" not in key] == [], "all else has its time"
        assert (lasting == []) or field == "idem"
        _, is_new = await jobs.submit("t", NewJob("semantic", b"request", KEY))
        assert is_new == (lease.is_damaged or field == "idem"), value


@pytest.mark.parametrize(("state", "field"), OPEN)
async def test_an_altered_open_job_is_cancelled_and_forgotten(
    state: str, field: str, jobs: RedisJobStore, by_hand: redis.Redis
) -> None:
    for value in harms(kept(by_hand, await made(jobs, state), field)):
        by_hand.flushall()
        job = await made(jobs, state)
        alter(by_hand, job, field, value)
        if await jobs.delete("t", job.job_id) is not None:
            await looked_at(jobs, job)
            assert await jobs.delete("t", job.job_id) is None
        assert await jobs.look() == (0, 0)
        assert await worked_off(jobs) == {}
        assert [key for key in by_hand.scan_iter() if b":idem:" not in key or field != "idem"] == [], value


@pytest.mark.parametrize(("state", "field"), ENDS)
async def test_of_an_altered_ended_job_what_it_ended_with_comes_whole_or_not_at_all(
    state: str, field: str, jobs: RedisJobStore, by_hand: redis.Redis, sink: RecordingSink
) -> None:
    expected = ANSWER if state == "done" else FAILURE
    for value in harms(kept(by_hand, await made(jobs, state), field)):
        by_hand.flushall()
        sink.records.clear()
        job = await made(jobs, state)
        alter(by_hand, job, field, value)
        outcome = await looked_at(jobs, job)
        assert outcome in (expected, None), value
        assert (outcome is None) == (field != "idem"), value
        assert (outcome is None) == (sink.total(ERRORS, operation="job_get", reason="corrupt") > 0)
        _, is_new = await jobs.submit("t", NewJob("semantic", b"request", KEY))
        assert is_new == (outcome is None or field == "idem"), "who sends it again has a new one"
        await jobs.delete("t", job.job_id)
        with suppress(JobNotFound):  # `state` said that it was open: it was cancelled first
            await jobs.delete("t", job.job_id)
        assert by_hand.exists(record(job)) == 0


async def test_names_that_were_altered_are_passed_over(jobs: RedisJobStore, by_hand: redis.Redis) -> None:
    prefix = f"{PREFIX}:{{jobs}}:"
    by_hand.rpush(f"{prefix}queue", b"no name", b"\xff:job", b"")
    by_hand.zadd(f"{prefix}leases", {"no name either": 0, "a:b": 0})
    by_hand.set(f"{prefix}a:b", b"no hash")
    by_hand.hset(f"{prefix}open:{owner_of('t')}", "job_1", b"no size")
    job = await put(jobs)
    assert list(await worked_off(jobs)) == [job.job_id]
    assert await jobs.look() == (0, 0)


async def test_a_job_whose_name_was_altered_in_the_queue_or_among_the_leases_is_found(
    jobs: RedisJobStore, by_hand: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_redis, "ROUND_S", 0.0)
    prefix = f"{PREFIX}:{{jobs}}:"
    running, waiting, other = await put(jobs, b"1"), await put(jobs, b"2"), await put(jobs, b"3")
    assert await jobs.take() is not None
    by_hand.lset(f"{prefix}queue", -1, f"{owner_of('t')}:job_0")
    by_hand.zrem(f"{prefix}leases", f"{owner_of('t')}:{running.job_id}")
    by_hand.mset({f"image {number}": b"" for number in range(3000)})  # more than one step passes
    for _ in range(10):
        await jobs.look()
    by_hand.delete(*(f"image {number}" for number in range(3000)))
    assert by_hand.llen(f"{prefix}queue") == 4, "the altered name, another's and the two that were found, each once"
    assert set(await worked_off(jobs)) == {running.job_id, waiting.job_id, other.job_id}
    for job in (running, waiting, other):
        assert await looked_at(jobs, job) == ANSWER
    assert await jobs.look() == (0, 0)


async def test_a_job_altered_twice_is_taken_ended_and_unknown(jobs: RedisJobStore, by_hand: redis.Redis) -> None:
    job, other = await made(jobs, "queued"), await put(jobs)
    alter(by_hand, job, "task", b"nothing")
    alter(by_hand, job, "created", b"never")
    leases = await worked_off(jobs)
    assert (leases[job.job_id].task, leases[job.job_id].is_damaged) == (None, True)
    with pytest.raises(JobNotFound):
        await jobs.get("t", job.job_id)
    assert [each.job_id for each in (await jobs.page("t", 10, None, None)).jobs] == [other.job_id]
    assert (await jobs.submit("t", NewJob("semantic", b"request", KEY)))[1]
