"""`/v1/jobs` over ASGI: what is refused at once, what becomes of a job, who sees it, and what a result is."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from shared.schemas.resources import JobAnswer, JobsAnswer
from shared.settings import Settings
from tests.bad_input import IN_BASE64, JOBS, PNG, UNKNOWN_ID, picture
from tests.unit.gateway.job_calls import RAW, finished, held, sent, state_is, without
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.test_access import KEYS
from tests.unit.gateway.tiny import Brightness, info

PROMPTS = [{"points": [[1, 1]], "labels": [1]}]
BODIES: dict[str, dict[str, Any]] = {
    "semantic": {"image": IN_BASE64, "classes": ["bright"], "simplify": 1},
    "panoptic": {"image": IN_BASE64},
    "promptable": {"image": IN_BASE64, "prompts": PROMPTS},
    "everything": {"image": IN_BASE64, "point_grids": [[[0.5, 0.25]]]},
}
PATHS = {task: f"/v1/{task}" for task in BODIES} | {"everything": "/v1/promptable/everything"}


@pytest.mark.parametrize("task", BODIES)
async def test_a_result_is_what_the_tasks_path_answers(task: str, gateway: Running) -> None:
    plain = await gateway.client.post(PATHS[task], json=BODIES[task])
    assert plain.status_code == 200, plain.text
    answer = await gateway.client.post(JOBS, json={**BODIES[task], "task": task})
    job = await finished(gateway, answer)
    assert (job.state, job.task, job.error) == ("done", task, None)
    result = await gateway.client.get(job.links.result)
    assert without(result) == without(plain)
    assert (result.status_code, result.headers["content-type"]) == (200, plain.headers["content-type"])
    assert result.json()["request_id"] == answer.headers["x-request-id"]
    assert result.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("task", BODIES)
async def test_a_tasks_own_path_makes_a_job_where_it_is_preferred(task: str, gateway: Running) -> None:
    headers = {"Prefer": "wait=10, Respond-Async;x=1"}
    answer = await gateway.client.post(PATHS[task], json=BODIES[task], headers=headers)
    assert answer.headers["preference-applied"] == "respond-async"
    assert (await finished(gateway, answer)).task == task
    plain = await gateway.client.post(PATHS[task], json=BODIES[task], headers={"Prefer": "return=minimal"})
    assert (plain.status_code, "preference-applied" in plain.headers) == (200, False)


async def test_what_was_accepted_says_where_to_go(gateway: Running) -> None:
    answer = await sent(gateway)
    job = JobAnswer.model_validate_json(answer.content)
    assert (answer.status_code, answer.headers["location"], job.state) == (202, f"{JOBS}/{job.id}", "queued")
    assert job.links.model_dump() == {
        "self": f"{JOBS}/{job.id}", "result": f"{JOBS}/{job.id}/result", "cancel": f"{JOBS}/{job.id}",
    }  # fmt: skip
    assert (job.expires_at - job.created_at).total_seconds() == 86_400
    assert "preference-applied" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


async def test_accept_says_in_what_form_the_result_comes(gateway: Running) -> None:
    job = await finished(gateway, await sent(gateway, headers={**RAW, "Accept": "image/png"}))
    result = await gateway.client.get(job.links.result)
    assert (result.headers["content-type"], result.content) == ("image/png", b"\x89PNG map")
    assert result.headers["x-segments"] == "W10="


@pytest.mark.parametrize(
    "ways",
    [
        {"files": {"image": PNG}, "data": {"task": "semantic"}, "params": {}, "content": None, "headers": {}},
        {"files": {"image": PNG}, "content": None, "headers": {}},
        {"json": {"image": IN_BASE64, "task": "semantic"}, "params": {}, "content": None, "headers": {}},
    ],
    ids=["form", "query", "JSON"],
)
async def test_the_task_may_stand_in_each_place(ways: dict[str, Any], gateway: Running) -> None:
    assert (await finished(gateway, await sent(gateway, **ways))).state == "done"


ALSO_BAD: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "a task in two places": (
        {"json": {"image": IN_BASE64, "task": "semantic"}, "content": None, "headers": {}},
        422, "invalid_option", "task",
    ),
    "a task that is a list": (
        {"params": {}, "json": {"image": IN_BASE64, "task": ["a"]}, "content": None, "headers": {}},
        422, "invalid_option", "task",
    ),
    "a task that nobody serves": ({"params": {"task": "instance"}}, 404, "model_not_found", "model"),
    "an unknown image": (
        {"params": {"task": "semantic", "image_id": UNKNOWN_ID}, "content": None, "headers": {}},
        404, "image_not_found", "image_id",
    ),
    "another image's id": ({"params": {"task": "semantic", "image_id": UNKNOWN_ID}}, 409, "image_mismatch", "image_id"),
    "prompts outside": (
        {"json": {"image": IN_BASE64, "prompts": [{"points": [[999, 1]]}]}, "content": None, "headers": {},
         "params": {"task": "promptable"}},
        422, "invalid_option", "prompts[0].points[0][0]",
    ),
    "format against Accept": (
        {"params": {"task": "semantic", "format": "coco"}, "headers": {**RAW, "Accept": "image/png"}},
        422, "invalid_option", "format",
    ),
    "a long key": ({"headers": {**RAW, "Idempotency-Key": "k" * 256}}, 422, "invalid_option", "Idempotency-Key"),
}  # fmt: skip
"""What is refused at once beside `tests.bad_input`: it needs to know what is served, or is said in another way."""


@pytest.mark.parametrize("case", ALSO_BAD)
async def test_what_can_be_refused_at_once_is_no_job(case: str, gateway: Running) -> None:
    request, status, code, field = ALSO_BAD[case]
    answer = await sent(gateway, **request)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["details"][0]["field"] == field
    assert (await gateway.client.get(JOBS)).json()["jobs"] == []


async def test_a_key_makes_one_job_of_the_same_request(gateway: Running) -> None:
    keyed = {"headers": {**RAW, "Idempotency-Key": "a-1"}}
    first, again = await sent(gateway, **keyed), await sent(gateway, **keyed)
    as_form = await sent(
        gateway, files={"image": PNG}, content=None, headers={"Idempotency-Key": "a-1", "Accept": "*/*"}
    )
    assert {first.json()["id"], again.json()["id"], as_form.json()["id"]} == {first.json()["id"]}
    await finished(gateway, first)
    late = await sent(gateway, **keyed)
    assert (late.status_code, late.json()["id"], late.json()["state"]) == (202, first.json()["id"], "done")
    others: list[dict[str, Any]] = [
        {"content": picture(1)},
        {"params": {"task": "panoptic"}},
        {"params": {"task": "semantic", "simplify": 2}},
        {"headers": {**keyed["headers"], "Accept": "image/png"}},
    ]
    for other in others:
        refused = await sent(gateway, **{**keyed, **other})
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_mismatch")
    assert len(gateway.dense.calls) == 1
    assert gateway.sink.total("segserve_jobs_total", state="queued") == 1


async def test_the_tries_of_one_request_make_one_job(gateway: Running) -> None:
    async def tried(unique_id: str, **more: str) -> str:
        answer = await sent(gateway, headers={**RAW, "X-Unique-ID": unique_id, **more})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    first = await tried("a")
    assert await tried("a") == first
    preferred = await gateway.client.post(
        "/v1/semantic", content=PNG, headers={**RAW, "X-Unique-ID": "a", "Prefer": "respond-async"}
    )
    assert preferred.json()["id"] == first
    others = [await tried("b"), await tried("a", **{"Idempotency-Key": "a"}), (await sent(gateway)).json()["id"]]
    assert len({first, *others}) == 4
    assert await tried("c", **{"Idempotency-Key": "a"}) == others[1], "a caller's own key goes before"
    doubled = [("X-Unique-ID", "a"), ("X-Unique-ID", "a"), *RAW.items()]
    assert (await sent(gateway, headers=doubled)).json()["id"] not in {first, *others}
    assert gateway.sink.total("segserve_jobs_total", state="queued") == 5


async def test_tenants_see_only_their_own() -> None:
    async with running(settings=KEYS) as gateway:
        ada, bo = {"X-API-Key": "k1"}, {"X-API-Key": "k2"}
        answer = await sent(gateway, headers={**RAW, **ada, "Idempotency-Key": "k"})
        path = answer.headers["location"]
        assert (await sent(gateway)).status_code == 401
        for ask in (gateway.client.get(path, headers=bo), gateway.client.delete(path, headers=bo),
                    gateway.client.get(f"{path}/result", headers=bo)):  # fmt: skip
            theirs = await ask
            assert (theirs.status_code, theirs.json()["code"]) == (404, "job_not_found")
        assert (await gateway.client.get(JOBS, headers=bo)).json()["jobs"] == []
        assert (await sent(gateway, headers={**RAW, **bo, "Idempotency-Key": "k"})).json()["id"] not in path
        assert [job["id"] for job in (await gateway.client.get(JOBS, headers=ada)).json()["jobs"]] == [
            answer.json()["id"]
        ]
        done = await gateway.client.get(path, params={"wait": 30}, headers=ada)
        assert done.json()["state"] == "done"
        assert {call.caller.tenant for call in gateway.dense.calls} <= {"ada", "bo"}
        assert gateway.dense.calls[0].caller.tenant == "ada"


async def test_a_tenant_that_has_its_share_is_told_when_to_come_again() -> None:
    _, wait = held()
    settings = Settings(max_jobs_per_tenant=1)
    async with running(Brightness(info("b", "semantic"), wait), settings=settings) as gateway:
        first = await sent(gateway)
        refused = await sent(gateway)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.json()["details"][0]["field"] == "queued jobs"
        assert int(refused.headers["retry-after"]) > 0
        await gateway.client.delete(first.headers["location"])
        assert (await sent(gateway)).status_code == 202


async def test_the_list_comes_in_pages_newest_first(gateway: Running) -> None:
    ids = []
    for _ in range(5):
        ids.append((await finished(gateway, await sent(gateway))).id)
        await asyncio.sleep(0.002)
    found, query = list[str](), {"limit": "2", "state": "done"}
    while True:
        page = JobsAnswer.model_validate_json((await gateway.client.get(JOBS, params=query)).content)
        assert len(page.jobs) <= 2
        found += [job.id for job in page.jobs]
        if page.next_cursor is None:
            break
        query["cursor"] = page.next_cursor
    assert found == list(reversed(ids))
    assert (await gateway.client.get(JOBS, params={"state": "failed"})).json() == {"jobs": []}


async def test_states_come_as_events() -> None:
    go, wait = held()
    async with running(Brightness(info("threshold", "semantic"), wait)) as gateway:
        path = (await sent(gateway)).headers["location"]
        await state_is(gateway, path, "running")
        asyncio.get_running_loop().call_later(0.2, go.set)
        told = await gateway.client.get(path, headers={"Accept": "text/event-stream"})
        assert told.headers["content-type"] == "text/event-stream"
        events = [json.loads(line.removeprefix("data: ")) for line in told.text.splitlines() if line.startswith("data")]
        assert [JobAnswer.model_validate(event).state for event in events] == ["running", "done"]
        unknown = await gateway.client.get(f"{JOBS}/job_1", headers={"Accept": "text/event-stream"})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "job_not_found")


async def test_only_so_many_wait_at_once() -> None:
    settings = Settings(jobs_at_once=0, max_streams=1)
    async with running(settings=settings) as gateway:
        path = (await sent(gateway)).headers["location"]
        waiting = asyncio.create_task(gateway.client.get(path, params={"wait": 1}))
        await asyncio.sleep(0.1)
        for more in ({"params": {"wait": "1"}}, {"headers": {"Accept": "text/event-stream"}}):
            refused = await gateway.client.get(path, **more)  # type: ignore[arg-type]
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert (await gateway.client.get(path)).status_code == 200, "who does not wait is answered"
        assert (await waiting).json()["state"] == "queued"
        assert (await gateway.client.get(path, params={"wait": 0.01})).status_code == 200


async def test_who_waits_is_answered_in_time_though_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(settings=Settings(jobs_at_once=0)) as gateway:
        path = (await sent(gateway)).headers["location"]
        waiting = asyncio.create_task(gateway.client.get(path, params={"wait": 0.4}))
        await asyncio.sleep(0.1)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        assert (await asyncio.wait_for(waiting, 10)).json()["state"] == "queued"
