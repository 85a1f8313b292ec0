"""Jobs in a real Valkey when two things happen at once: ends and cancellations, expiry and lists, clocks that jump."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
import redis

from shared.errors import JobNotFound, JobStoreUnavailable
from shared.store.jobs import Caps, Key, Lease
from shared.store.jobs_redis import RedisJobStore
from shared.store.keys import PREFIX
from shared.store.opening import Stores
from tests.unit.store.job_contract import ANSWER, put

pytestmark = pytest.mark.integration
Both = tuple[RedisJobStore, RedisJobStore]
CAPS = Caps(jobs=100, request_bytes=2**20, ttl_s=60, lease_s=0.2)
LEASES = f"{PREFIX}:{{jobs}}:leases"


def opened(stores: Stores, elsewhere: Stores, caps: Caps) -> Both:
    """Two gateways' jobs in one Valkey."""
    assert stores.client is not None
    assert elsewhere.client is not None
    return RedisJobStore(stores.client, caps, 4096), RedisJobStore(elsewhere.client, caps, 4096)


@pytest.fixture
def both(stores: Stores, elsewhere: Stores) -> Both:
    return opened(stores, elsewhere, CAPS)


async def taken(jobs: RedisJobStore) -> Lease:
    lease = await jobs.take()
    assert lease is not None
    return lease


async def test_a_job_that_ends_while_it_is_cancelled_is_one_or_the_other(both: Both, by_hand: redis.Redis) -> None:
    here, there = both
    ends = {True: 0, False: 0}
    for number in range(200):
        job = await put(here)
        lease = await taken(here)
        end, renewal, cancel = here.finish(lease, ANSWER), here.renew(lease), there.delete("t", job.job_id)
        if number % 2:
            is_kept, _, cancelled = await asyncio.gather(end, renewal, cancel)
        else:
            cancelled, is_kept, _ = await asyncio.gather(cancel, end, renewal)
        ends[is_kept] += 1
        if is_kept:
            assert cancelled is None, "it was finished, and is forgotten"
            with pytest.raises(JobNotFound):
                await here.get("t", job.job_id)
        else:
            assert cancelled is not None
            assert (cancelled.state, (await here.outcome("t", job.job_id))[1]) == ("cancelled", None)
    assert min(ends.values()) > 0, "both ways were seen"
    assert await here.look() == (0, 0)
    assert [key for key in by_hand.scan_iter() if by_hand.ttl(key) < 0] == []


async def test_of_many_gateways_one_takes_a_lease_that_ran_out(both: Both) -> None:
    for _ in range(5):
        await put(both[0])
        first = await taken(both[0])
        await asyncio.sleep(1.1 * CAPS.lease_s)
        found = [each for each in await asyncio.gather(*(jobs.take() for jobs in both * 10)) if each]
        assert [(each.job_id, each.tries) for each in found] == [(first.job_id, 2)]
        late, kept = await asyncio.gather(both[0].finish(first, ANSWER), both[1].finish(found[0], ANSWER))
        assert (late, kept) == (False, True)


async def test_jobs_expire_and_are_forgotten_while_they_are_listed(stores: Stores, elsewhere: Stores) -> None:
    here, there = opened(stores, elsewhere, Caps(jobs=100, request_bytes=2**20, ttl_s=0.03, lease_s=5))
    until = time.monotonic() + 3
    gone, seen = 0, 0

    async def work() -> None:
        while time.monotonic() < until:
            await put(here)
            await here.finish(await taken(here), ANSWER)

    async def look() -> None:
        nonlocal gone, seen
        after = None
        while time.monotonic() < until:
            page = await there.page("t", 5, after, "done")
            after = page.after
            for job in page.jobs:
                seen += 1
                assert job.state == "done"
                try:
                    assert (await there.outcome("t", job.job_id))[1] == ANSWER
                    await there.delete("t", job.job_id)
                except JobNotFound:
                    gone += 1

    await asyncio.gather(work(), look(), look())
    assert 0 < gone < seen


async def test_a_key_of_a_later_job_outlives_the_earlier_job(both: Both, by_hand: redis.Redis) -> None:
    here, key = both[0], Key("k", "f" * 64)
    first = await put(here, key=key)
    await here.finish(await taken(here), ANSWER)
    (name,) = by_hand.keys("*idem*")
    by_hand.delete(name)  # as a full store may
    second = await put(here, key=key)
    assert await here.delete("t", first.job_id) is None
    assert (await put(here, key=key)).job_id == second.job_id
    assert by_hand.ttl(name) == -1, "it lasts as long as its job waits"


async def test_a_submission_is_answered_though_its_job_is_forgotten_at_once(both: Both) -> None:
    here, there = both
    key = Key("k", "f" * 64)

    async def forget() -> None:
        for _ in range(200):
            for job in (await there.page("t", 10, None, None)).jobs:
                with suppress(JobNotFound):
                    await there.delete("t", job.job_id)

    async def submit() -> None:
        for _ in range(300):
            assert (await put(here, key=key)).state in ("queued", "cancelled")

    await asyncio.gather(submit(), forget())


async def test_a_lease_of_before_the_clock_was_set_back_runs_out_in_time(both: Both, by_hand: redis.Redis) -> None:
    jobs = both[0]
    first, second = await put(jobs), await put(jobs)
    for lease in (await taken(jobs), await taken(jobs)):
        by_hand.zadd(LEASES, {f"{lease.owner}:{lease.job_id}": (time.time() + 3600) * 1000})
    assert (await jobs.look(), await jobs.look()) == ((0, 0), (0, 0))
    assert await jobs.take() is None
    await asyncio.sleep(1.1 * CAPS.lease_s)
    assert await jobs.look() == (0, 2)
    assert {(await taken(jobs)).job_id, (await taken(jobs)).job_id} == {first.job_id, second.job_id}


async def test_a_lease_is_lost_but_the_job_is_not_when_the_clock_leaps_ahead(both: Both, by_hand: redis.Redis) -> None:
    here, there = both
    job = await put(here)
    lease = await taken(here)
    by_hand.zadd(LEASES, {f"{lease.owner}:{job.job_id}": (time.time() - 3600) * 1000})
    second = await taken(there)
    assert (second.job_id, second.tries, await here.renew(lease)) == (job.job_id, 2, False)
    assert await there.finish(second, ANSWER)
    assert not await here.finish(lease, ANSWER)


async def test_in_a_store_with_more_than_it_may_hold_jobs_go_on_and_only_new_ones_are_refused(
    both: Both, by_hand: redis.Redis
) -> None:
    here, limit = both[0], str(by_hand.config_get("maxmemory")["maxmemory"])
    ids = [(await put(here, bytes(1000))).job_id for _ in range(4)]
    try:
        by_hand.config_set("maxmemory", 2**20)
        with pytest.raises(JobStoreUnavailable):
            await put(here)
        lease = await taken(here)
        assert await here.renew(lease)
        await here.give_back(lease)
        leases = [await taken(here) for _ in ids]
        assert [lease.job_id for lease in leases] == ids
        assert await here.delete("t", ids[3]) is not None
        assert await here.look() == (0, 0)
    finally:
        by_hand.config_set("maxmemory", limit)
    assert await here.finish(leases[0], ANSWER)
