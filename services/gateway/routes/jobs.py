"""`/v1/jobs`: a task's request in, 202 and a job out; what becomes of it is asked for later, or followed as events."""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import Sent, read
from services.gateway.context import Gateway, gateway
from services.gateway.events import Event, EventStream
from services.gateway.fields import check, gather
from services.gateway.jobs.documentation import job_deletion, job_list, job_record, job_result, submissions
from services.gateway.jobs.submission import TASK, submitted, task_taken
from services.gateway.jobs.told import job_fields, result
from services.gateway.negotiation import wants_events
from services.gateway.responses import JSON_OPTIONS, fresh
from services.gateway.routes import dense, everything, promptable
from services.gateway.scopes import arrival, lengthen
from services.gateway.tasks import TaskKind
from services.gateway.uploads import taken_apart
from shared.errors import InvalidOption
from shared.schemas.options import JobPageFields, JobWaitFields
from shared.store.jobs import Job
from shared.types import JobTask

KINDS: Mapping[JobTask, TaskKind] = {
    kind.name: kind for kind in (*dense.KINDS.values(), promptable.KIND, everything.KIND)
}
"""What may be a job."""
ASKED_AGAIN_S = (0.05, 0.25)
"""A job that is waited for is looked at so soon, then less and less often, at last so often."""
SPARED_S = 1.0
"""A wait ends so long before the request's deadline."""

router = APIRouter(tags=["jobs"])


@router.post("/v1/jobs", status_code=202, **submissions({name: kind.options for name, kind in KINDS.items()}))
async def submit(request: Request) -> Response:
    """Have a task done later: the request that its own path takes, and which `task` it is. What that path refuses at
    once is refused at once here too. `Accept` says in what form the result will come.

    With `Idempotency-Key` the same request may be sent again without a second job. `Prefer: respond-async` on a task's
    own path does the same.
    """
    here = gateway(request)
    with here.admit(request) as caller:
        sent = await read(request, here.settings)
        name, query, rest = task_taken(request.query_params.multi_items(), sent)
        kind = next((kind for kind in KINDS.values() if kind.name == name), None)
        if kind is None:
            reason = "is required" if name is None else f"should be {' or '.join(KINDS)}"
            raise InvalidOption.of(TASK, name, ", ".join(KINDS), reason)
        upload = await taken_apart(query, rest, here, kind.options, arrival(request.scope).deadline)
        return await submitted(request, here, caller, kind, upload, preferred=False)


@router.get("/v1/jobs", **job_list())
async def page(request: Request) -> Response:
    """Your jobs, newest first. `next_cursor` leads to the next page; a page may be shorter than `limit` although there
    is one."""
    here = gateway(request)
    asked = check(JobPageFields, gather(request.query_params.multi_items(), Sent(), JobPageFields))
    after = None if asked.cursor is None else _name(asked.cursor)
    found = await here.jobs.page(here.identify(request).tenant, asked.limit, after, asked.state)
    more = {} if found.after is None else {"next_cursor": urlsafe_b64encode(found.after.encode()).decode()}
    return fresh({"jobs": [job_fields(job) for job in found.jobs], **more})


@router.get("/v1/jobs/{job_id}", **job_record())
async def record(request: Request, job_id: str) -> Response:
    """A job's state; with `wait` once it is finished, or after so many seconds. As events: `state`, the same record,
    now and whenever the state changes, until the job is finished."""
    here = gateway(request)
    tenant = here.identify(request).tenant
    asked = check(JobWaitFields, gather(request.query_params.multi_items(), Sent(), JobWaitFields))
    if wants_events(request.headers.get("accept", "")):
        lengthen(request.scope, here.settings.stream_timeout_s)
        return EventStream(_events(here, tenant, job_id), here.errors)
    longest_s = min(asked.wait, here.identify(request).deadline - SPARED_S - time.time())
    until = time.monotonic() + longest_s
    last = await here.jobs.get(tenant, job_id)
    if asked.wait and last.is_open:
        with here.waits.permit(tenant):
            async for now in _states(here, tenant, last):
                last = now
                if time.monotonic() >= until:
                    break
    return fresh(job_fields(last))


@router.get("/v1/jobs/{job_id}/result", **job_result())
async def outcome(request: Request, job_id: str) -> Response:
    """What the task's own path would have answered: the same body, media type and status, errors too."""
    here = gateway(request)
    return result(*await here.jobs.outcome(here.identify(request).tenant, job_id))


@router.delete("/v1/jobs/{job_id}", **job_deletion())
async def delete(request: Request, job_id: str) -> Response:
    """Cancel a job that waits or runs: 200, and its record. Forget one that is finished, with its result: 204."""
    here = gateway(request)
    job = await here.jobs.delete(here.identify(request).tenant, job_id)
    if job is None:
        return Response(status_code=204)
    here.sink.count("segserve_jobs_total", task=job.task, state="cancelled")
    return fresh(job_fields(job))


async def _states(here: Gateway, tenant: str, job: Job) -> AsyncIterator[Job]:
    """The job as often as it is looked at, until it is finished."""
    pause_s, longest_s = ASKED_AGAIN_S
    while True:
        yield job
        if not job.is_open:
            return
        await asyncio.sleep(pause_s)
        pause_s = min(1.5 * pause_s, longest_s)
        job = await here.jobs.get(tenant, job.job_id)


@asynccontextmanager
async def _events(here: Gateway, tenant: str, job_id: str) -> AsyncIterator[AsyncIterator[Event]]:
    with here.waits.permit(tenant):
        yield _changes(here, tenant, await here.jobs.get(tenant, job_id))


async def _changes(here: Gateway, tenant: str, job: Job) -> AsyncIterator[Event]:
    last = ""
    async for now in _states(here, tenant, job):
        if now.state != last:
            last = now.state
            yield Event("state", orjson.dumps(job_fields(now), option=JSON_OPTIONS))


def _name(cursor: str) -> str:
    try:
        return urlsafe_b64decode(cursor.encode("ascii")).decode("ascii")
    except ValueError:
        raise InvalidOption.of("cursor", cursor, "next_cursor of an earlier page", "is no cursor") from None
