"""Jobs in this process's memory: the contract, and what only this store does."""

from __future__ import annotations

import pytest

from shared.errors import JobNotFound
from shared.store.jobs import JobStore, Outcome, id_floor, new_id
from shared.store.jobs_memory import MemoryJobStore
from tests.unit.store.clock import Clock
from tests.unit.store.job_contract import ANSWER, CAPS, JobStoreContract, put


class TestContract(JobStoreContract):
    @pytest.fixture
    def jobs(self) -> JobStore:
        return MemoryJobStore(CAPS, 10_000)


async def done(jobs: MemoryJobStore, outcome: Outcome = ANSWER) -> str:
    job = await put(jobs)
    lease = await jobs.take()
    assert lease is not None
    assert await jobs.finish(lease, outcome)
    return job.job_id


async def test_the_results_that_came_first_make_room() -> None:
    jobs = MemoryJobStore(CAPS, 100)
    ids = [await done(jobs, Outcome(200, "image/png", (), bytes(40))) for _ in range(3)]
    assert [job.job_id for job in (await jobs.page("t", 10, None, None)).jobs] == sorted(ids[1:], reverse=True)
    large = await done(jobs, Outcome(200, "image/png", (), bytes(400)))
    assert [job.job_id for job in (await jobs.page("t", 10, None, None)).jobs] == [large], "the newest is kept"


async def test_a_finished_job_ends_with_its_time(clock: Clock) -> None:
    jobs = MemoryJobStore(CAPS, 100, clock)
    name = await done(jobs)
    clock.pass_(59)
    assert (await jobs.get("t", name)).state == "done"
    clock.pass_(1)
    with pytest.raises(JobNotFound):
        await jobs.get("t", name)


def test_ids_sort_by_their_time_and_cannot_be_guessed() -> None:
    earlier, later = new_id(1_000.0), new_id(1_000.001)
    assert earlier < later
    assert id_floor(1_000.001) > earlier
    assert len({new_id(1_000.0) for _ in range(1000)}) == 1000
    assert len(earlier) == len("job_") + 32
