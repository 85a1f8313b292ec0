"""What every store of jobs promises; a test module inherits it and gives the store."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.errors import IdempotencyMismatch, JobNotFound, TooManyRequests
from shared.store.jobs import Caps, Job, JobStore, Key, NewJob, Outcome
from shared.types import JobState

CAPS = Caps(jobs=3, request_bytes=100, ttl_s=60, lease_s=0.2)
"""What the stores under test take."""
ANSWER = Outcome(200, "image/png", (("X-Segments", "W10="),), b"\x89PNG \x00 map")
FAILURE = Outcome(404, "application/json", (), b'{"code":"model_not_found"}')


async def put(store: JobStore, request: bytes = b"request", tenant: str = "t", key: Key | None = None) -> Job:
    return (await store.submit(tenant, NewJob("semantic", request, key)))[0]


class JobStoreContract:
    """Checks against the fixture `jobs`, a fresh store with `CAPS`."""

    async def test_a_job_waits_runs_and_is_done(self, jobs: JobStore) -> None:
        begun = time.time()
        job = await put(jobs)
        assert (job.state, job.task, job.started_at, job.finished_at) == ("queued", "semantic", None, None)
        assert begun - 2 < job.created_at < time.time() + 2
        assert job.expires_at == pytest.approx(job.created_at + 60)
        lease = await jobs.take()
        assert lease is not None
        assert (lease.job_id, lease.request, lease.tries) == (job.job_id, b"request", 1)
        running, nothing = await jobs.outcome("t", job.job_id)
        assert (running.state, nothing) == ("running", None)
        assert running.started_at is not None
        assert await jobs.finish(lease, ANSWER)
        done, outcome = await jobs.outcome("t", job.job_id)
        assert (done.state, outcome) == ("done", ANSWER)
        assert done.finished_at is not None
        assert done.expires_at == pytest.approx(done.finished_at + 60)
        assert await jobs.take() is None

    async def test_a_failed_one_tells_its_error(self, jobs: JobStore) -> None:
        job = await put(jobs)
        lease = await jobs.take()
        assert lease is not None
        assert await jobs.finish(lease, FAILURE)
        failed, outcome = await jobs.outcome("t", job.job_id)
        assert (failed.state, failed.error, outcome) == ("failed", FAILURE.body, FAILURE)

    async def test_the_oldest_is_taken_first_each_once(self, jobs: JobStore) -> None:
        ids = [(await put(jobs)).job_id for _ in range(3)]
        assert await jobs.look() == (3, 0)
        taken = [await jobs.take() for _ in range(3)]
        assert [lease.job_id for lease in taken if lease] == ids
        assert (await jobs.take(), await jobs.look()) == (None, (0, 0))

    async def test_only_its_tenant_knows_it(self, jobs: JobStore) -> None:
        job = await put(jobs)
        for ask in (jobs.get, jobs.outcome, jobs.delete):
            with pytest.raises(JobNotFound):
                await ask("u", job.job_id)
        assert (await jobs.page("u", 10, None, None)).jobs == []
        assert (await jobs.get("t", job.job_id)).state == "queued"

    async def test_the_same_key_with_the_same_request_is_the_same_job(self, jobs: JobStore) -> None:
        first, is_new = await jobs.submit("t", NewJob("semantic", b"a", Key("k", "f" * 64)))
        assert is_new
        assert await jobs.submit("t", NewJob("semantic", b"a", Key("k", "f" * 64))) == (first, False)
        with pytest.raises(IdempotencyMismatch):
            await put(jobs, key=Key("k", "e" * 64))
        others = [await put(jobs, key=Key("l", "f" * 64)), await put(jobs, tenant="u", key=Key("k", "e" * 64))]
        assert len({first.job_id, *(job.job_id for job in others)}) == 3
        assert (await jobs.look())[0] == 3

    async def test_a_key_is_free_once_its_job_is_forgotten(self, jobs: JobStore) -> None:
        first = await put(jobs, key=Key("k", "f" * 64))
        assert await jobs.delete("t", first.job_id)
        assert (await put(jobs, key=Key("k", "f" * 64))).job_id == first.job_id, "a cancelled job is still there"
        assert await jobs.delete("t", first.job_id) is None
        assert (await put(jobs, key=Key("k", "e" * 64))).state == "queued"

    async def test_a_tenant_has_its_share_until_its_jobs_end(self, jobs: JobStore) -> None:
        ids = [(await put(jobs, bytes(30))).job_id for _ in range(3)]
        with pytest.raises(TooManyRequests) as many:
            await put(jobs, b"")
        assert many.value.details[0].field == "queued jobs"
        assert many.value.retry_after_s
        await put(jobs, tenant="u")
        await jobs.delete("t", ids[0])
        with pytest.raises(TooManyRequests) as large:
            await put(jobs, bytes(41))
        assert large.value.details[0].field == "bytes of queued jobs"
        lease = await jobs.take()
        assert lease is not None
        await jobs.finish(lease, ANSWER)
        await put(jobs, bytes(70))

    async def test_a_cancelled_job_is_never_taken_and_then_forgotten(self, jobs: JobStore) -> None:
        job = await put(jobs)
        cancelled = await jobs.delete("t", job.job_id)
        assert cancelled is not None
        assert cancelled.state == "cancelled"
        assert (await jobs.take(), await jobs.look()) == (None, (0, 0))
        assert (await jobs.outcome("t", job.job_id))[1] is None
        assert await jobs.delete("t", job.job_id) is None
        with pytest.raises(JobNotFound):
            await jobs.delete("t", job.job_id)
        assert (await jobs.page("t", 10, None, None)).jobs == []

    async def test_whoever_works_on_a_cancelled_job_is_told_and_its_outcome_is_dropped(self, jobs: JobStore) -> None:
        job = await put(jobs)
        lease = await jobs.take()
        assert lease is not None
        assert await jobs.renew(lease)
        await jobs.delete("t", job.job_id)
        assert not await jobs.renew(lease)
        assert not await jobs.finish(lease, ANSWER)
        await jobs.give_back(lease)
        assert (await jobs.get("t", job.job_id)).state == "cancelled"
        assert await jobs.look() == (0, 0)

    async def test_a_lease_that_runs_out_is_taken_over(self, jobs: JobStore) -> None:
        job = await put(jobs)
        first = await jobs.take()
        assert first is not None
        assert await jobs.take() is None
        await asyncio.sleep(0.25)
        assert await jobs.look() == (0, 1)
        second = await jobs.take()
        assert second is not None
        assert (second.job_id, second.tries, second.request) == (job.job_id, 2, b"request")
        assert not await jobs.renew(first)
        assert not await jobs.finish(first, FAILURE)
        assert await jobs.finish(second, ANSWER)
        assert (await jobs.get("t", job.job_id)).state == "done"

    async def test_a_lease_that_is_renewed_is_kept(self, jobs: JobStore) -> None:
        await put(jobs)
        lease = await jobs.take()
        assert lease is not None
        for _ in range(6):
            await asyncio.sleep(0.06)
            assert await jobs.renew(lease)
            assert await jobs.take() is None

    async def test_a_job_given_back_is_the_next_and_no_try(self, jobs: JobStore) -> None:
        first, _ = await put(jobs), await put(jobs)
        lease = await jobs.take()
        assert lease is not None
        await jobs.give_back(lease)
        assert (await jobs.get("t", first.job_id)).state == "queued"
        assert await jobs.look() == (2, 0)
        again = await jobs.take()
        assert again is not None
        assert (again.job_id, again.tries) == (first.job_id, 1)
        assert not await jobs.renew(lease)

    @pytest.mark.parametrize("state", [None, "cancelled"])
    async def test_pages_are_newest_first_and_whole(self, state: JobState | None, jobs: JobStore) -> None:
        ids = []
        for number in range(7):
            job = await put(jobs)
            await asyncio.sleep(0.002)  # ids of one millisecond have no order
            ids.append(job.job_id)
            if number < 5:
                await jobs.delete("t", job.job_id)
        wanted = list(reversed(ids if state is None else ids[:5]))
        found, after = list[str](), None
        while True:
            page = await jobs.page("t", 2, after, state)
            found += [job.job_id for job in page.jobs]
            after = page.after
            if after is None:
                break
        assert found == wanted

    async def test_news_wakes_who_waits_for_a_job(self, jobs: JobStore) -> None:
        waiting = asyncio.create_task(jobs.news(30))
        await asyncio.sleep(0)
        await put(jobs)
        await asyncio.wait_for(waiting, 5)
        begun = time.monotonic()
        await jobs.news(0.05)
        assert time.monotonic() - begun >= 0.04, "told once"
