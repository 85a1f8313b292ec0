"""How a gateway works on jobs, over ASGI: one at a time, cancelled, failed, late, under other clocks and stores."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.gateway.inprocess import InProcessDirectory
from services.gateway.jobs.worker import LOOK_S
from shared.calls import DenseCall
from shared.errors import InternalError, Overloaded
from shared.settings import Settings
from shared.store.jobs import Lease, Outcome
from shared.store.jobs_memory import MemoryJobStore
from shared.store.keys import image_id
from shared.store.opening import caps_of
from tests.bad_input import PNG, picture
from tests.unit.gateway.job_calls import RAW, finished, held, sent, state_is, without
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Brightness, info
from tests.unit.store.clock import Clock

CAPS = caps_of(Settings())


async def test_one_job_runs_at_a_time_and_requests_go_on() -> None:
    go, wait = held()
    dense = Brightness(info("threshold", "semantic"), wait)
    async with running(dense) as gateway:
        first, second = await sent(gateway), await sent(gateway)
        await state_is(gateway, first.headers["location"], "running")
        early = await gateway.client.get(first.json()["links"]["result"])
        assert (early.status_code, early.json()["code"]) == (409, "job_not_done")
        waiting = await gateway.client.get(second.headers["location"], params={"wait": 0.2})
        assert (waiting.json()["state"], len(dense.calls)) == ("queued", 1)
        asked = asyncio.create_task(gateway.client.post("/v1/semantic", content=PNG, headers=RAW))
        await asyncio.sleep(0.1)
        assert len(dense.calls) == 2
        go.set()
        assert (await asked).status_code == 200
        assert (await finished(gateway, second)).state == "done"


async def test_a_job_that_runs_is_cancelled_and_its_work_ends() -> None:
    ended = asyncio.Event()

    async def wait(_: DenseCall) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(Brightness(info("threshold", "semantic"), wait)) as gateway:
        path = (await sent(gateway)).headers["location"]
        await state_is(gateway, path, "running")
        cancelled = await gateway.client.delete(path)
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert "cancel" not in cancelled.json()["links"]
        result = await gateway.client.get(f"{path}/result")
        assert (result.status_code, result.json()["code"]) == (409, "job_cancelled")
        await asyncio.wait_for(ended.wait(), 10)
        assert (await gateway.client.delete(path)).status_code == 204
        assert (await gateway.client.get(path)).json()["code"] == "job_not_found"


async def test_a_job_that_fails_tells_its_error_and_the_next_runs() -> None:
    async def fail(call: DenseCall) -> None:
        if call.image == PNG:
            raise InternalError

    async with running(Brightness(info("threshold", "semantic"), fail)) as gateway:
        answer = await sent(gateway, headers={**RAW, "X-Request-ID": "mine"})
        job = await finished(gateway, answer)
        assert (job.state, job.error and job.error.code) == ("failed", "internal")
        result = await gateway.client.get(job.links.result)
        assert (result.status_code, result.json()["code"], result.json()["request_id"]) == (500, "internal", "mine")
        assert (await finished(gateway, await sent(gateway, content=picture(3)))).state == "done"


async def test_pixels_that_are_cut_short_fail_the_job_as_they_fail_a_request(gateway: Running) -> None:
    content = picture(7)[:-60]
    plain = await gateway.client.post("/v1/semantic", content=content, headers=RAW)
    job = await finished(gateway, await sent(gateway, content=content))
    result = await gateway.client.get(job.links.result)
    assert (result.status_code, without(result)) == (plain.status_code, without(plain))
    assert result.status_code == 400


async def test_a_busy_model_is_waited_for() -> None:
    turns = iter([Overloaded(retry_after_s=0.01), Overloaded(retry_after_s=0.01)])

    async def busy(_: DenseCall) -> None:
        for error in turns:
            raise error

    async with running(Brightness(info("threshold", "semantic"), busy)) as gateway:
        assert (await finished(gateway, await sent(gateway))).state == "done"
        assert len(gateway.dense.calls) == 3


async def test_a_job_that_takes_too_long_has_failed() -> None:
    _, wait = held()
    async with running(Brightness(info("b", "semantic"), wait), settings=Settings(job_timeout_s=0.1)) as gateway:
        job = await finished(gateway, await sent(gateway))
        assert job.error is not None
        assert (job.state, job.error.code) == ("failed", "deadline_exceeded")


async def test_a_stored_image_is_looked_up_when_its_turn_comes() -> None:
    go, wait = held()
    async with running(Brightness(info("threshold", "semantic"), wait)) as gateway:
        await gateway.client.post("/v1/images", content=PNG, headers=RAW)
        first = await sent(gateway)
        named = {"params": {"task": "semantic", "image_id": image_id(PNG)}, "content": None, "headers": {}}
        second, third = await sent(gateway, **named), await sent(gateway, **named)
        await state_is(gateway, first.headers["location"], "running")
        go.set()
        assert (await finished(gateway, second)).state == "done"
        assert (await finished(gateway, third)).state == "done"
        go.clear()
        blocked, last = await sent(gateway), await sent(gateway, **named)
        await state_is(gateway, blocked.headers["location"], "running")
        await gateway.client.delete(f"/v1/images/{image_id(PNG)}")
        go.set()
        job = await finished(gateway, last)
        assert job.error is not None
        assert job.error.code == "image_not_found"


async def test_metrics_tell_of_states_waits_and_the_queue(gateway: Running) -> None:
    await finished(gateway, await sent(gateway))
    states = [dict(record.labels)["state"] for record in gateway.sink.records if record.name == "segserve_jobs_total"]
    assert states == ["queued", "running", "done"]
    assert len(gateway.sink.values("segserve_job_wait_seconds", task="semantic")) == 1
    await asyncio.sleep(1.2 * LOOK_S)
    assert gateway.sink.values("segserve_jobs_waiting")[-1] == 0


async def test_metrics_tell_of_takeovers_and_of_why_jobs_fail() -> None:
    async def fail(_: DenseCall) -> None:
        raise InternalError

    clock = Clock(time.time())
    jobs = MemoryJobStore(CAPS, 2**20, clock)
    async with running(jobs=jobs, settings=Settings(jobs_at_once=0)) as gateway:
        answer = await sent(gateway)
    assert await jobs.take() is not None, "by a gateway that then dies"
    clock.pass_(Settings().job_lease_s + 1)
    async with running(Brightness(info("threshold", "semantic"), fail), jobs=jobs) as gateway:
        assert (await finished(gateway, answer)).state == "failed"
        await finished(gateway, await sent(gateway))
        sink = gateway.sink
    assert sink.total("segserve_job_takeovers_total", task="semantic") == 1
    assert sink.total("segserve_job_failures_total", task="semantic", reason="internal") == 2
    assert sink.values("segserve_jobs_running") == [0, 1, 0, 1, 0]


async def test_a_job_that_comes_while_a_worker_looks_in_vain_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.gateway.jobs.worker.LOOK_S", 60.0)
    looks = asyncio.Event()

    class Slow(MemoryJobStore):
        async def take(self) -> Lease | None:
            found = await super().take()
            looks.set()
            await asyncio.sleep(0.2 if found is None else 0)
            return found

    async with running(jobs=Slow(CAPS, 2**20)) as gateway:
        await looks.wait()
        assert (await finished(gateway, await sent(gateway))).state == "done"


async def test_a_job_whose_end_the_store_is_slow_to_confirm_is_counted() -> None:
    class Slow(MemoryJobStore):
        async def finish(self, lease: Lease, outcome: Outcome) -> bool:
            is_kept = await super().finish(lease, outcome)
            await asyncio.sleep(0.3)  # longer than between two renewals
            return is_kept

    async with running(jobs=Slow(CAPS, 2**20), settings=Settings(job_lease_s=0.15)) as gateway:
        await finished(gateway, await sent(gateway))
        await asyncio.sleep(0.5)
        assert gateway.sink.total("segserve_jobs_total", state="done") == 1


async def test_a_wait_is_measured_by_the_stores_clock_alone() -> None:
    clock = Clock(time.time() - 3 * 86_400)
    jobs = MemoryJobStore(CAPS, 2**20, clock)
    async with running(jobs=jobs) as gateway:
        assert (await finished(gateway, await sent(gateway))).state == "done", "the gateway's clock is days ahead"
    async with running(jobs=jobs, settings=Settings(jobs_at_once=0)) as gateway:
        answer = await sent(gateway)
    clock.pass_(86_401)
    async with running(jobs=jobs) as gateway:
        job = await finished(gateway, answer)
        assert (job.state, job.error and job.error.code) == ("failed", "deadline_exceeded")


async def test_a_gateway_that_takes_none_leaves_them() -> None:
    async with running(settings=Settings(jobs_at_once=0)) as gateway:
        answer = await sent(gateway)
        waited = await gateway.client.get(answer.headers["location"], params={"wait": 0.1})
        assert waited.json()["state"] == "queued"


async def test_a_new_gateway_begins_once_it_knows_the_models() -> None:
    known = asyncio.Event()

    class Late(InProcessDirectory):
        async def known(self) -> None:
            await known.wait()

    async with running(directory=Late) as gateway:
        answer = await sent(gateway)
        waiting = await gateway.client.get(answer.headers["location"], params={"wait": 0.2})
        assert waiting.json()["state"] == "queued"
        known.set()
        assert (await finished(gateway, answer)).state == "done"
