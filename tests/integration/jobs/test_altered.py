"""Jobs altered in a real Valkey behind two gateways: no list and no worker stops at one, and its caller is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from deploy.valkey import EmbeddedValkey
from shared.schemas.resources import JobAnswer, JobsAnswer
from shared.settings import Settings
from shared.store.jobs import JobStore
from shared.store.metrics import ERRORS
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from tests.bad_input import JOBS, PNG
from tests.unit.gateway.running import Running, running

pytestmark = pytest.mark.integration
RAW = {"Content-Type": "image/png"}
HARMS = (b"", b"x", b"9" * 20, b"\xff", None)
WAITING = ("state", "task", "created", "tries", "request", "sum", "seal", "course")
ENDED = (
    "state",
    "task",
    "created",
    "started",
    "finished",
    "status",
    "media",
    "headers",
    "result",
    "result_sum",
    "seal",
    "tries",
    "course",
)
SETTINGS = Settings(max_jobs_per_tenant=100)
IDLE = SETTINGS.model_copy(update={"jobs_at_once": 0})


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(memory_bytes=64 * 2**20) as valkey:
        yield valkey


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
async def jobs(server: EmbeddedValkey, sink: RecordingSink) -> AsyncIterator[JobStore]:
    settings = {**SETTINGS.model_dump(), "redis_url": server.url, "redis_timeout_s": 10}
    opened = open_stores(Settings.model_validate(settings), sink)
    yield opened.jobs
    await opened.close()


async def sent(gateway: Running, key: str) -> str:
    """The id of a job, with this key."""
    headers = {**RAW, "Idempotency-Key": key}
    answer = await gateway.client.post(JOBS, params={"task": "semantic"}, content=PNG, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def sent_for(gateway: Running, fields: tuple[str, ...]) -> dict[str, tuple[str, bytes | None]]:
    """A job, by its id, for each harm to each of these fields; their keys are numbers from 0."""
    cases = [(field, value) for field in fields for value in HARMS]
    return {await sent(gateway, f"{number}"): case for number, case in enumerate(cases)}


async def listed(gateway: Running) -> dict[str, JobAnswer]:
    """All jobs, by id."""
    answer = await gateway.client.get(JOBS, params={"limit": 100})
    assert answer.status_code == 200, answer.text
    return {job.id: job for job in JobsAnswer.model_validate_json(answer.content).jobs}


async def ended(gateway: Running, job_id: str) -> JobAnswer:
    answer = await gateway.client.get(f"{JOBS}/{job_id}", params={"wait": 30})
    assert answer.status_code == 200, answer.text
    return JobAnswer.model_validate_json(answer.content)


def alter(server: EmbeddedValkey, job_id: str, field: str, value: bytes | None) -> None:
    with redis.Redis.from_url(server.url) as by_hand:
        (record,) = by_hand.keys(f"*{job_id}")
        if value is None:
            by_hand.hdel(record, field)
        else:
            by_hand.hset(record, field, value)


async def test_a_worker_ends_each_altered_job_at_once_and_runs_the_others(
    jobs: JobStore, server: EmbeddedValkey, sink: RecordingSink
) -> None:
    async with running(settings=IDLE, jobs=jobs) as gateway:
        altered = await sent_for(gateway, WAITING)
        whole = [await sent(gateway, f"whole {number}".replace(" ", "-")) for number in range(3)]
        for job_id, (field, value) in altered.items():
            alter(server, job_id, field, value)
        assert set(await listed(gateway)) == {*altered, *whole}
    async with running(settings=SETTINGS, jobs=jobs) as gateway:
        for job_id in whole:
            assert (await ended(gateway, job_id)).state == "done"
        for job_id, case in altered.items():
            job = await ended(gateway, job_id)
            result = await gateway.client.get(job.links.result)
            assert (job.state, job.error and job.error.code) == ("failed", "job_damaged"), case
            assert (result.status_code, result.json()["code"]) == (500, "job_damaged")
        assert set(await listed(gateway)) == {*altered, *whole}
        assert len(gateway.dense.calls) == len(whole), "no model saw what was damaged"
        states = [dict(each.labels)["state"] for each in gateway.sink.records if each.name == "segserve_jobs_total"]
        assert (states.count("running"), states.count("failed")) == (len(altered) + 3, len(altered))
        assert sink.total(ERRORS, operation="job_take", reason="corrupt") == len(altered)
        again = await sent(gateway, "0")
        assert again not in altered
        assert (await ended(gateway, again)).state == "done"


async def test_a_result_that_was_altered_is_never_delivered_and_its_job_can_be_sent_again(
    jobs: JobStore, server: EmbeddedValkey, sink: RecordingSink
) -> None:
    async with running(settings=SETTINGS, jobs=jobs) as gateway:
        found = await sent_for(gateway, ENDED)
        for job_id in found:
            assert (await ended(gateway, job_id)).state == "done"
        for job_id, (field, value) in found.items():
            alter(server, job_id, field, value)
        told = await listed(gateway)
        assert set(told) == set(found)
        for number, (job_id, case) in enumerate(found.items()):
            result = await gateway.client.get(f"{JOBS}/{job_id}/result")
            assert (result.status_code, result.json()["code"]) == (500, "job_damaged"), case
            assert "send it again" in result.json()["message"]
            assert (await sent(gateway, f"{number}")) not in found, case
        assert sink.total(ERRORS, operation="job_get", reason="corrupt") >= len(found)
        for job_id in found:
            assert (await gateway.client.delete(f"{JOBS}/{job_id}")).status_code in (200, 204)
