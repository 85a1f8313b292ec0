"""Jobs in this process's memory, where no Redis is configured: they end with it, and only it works on them."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from shared.store.jobs import SCANNED, Caps, Job, JobStore, Lease, NewJob, Outcome, Page, mismatch, new_id, too_many
from shared.store.jobs import not_found as job_not_found
from shared.types import JobState


@dataclass(slots=True)
class _Entry:
    """One job with all that belongs to it."""

    tenant: str
    job: Job
    request: bytes | None
    size: int
    key: str | None
    outcome: Outcome | None = None
    token: str = ""
    tries: int = 0
    lease_until: float = field(default=0.0)


class MemoryJobStore(JobStore):
    """At most `capacity` bytes of results, beyond which the jobs that finished first go. Never unavailable."""

    def __init__(self, caps: Caps, capacity: int, clock: Callable[[], float] = time.time):
        super().__init__()
        self._caps, self._capacity, self._clock = caps, capacity, clock
        self._jobs: dict[str, _Entry] = {}
        self._finished: OrderedDict[str, int] = OrderedDict()
        """Bytes of each finished job's result, in the order of their ends."""
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}
        """Job and fingerprint of each tenant's key."""
        self._queue: deque[str] = deque()

    async def _submit(self, tenant: str, new: NewJob) -> tuple[Job, bool]:
        self._forget_expired()
        if new.key is not None and (known := self._keys.get((tenant, new.key.text))) is not None:
            if known[1] != new.key.fingerprint:
                raise mismatch(new.key)
            return self._jobs[known[0]].job, False
        held = [entry.size for entry in self._jobs.values() if entry.tenant == tenant and entry.job.is_open]
        if len(held) >= self._caps.jobs:
            raise too_many("queued jobs", self._caps.jobs)
        if sum(held) + len(new.request) > self._caps.request_bytes:
            raise too_many("bytes of queued jobs", self._caps.request_bytes)
        now = self._clock()
        job = Job(new_id(now), new.task, "queued", now, now + self._caps.ttl_s)
        key = None if new.key is None else new.key.text
        self._jobs[job.job_id] = _Entry(tenant, job, new.request, len(new.request), key)
        if new.key is not None:
            self._keys[tenant, new.key.text] = (job.job_id, new.key.fingerprint)
        self._queue.append(job.job_id)
        return job, True

    async def get(self, tenant: str, job_id: str) -> Job:
        """See `JobStore`."""
        return self._find(tenant, job_id).job

    async def outcome(self, tenant: str, job_id: str) -> tuple[Job, Outcome | None]:
        """See `JobStore`."""
        entry = self._find(tenant, job_id)
        return entry.job, entry.outcome

    async def page(self, tenant: str, limit: int, after: str | None, state: JobState | None) -> Page:
        """See `JobStore`."""
        self._forget_expired()
        ids = sorted((name for name, entry in self._jobs.items() if entry.tenant == tenant), reverse=True)
        older = [name for name in ids if after is None or name < after]
        found: list[Job] = []
        for looked, name in enumerate(older, 1):
            if state in (None, self._jobs[name].job.state):
                found.append(self._jobs[name].job)
            if len(found) == limit or looked == SCANNED:
                return Page(found, name if looked < len(older) else None)
        return Page(found, None)

    async def delete(self, tenant: str, job_id: str) -> Job | None:
        """See `JobStore`."""
        entry = self._find(tenant, job_id)
        if not entry.job.is_open:
            self._forget(job_id)
            return None
        if entry.job.state == "queued":
            self._queue.remove(job_id)
        self._end(entry, "cancelled", None)
        return entry.job

    async def look(self) -> tuple[int, int]:
        """See `JobStore`."""
        return len(self._queue), len(self._late())

    async def take(self) -> Lease | None:
        """See `JobStore`."""
        late = self._late()
        if not late and not self._queue:
            return None
        entry = self._jobs[late[0] if late else self._queue.popleft()]
        now = self._clock()
        entry.tries += 1
        entry.token, entry.lease_until = new_id(now), now + self._caps.lease_s
        entry.job = replace(entry.job, state="running", started_at=entry.job.started_at or now)
        job = entry.job
        waited_s = now - job.created_at
        return Lease(entry.tenant, job.job_id, entry.token, job.task, entry.tries, waited_s, entry.request)

    async def renew(self, lease: Lease) -> bool:
        """See `JobStore`."""
        if (entry := self._held(lease)) is None:
            return False
        entry.lease_until = self._clock() + self._caps.lease_s
        return True

    async def finish(self, lease: Lease, outcome: Outcome) -> bool:
        """See `JobStore`."""
        if (entry := self._held(lease)) is None:
            return False
        self._end(entry, outcome.state, outcome)
        return True

    async def give_back(self, lease: Lease) -> None:
        """See `JobStore`."""
        if (entry := self._held(lease)) is not None:
            entry.token, entry.tries = "", entry.tries - 1
            entry.job = replace(entry.job, state="queued")
            self._queue.appendleft(entry.job.job_id)
            self._news.set()

    def _find(self, tenant: str, job_id: str) -> _Entry:
        self._forget_expired()
        entry = self._jobs.get(job_id)
        if entry is None or entry.tenant != tenant:
            raise job_not_found(job_id)
        return entry

    def _held(self, lease: Lease) -> _Entry | None:
        entry = self._jobs.get(lease.job_id)
        return entry if entry is not None and entry.token == lease.token else None

    def _late(self) -> list[str]:
        now = self._clock()
        return [name for name, entry in self._jobs.items() if entry.token and entry.lease_until <= now]

    def _end(self, entry: _Entry, state: JobState, outcome: Outcome | None) -> None:
        now = self._clock()
        error = outcome.body if outcome is not None and state == "failed" else None
        expires_at = now + self._caps.ttl_s
        entry.job = replace(entry.job, state=state, finished_at=now, expires_at=expires_at, error=error)
        entry.request, entry.outcome, entry.token = None, outcome, ""
        self._finished[entry.job.job_id] = 0 if outcome is None else len(outcome.body)
        while len(self._finished) > 1 and sum(self._finished.values()) > self._capacity:
            self._forget(next(iter(self._finished)))

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._finished and self._jobs[first := next(iter(self._finished))].job.expires_at <= now:
            self._forget(first)

    def _forget(self, job_id: str) -> None:
        entry = self._jobs.pop(job_id)
        self._finished.pop(job_id, None)
        if entry.key is not None:
            self._keys.pop((entry.tenant, entry.key), None)
