"""Jobs in Redis: any process may take them, and one whose process died is taken by another.

What waits or runs has no time to live, so that a store which evicts what has one never gives it up: a full one refuses
new jobs instead. A finished job has one, with all that belongs to it, and may go before it where the store needs room.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from redis.asyncio import Redis

from shared.errors import BodyTooLarge, JobDamaged, JobNotFound, JobStoreUnavailable
from shared.store import jobs_scripts as scripts
from shared.store.codec import checksum
from shared.store.jobs import (
    SCANNED,
    Caps,
    Job,
    JobStore,
    Lease,
    NewJob,
    Outcome,
    Page,
    id_floor,
    mismatch,
    new_id,
    not_found,
    too_many,
)
from shared.store.jobs_records import TOLD, outcome_sum, read_job, read_lease, read_outcome
from shared.store.keys import jobs_key, owner_of
from shared.store.metrics import Operation
from shared.store.redis import RedisClient, StoreFailure
from shared.types import JobState

T = TypeVar("T")

RETRY_AFTER_S = 2.0
"""When a caller may ask again after 503."""
ROUND_S = 30.0
"""Between two rounds of looking for open jobs that are in no queue; each look goes a step of a round."""
STEP_KEYS = 1000
"""Keys of the store that a step passes."""
LISTED_LIVES = 30
"""A job that has waited for so many lives of a finished one is no longer listed."""
_TOO_LARGE = "more than the store of jobs takes"
_QUEUE, _LEASES = jobs_key("queue"), jobs_key("leases")
_ALL, _OPEN = jobs_key(""), jobs_key("open:")


class RedisJobStore(JobStore):
    """`cap`: most bytes of one request or result."""

    def __init__(self, client: RedisClient, caps: Caps, cap: int):
        super().__init__()
        self._client, self._caps, self._cap = client, caps, cap
        self._cursor, self._next_round = 0, 0.0
        self._ttl_ms, self._lease_ms = int(caps.ttl_s * 1000), max(1, int(caps.lease_s * 1000))

    async def _submit(self, tenant: str, new: NewJob) -> tuple[Job, bool]:
        if len(new.request) > self._cap:
            self._client.failure("job_put", "too_large")
            raise BodyTooLarge.of("body", f"{len(new.request)} bytes", self._cap, _TOO_LARGE)
        owner, job_id, caps = owner_of(tenant), new_id(), self._caps
        text, fingerprint = ("", "") if new.key is None else (new.key.text, new.key.fingerprint)
        idem = jobs_key(f"idem:{owner}:{hashlib.sha256(text.encode()).hexdigest()}")
        oldest = id_floor(time.time() - LISTED_LIVES * caps.ttl_s)
        keys = [_job(owner, job_id), _QUEUE, _index(owner), _open(owner), idem]
        head = [job_id, f"{owner}:{job_id}", new.task, new.request, checksum(new.request)]
        limits = [caps.jobs, caps.request_bytes, _job(owner, ""), fingerprint, oldest]
        said, *more = await self._run("job_put", scripts.SUBMIT, keys, [*head, *limits, *TOLD])
        if said == b"mismatch" and new.key is not None:
            raise mismatch(new.key)
        if said == b"jobs":
            raise too_many("queued jobs", caps.jobs)
        if said == b"bytes":
            raise too_many("bytes of queued jobs", caps.request_bytes)
        name, values = more
        with suppress(JobNotFound):
            job = self._job("job_put", name.decode(), values)
            if not job.is_damaged:
                return job, said == b"new"
        await self._free(owner, name.decode())
        return await self._submit(tenant, new)

    async def get(self, tenant: str, job_id: str) -> Job:
        """See `JobStore`."""
        key = _job(owner_of(tenant), job_id)
        return self._job("job_get", job_id, await self._call("job_get", lambda redis: _read(redis, key, TOLD)))

    async def outcome(self, tenant: str, job_id: str) -> tuple[Job, Outcome | None]:
        """See `JobStore`."""
        owner = owner_of(tenant)
        key = _job(owner, job_id)
        *values, result = await self._call("job_get", lambda redis: _read(redis, key, (*TOLD, "result")))
        job = read_job(job_id, values, self._caps.ttl_s)
        try:
            return job, read_outcome(job, values, result)
        except JobDamaged:
            self._client.failure("job_get", "corrupt")
            await self._free(owner, job_id)
            raise

    async def page(self, tenant: str, limit: int, after: str | None, state: JobState | None) -> Page:
        """See `JobStore`."""
        owner = owner_of(tenant)

        async def read(redis: Redis) -> tuple[list[bytes], list[list[bytes | None]]]:
            newest = "+" if after is None else f"({after}"
            names = cast("list[bytes]", await redis.zrevrangebylex(_index(owner), newest, "-", 0, SCANNED + 1))
            async with redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(_job(owner, name.decode()), TOLD)
                return names, await pipe.execute() if names else []

        names, records = await self._call("job_list", read)
        found: list[Job] = []
        for looked, (name, values) in enumerate(zip(names, records, strict=True), 1):
            with suppress(JobNotFound):  # it has expired, and its name goes with its day
                job = self._job("job_list", name.decode(), values)
                found += [job] if state in (None, job.state) else []
            if len(found) == limit or looked == SCANNED:
                return Page(found, name.decode() if looked < len(names) else None)
        return Page(found, None)

    async def delete(self, tenant: str, job_id: str) -> Job | None:
        """See `JobStore`."""
        owner = owner_of(tenant)
        keys = [_job(owner, job_id), _LEASES, _open(owner), _index(owner), _QUEUE]
        arguments = [f"{owner}:{job_id}", job_id, self._ttl_ms, *TOLD]
        said, *more = await self._run("job_delete", scripts.DELETE, keys, arguments)
        if said == b"unknown":
            raise not_found(job_id)
        return self._job("job_delete", job_id, more[0]) if said == b"cancelled" else None

    async def look(self) -> tuple[int, int]:
        """See `JobStore`."""
        await self._requeue()
        waiting, late = await self._run("job_look", scripts.LOOK, [_QUEUE, _LEASES], [_ALL], counted=False)
        return waiting, late

    async def _requeue(self) -> None:
        """One step further in looking for open jobs that nobody would take."""
        if self._cursor == 0 and time.monotonic() < self._next_round:
            return
        self._next_round = time.monotonic() + ROUND_S

        async def step(redis: Redis) -> tuple[int, list[bytes]]:
            cursor, keys = await redis.scan(self._cursor, match=f"{_OPEN}*", count=STEP_KEYS)
            return int(cursor), cast("list[bytes]", keys)

        self._cursor, keys = await self._call("job_look", step, counted=False)
        if keys:
            names = [_QUEUE, _LEASES, *(key.decode() for key in keys)]
            await self._run("job_look", scripts.REQUEUE, names, [_OPEN, _ALL], counted=False)

    async def take(self) -> Lease | None:
        """See `JobStore`."""
        token = secrets.token_hex(16)
        found = await self._run(
            "job_take", scripts.TAKE, [_QUEUE, _LEASES], [token, self._lease_ms, _ALL], counted=False
        )
        if found is None:
            return None
        lease = read_lease(token, found)
        if lease.is_damaged:
            self._client.failure("job_take", "corrupt")
            await self._free(lease.owner, lease.job_id)
        return lease

    async def renew(self, lease: Lease) -> bool:
        """See `JobStore`."""
        keys = [_job(lease.owner, lease.job_id), _LEASES]
        return bool(await self._run("job_renew", scripts.RENEW, keys, [lease.token, _member(lease), self._lease_ms]))

    async def finish(self, lease: Lease, outcome: Outcome) -> bool:
        """See `JobStore`. Raises `BodyTooLarge` for a result above the cap. In a full store the request, which is
        answered, makes room."""
        if len(outcome.body) > self._cap:
            self._client.failure("job_end", "too_large")
            raise BodyTooLarge.of("result", f"{len(outcome.body)} bytes", self._cap, _TOO_LARGE)
        keys = [_job(lease.owner, lease.job_id), _LEASES, _open(lease.owner), _index(lease.owner)]
        state, headers = outcome.state, json.dumps(outcome.headers)
        said = [state, outcome.status, outcome.media_type, headers, outcome_sum(outcome, headers)]
        body = ["error" if state == "failed" else "result", outcome.body]
        arguments = [lease.token, _member(lease), lease.job_id, self._ttl_ms, *said, *body]
        try:
            return bool(await self._run("job_end", scripts.FINISH, keys, arguments))
        except JobStoreUnavailable as error:
            if not (isinstance(error.__cause__, StoreFailure) and error.__cause__.reason == "full"):
                raise
        await self._run("job_end", scripts.MAKE_ROOM, keys[:1], [lease.token])
        return bool(await self._run("job_end", scripts.FINISH, keys, arguments))

    async def give_back(self, lease: Lease) -> None:
        """See `JobStore`."""
        keys = [_job(lease.owner, lease.job_id), _LEASES, _QUEUE]
        await self._run("job_end", scripts.GIVE_BACK, keys, [lease.token, _member(lease), lease.job_id])

    def _job(self, operation: Operation, job_id: str, values: Sequence[bytes | None]) -> Job:
        job = read_job(job_id, values, self._caps.ttl_s)
        if job.is_damaged:
            self._client.failure(operation, "corrupt")
        return job

    async def _free(self, owner: str, job_id: str) -> None:
        """A damaged job's key is another's, so that who sends it again has more than the damaged one."""
        await self._run("job_end", scripts.FREE, [_job(owner, job_id)], [job_id])

    async def _run(
        self, operation: Operation, text: str, keys: list[str], arguments: list[Any], counted: bool = True
    ) -> Any:
        return await self._call(operation, lambda redis: redis.register_script(text)(keys, arguments), counted)

    async def _call(self, operation: Operation, action: Callable[[Redis], Awaitable[T]], counted: bool = True) -> T:
        try:
            return await self._client.call(operation, action, counted=counted)
        except StoreFailure as failure:
            raise JobStoreUnavailable(retry_after_s=RETRY_AFTER_S) from failure


async def _read(redis: Redis, key: str, fields: Sequence[str]) -> list[bytes | None]:
    return cast("list[bytes | None]", await cast("Awaitable[Any]", redis.hmget(key, list(fields))))


def _job(owner: str, job_id: str) -> str:
    return f"{_ALL}{owner}:{job_id}"


def _open(owner: str) -> str:
    return f"{_OPEN}{owner}"


def _index(owner: str) -> str:
    return f"{_ALL}index:{owner}"


def _member(lease: Lease) -> str:
    return f"{lease.owner}:{lease.job_id}"
