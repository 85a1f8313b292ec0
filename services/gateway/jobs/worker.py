"""Jobs out of the store, their outcomes into it: so many at a time beside the requests, as a gateway lives.

A job that is at work is told of every second. Where the store says that it was cancelled or is another's, its work
ends; a gateway that is stopped gives its jobs back, and one that is killed loses them by their leases.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from services.gateway.context import Gateway
from services.gateway.errors import as_known
from services.gateway.jobs.requests import JobRequest
from services.gateway.jobs.told import error_code, of_answer, of_error
from services.gateway.middleware import stopped
from services.gateway.tasks import TaskKind
from shared.calls import Answer, Caller
from shared.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    ImageStoreUnavailable,
    InternalError,
    JobDamaged,
    JobLost,
    JobStoreUnavailable,
    ModelUnavailable,
    Overloaded,
    SegServeError,
)
from shared.store.jobs import Lease, Outcome
from shared.telemetry.logs import bound
from shared.telemetry.stages import Stages
from shared.types import JobTask

LOOK_S = 1.0
"""How often the store is asked for jobs that came through another gateway, or were left by one."""
MAX_TRIES = 3
"""A job under which so many gateways ended has failed."""
PAUSE_S = 1.0
"""Between two tries to reach a store or a model that does not say when to come again."""
UNKNOWN = "unknown"
"""The label of a job whose task was altered in the store."""
BUSY = (Overloaded, ModelUnavailable, ImageStoreUnavailable)
"""What a job waits out, until its deadline."""
Kinds = Mapping[JobTask, TaskKind]
logger = logging.getLogger(__name__)


@asynccontextmanager
async def working(here: Gateway, kinds: Kinds) -> AsyncIterator[None]:
    """Works on jobs as long as the block runs."""
    worker = _Worker(here, kinds)
    tasks = [asyncio.create_task(worker.work()) for _ in range(here.settings.jobs_at_once)]
    tasks += [asyncio.create_task(worker.watch())] if tasks else []
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await stopped(task)


class _Worker:
    """What the tasks of one gateway share."""

    def __init__(self, here: Gateway, kinds: Kinds) -> None:
        self._here, self._kinds = here, kinds
        self._ready = asyncio.Event()
        lease_s = here.settings.job_lease_s
        self._renew_s = min(LOOK_S, lease_s / 3)
        self._running = 0
        self._show_running(0)

    async def watch(self) -> None:
        """Wakes the others when there is something to do."""
        while True:
            with suppress(JobStoreUnavailable):
                waiting, late = await self._here.jobs.look()
                self._here.sink.gauge("segserve_jobs_waiting", float(waiting))
                if waiting or late:
                    self._ready.set()
            await self._here.jobs.news(LOOK_S)

    async def work(self) -> None:
        """One job after another, from when the models are known: a new gateway begins before its first request."""
        await self._here.directory.known()
        while True:
            self._ready.clear()  # before the look: what comes during it is not missed
            try:
                while (lease := await self._here.jobs.take()) is not None:
                    await self._run(lease)
            except JobStoreUnavailable:
                await asyncio.sleep(PAUSE_S)
            except Exception:
                logger.exception("A job could not be worked on.")
                await asyncio.sleep(PAUSE_S)
            await self._ready.wait()

    async def _run(self, lease: Lease) -> None:
        if lease.tries == 1:
            self._here.sink.observe("segserve_job_wait_seconds", max(lease.waited_s, 0.0), task=lease.task or UNKNOWN)
        elif lease.tries > 1:
            self._here.sink.count("segserve_job_takeovers_total", task=lease.task or UNKNOWN)
        self._count(lease, "running")
        self._show_running(+1)
        answered = asyncio.Event()
        work = asyncio.create_task(self._finished(lease, answered))
        holding = asyncio.create_task(self._hold(lease, work, answered))
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            await stopped(work)
            with suppress(JobStoreUnavailable):
                await self._here.jobs.give_back(lease)
            raise
        finally:
            self._show_running(-1)
            await stopped(holding)
        if not work.cancelled():
            work.result()

    async def _hold(self, lease: Lease, work: asyncio.Task[None], answered: asyncio.Event) -> None:
        """Renews the lease; ends the work where it is lost, unless it is answered: then it may just have been kept. A
        store that does not answer is no reason to stop."""
        while True:
            await asyncio.sleep(self._renew_s)
            with suppress(JobStoreUnavailable):
                if not await self._here.jobs.renew(lease):
                    if not answered.is_set():
                        work.cancel()
                    return

    async def _finished(self, lease: Lease, answered: asyncio.Event) -> None:
        """Works, and keeps what came of it for as long as it takes."""
        outcome = await self._outcome(lease)
        answered.set()
        while True:
            try:
                if await self._here.jobs.finish(lease, outcome):
                    self._count(lease, outcome.state)
                    if outcome.state == "failed":
                        task, reason = lease.task or UNKNOWN, error_code(outcome)
                        self._here.sink.count("segserve_job_failures_total", task=task, reason=reason)
                return
            except BodyTooLarge as error:
                outcome = of_error(error, lease.job_id)
            except JobStoreUnavailable:
                await asyncio.sleep(PAUSE_S)

    async def _outcome(self, lease: Lease) -> Outcome:
        if lease.is_damaged:
            logger.error("job %s: it came back altered from the store", lease.job_id)
            return of_error(JobDamaged(), lease.job_id)
        if lease.request is None or lease.tries > MAX_TRIES:
            return of_error(JobLost(), lease.job_id)
        identifier, settings = lease.job_id, self._here.settings
        try:
            request = JobRequest.decode(lease.request)
            identifier = request.asked.request_id
            if lease.waited_s > settings.job_ttl_s:
                raise DeadlineExceeded("The job waited for longer than jobs are kept.")
            with bound(identifier):
                async with asyncio.timeout(settings.job_timeout_s):
                    return of_answer(await self._answer(request))
        except TimeoutError:
            return of_error(DeadlineExceeded(), identifier)
        except Exception as error:
            known = as_known(error)
            if isinstance(known, InternalError):
                logger.exception("job %s failed", lease.job_id)
            return of_error(known, identifier)

    async def _answer(self, request: JobRequest) -> Answer:
        """What the task's route would answer. A service that is busy is waited for as long as it says."""
        asked, kind = request.asked, self._kinds[request.asked.task]
        caller = Caller(asked.tenant, asked.request_id, time.time() + self._here.settings.job_timeout_s)
        upload = request.upload(kind.options, self._here.settings)
        stages = Stages(self._here.sink, kind.stage_task)
        while True:
            try:
                work = await kind.prepare(self._here, caller, upload, asked.accept)
                with stages.stage("service"):
                    return await work()
            except BUSY as error:
                await self._pause(error, caller.deadline)

    async def _pause(self, error: SegServeError, deadline: float) -> None:
        """Raises the error where there is no time left to come again."""
        pause_s = error.retry_after_s or PAUSE_S
        if time.time() + pause_s > deadline:
            raise error
        await asyncio.sleep(pause_s)

    def _show_running(self, change: int) -> None:
        self._running += change
        self._here.sink.gauge("segserve_jobs_running", self._running)

    def _count(self, lease: Lease, state: str) -> None:
        self._here.sink.count("segserve_jobs_total", task=lease.task or UNKNOWN, state=state)
