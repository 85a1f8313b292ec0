"""Jobs by tenant and id: an encoded request in, taken by one gateway at a time under a lease, its outcome out.

What a request or an outcome says is its writer's affair; here they are bytes. Whoever takes a job tells that it lives
by renewing the lease; a lease that runs out is another's to take.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import IdempotencyMismatch, JobNotFound, TooManyRequests, detail
from shared.types import JobState, JobTask

OPEN: frozenset[JobState] = frozenset({"queued", "running"})
"""States of jobs that are not finished."""
SCANNED = 500
"""Jobs that are looked at for one page of a list that wants a certain state."""
RETRY_AFTER_S = 5.0
"""When a caller who has as many jobs as one may have may try again."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is known of a job. Times are Unix seconds; `expires_at` is when it is forgotten, or given up waiting."""

    job_id: str
    task: JobTask
    state: JobState
    created_at: float
    expires_at: float
    started_at: float | None = None
    finished_at: float | None = None
    error: bytes | None = None
    """The body of the error that a failed one ended with."""
    is_damaged: bool = False
    """Whether its record came back altered from the store: it counts as failed, without an `error`."""

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class Key:
    """A caller's `Idempotency-Key`, and what it was sent with: the same key means the same fingerprint."""

    text: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be kept: its task and its encoded request."""

    task: JobTask
    request: bytes
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that was taken: no one else's until the lease runs out. `tries`: how often it was taken, this time too;
    `waited_s`: since it was sent, by the store's clock; `request` None: it is gone, or `is_damaged`, and the job can
    only be ended."""

    owner: str
    job_id: str
    token: str
    task: JobTask | None
    tries: int
    waited_s: float
    request: bytes | None
    is_damaged: bool = False
    """Whether the request or another field came back altered from the store; a `task` altered too may be unknown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job ended with, as its task's route would have answered it."""

    status: int
    media_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def state(self) -> JobState:
        """The state of a job that ended so."""
        return "done" if self.status < 400 else "failed"


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs of one tenant, newest first; `after` names the last one that was looked at, None at the end of the list."""

    jobs: Sequence[Job]
    after: str | None


@dataclass(frozen=True, slots=True)
class Caps:
    """What one tenant's waiting and running jobs may take, and the seconds for which things are kept."""

    jobs: int
    request_bytes: int
    ttl_s: float
    lease_s: float


class JobStore(ABC):
    """Where jobs lie. Every method raises `JobStoreUnavailable` when the store is out of reach or full.

    One process's gateway waits at `news` for a job that came through this object; of others `look` tells.
    """

    def __init__(self) -> None:
        self._news = asyncio.Event()

    async def news(self, within_s: float) -> None:
        """Returns when a job came through this object since the last call, or after so many seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def submit(self, tenant: str, new: NewJob) -> tuple[Job, bool]:
        """Keep a new job; with a key that this tenant has sent before, the job that came with it. And whether it is
        new. Raises `IdempotencyMismatch` where the key had another request, `TooManyRequests` above the caps."""
        job, is_new = await self._submit(tenant, new)
        if is_new:
            self._news.set()
        return job, is_new

    @abstractmethod
    async def _submit(self, tenant: str, new: NewJob) -> tuple[Job, bool]: ...

    @abstractmethod
    async def get(self, tenant: str, job_id: str) -> Job:
        """What is known of a job. Raises `JobNotFound`."""

    @abstractmethod
    async def outcome(self, tenant: str, job_id: str) -> tuple[Job, Outcome | None]:
        """A job, and what it ended with if it is done or has failed. Raises `JobNotFound`, and `JobDamaged` where that
        came back altered: a key that it was sent with is then free for another."""

    @abstractmethod
    async def page(self, tenant: str, limit: int, after: str | None, state: JobState | None) -> Page:
        """At most `limit` jobs in this state (None: any), newest first, older than the one that `after` names. There
        may be fewer although the list goes on: no more than `SCANNED` are looked at."""

    @abstractmethod
    async def delete(self, tenant: str, job_id: str) -> Job | None:
        """Cancel a job that waits or runs: the job, cancelled. Forget one that is finished: None. Raises
        `JobNotFound`."""

    @abstractmethod
    async def look(self) -> tuple[int, int]:
        """How many jobs wait in all, and how many leases have run out."""

    @abstractmethod
    async def take(self) -> Lease | None:
        """The next job, from now on running: one whose lease has run out, else the one that has waited longest."""

    @abstractmethod
    async def renew(self, lease: Lease) -> bool:
        """Begin the lease's time anew; False where the job was cancelled or another has it."""

    @abstractmethod
    async def finish(self, lease: Lease, outcome: Outcome) -> bool:
        """Keep what it ended with; False, and nothing is kept, where the job was cancelled or another has it."""

    @abstractmethod
    async def give_back(self, lease: Lease) -> None:
        """Let another take it at once: this try does not count."""


def new_id(now: float | None = None) -> str:
    """`job_` and 32 hexadecimal digits: 12 of the time in milliseconds, so that ids sort by age, and 80 random bits."""
    return f"{id_floor(time.time() if now is None else now)}{secrets.token_hex(10)}"


def id_floor(at: float) -> str:
    """What ids of jobs made at this time (Unix seconds) begin with."""
    return f"job_{int(at * 1000):012x}"


def not_found(job_id: str) -> JobNotFound:
    """404 for this job."""
    return JobNotFound.of("job_id", job_id, reason="no such job: it is unknown, expired or forgotten")


def mismatch(key: Key) -> IdempotencyMismatch:
    """422 for a key that belongs to another request."""
    return IdempotencyMismatch.of("Idempotency-Key", key.text, None, "was sent before with another request")


def too_many(field: str, limit: int) -> TooManyRequests:
    """429 for a tenant whose jobs take as much as they may."""
    reason = "jobs of this caller that wait or run take as much as they may"
    return TooManyRequests(f"{field}: {reason}", (detail(field, None, limit, reason),), RETRY_AFTER_S)
