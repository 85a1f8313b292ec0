"""The hash of a job in Redis -> what is known of it, its lease, its outcome; what was altered there is told as damage.

A job whose task, state, tries or times do not read back as they were written is shown as failed. `seal` is the SHA-1
of its id, task and time of submission, `course` that of its id, state, tries and later times, `result_sum` the XXH3 of
its outcome.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, TypeGuard, get_args

from shared.errors import JobDamaged
from shared.store.codec import checksum
from shared.store.jobs import OPEN, Job, Lease, Outcome, not_found
from shared.types import JobState, JobTask

TOLD = (
    "state",
    "task",
    "created",
    "seal",
    "started",
    "finished",
    "status",
    "media",
    "headers",
    "result_sum",
    "error",
    "tries",
    "course",
)
"""Fields that `read_job` takes, in this order."""
_LATEST_MS = 253_402_300_799_000
"""The last second of the year 9999."""
Value = bytes | None


def read_job(job_id: str, values: Sequence[Value], ttl_s: float) -> Job:
    """The job whose fields `TOLD` have these values, kept for `ttl_s` seconds once it is finished. Raises `JobNotFound`
    where there is none, or too little of one to tell even its task."""
    fields = dict(zip(TOLD, values, strict=True))
    task = read_task(job_id, fields["task"], fields["created"], fields["seal"])
    if task is None:
        raise not_found(job_id)
    created, started, finished = (_seconds(fields[name]) for name in ("created", "started", "finished"))
    state = _text(fields["state"])
    made = _made_at(job_id) if created is None else created
    if not _is_state(state) or not _is_whole(job_id, state, fields):
        ended = finished or started or made
        return Job(job_id, task, "failed", made, ended + ttl_s, started, ended, is_damaged=True)
    error = fields["error"] if state == "failed" else None
    return Job(job_id, task, state, made, (finished or made) + ttl_s, started, finished, error)


def read_outcome(job: Job, values: Sequence[Value], result: Value) -> Outcome | None:
    """What this job ended with, of the same fields and its result. Raises `JobDamaged` where something was altered."""
    fields = dict(zip(TOLD, values, strict=True))
    if job.is_damaged:
        raise _damaged(job)
    if job.state not in ("done", "failed"):
        return None
    body = result if job.state == "done" else job.error
    if body is None or not _is_as_kept(fields, body):
        raise _damaged(job)
    media, headers = _text(fields["media"]), _pairs(fields["headers"])
    if media is None or headers is None:
        raise _damaged(job)
    return Outcome(int(fields["status"] or b""), media, headers, body)


def read_lease(token: str, found: Sequence[Any]) -> Lease:
    """The lease of what `scripts.TAKE` found."""
    member, tries, now, task, created, seal, request, kept = found
    owner, _, job_id = member.decode().partition(":")
    known, made = read_task(job_id, task, created, seal), _seconds(created)
    waited_s = 0.0 if made is None else now / 1000 - made
    # Without either the request made room for a result.
    is_sound = kept == (None if request is None else checksum(request).encode())
    is_damaged = not is_sound or known is None
    return Lease(owner, job_id, token, known, tries, waited_s, None if is_damaged else request, is_damaged)


def read_task(job_id: str, task: Value, created: Value, seal: Value) -> JobTask | None:
    """The job's task; where it was altered the one under the seal, None if that is none either."""
    known: tuple[JobTask, ...] = get_args(JobTask)
    said = next((each for each in known if task == each.encode()), None)
    return next((each for each in known if seal == _seal(job_id, each, created)), said)


def outcome_sum(outcome: Outcome, headers: str) -> str:
    """The checksum that lies beside an outcome; `headers` as they are kept."""
    return checksum(_head(str(outcome.status), outcome.media_type, headers), outcome.body)


def _is_whole(job_id: str, state: JobState, fields: dict[str, Value]) -> bool:
    """Whether the record says what was written, as far as that can be known without its result."""
    times = (fields[name] for name in ("created", "started", "finished"))
    task, created, seal, error = fields["task"], fields["created"], fields["seal"], fields["error"]
    if created is None or any(each is not None and _seconds(each) is None for each in times):
        return False
    if _text(task) not in get_args(JobTask) or seal != _seal(job_id, _text(task) or "", created):
        return False
    if fields["course"] != _course(job_id, fields):
        return False
    if (fields["finished"] is None) != (state in OPEN):
        return False
    status = fields["status"]
    if state not in ("done", "failed"):
        return status is None
    if status is None or not status.isdigit() or (int(status) < 400) != (state == "done"):
        return False
    return state == "done" or (error is not None and _is_as_kept(fields, error) and _is_object(error))


def _is_as_kept(fields: dict[str, Value], body: bytes) -> bool:
    head = _head(*(_text(fields[name]) or "" for name in ("status", "media", "headers")))
    return fields["result_sum"] == checksum(head, body).encode()


def _head(status: str, media: str, headers: str) -> bytes:
    return f"{status}\n{media}\n{headers}\n".encode()


def _seal(job_id: str, task: str, created: Value) -> bytes:
    text = f"{job_id} {task} ".encode() + (created or b"")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _course(job_id: str, fields: dict[str, Value]) -> bytes:
    said = (job_id.encode(), *(fields[name] or b"" for name in ("state", "tries", "started", "finished")))
    return hashlib.sha1(b" ".join(said), usedforsecurity=False).hexdigest().encode()


def _is_state(text: str | None) -> TypeGuard[JobState]:
    return text in get_args(JobState)


def _text(value: Value) -> str | None:
    """The text of a field; one that is none is not the text of any."""
    return None if value is None else value.decode(errors="replace")


def _seconds(value: Value) -> float | None:
    """Seconds of milliseconds; None for what is no time."""
    is_time = value is not None and value.isdigit() and len(value) < 16 and int(value) <= _LATEST_MS
    return int(value or b"") / 1000 if is_time else None


def _made_at(job_id: str) -> float:
    """The time in a job's id."""
    return int(job_id[4:16], 16) / 1000


def _pairs(value: Value) -> tuple[tuple[str, str], ...] | None:
    try:
        return tuple((str(name), str(text)) for name, text in json.loads(value or b""))
    except (ValueError, TypeError):
        return None


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def _damaged(job: Job) -> JobDamaged:
    return JobDamaged.of("job_id", job.job_id, None, "what was kept of the job was damaged: send it again")
