"""A received request in, a job of it in the store and 202 out; whatever can be refused at once is, as its task's route
refuses it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import OFF_LOOP_BYTES, Sent
from services.gateway.context import Gateway
from services.gateway.fields import shown
from services.gateway.jobs.requests import JobRequest
from services.gateway.jobs.told import accepted
from services.gateway.tasks import TaskKind
from services.gateway.uploads import Upload
from shared.calls import Caller
from shared.errors import InvalidOption
from shared.headers import UNIQUE_ID
from shared.schemas.options import TaskOptions
from shared.store.jobs import Key, NewJob

TASK = "task"
KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_Pairs = list[tuple[str, str]]


def prefers_job(request: Request) -> bool:
    """Whether `Prefer` (RFC 7240) has `respond-async`. Its other preferences are passed over."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in preferences)


async def submitted(
    request: Request, here: Gateway, caller: Caller, kind: TaskKind, upload: Upload[TaskOptions], preferred: bool
) -> Response:
    """Keep the request as a job: one, however often its proxy tries it. Raises what the task's route raises before it
    asks the service, and the errors of the job store."""
    accept = request.headers.get("accept", "")
    await kind.prepare(here, caller, upload, accept)
    asked = JobRequest.of(upload, kind.name, caller.tenant, caller.request_id, accept)
    text, tries_of = _key(request), request.headers.getlist(UNIQUE_ID)
    small = sum(len(each or b"") for each in (asked.image, asked.background)) < OFF_LOOP_BYTES
    new = _new(kind, asked, text) if small else await asyncio.to_thread(_new, kind, asked, text)
    if text is None and len(tries_of) == 1:
        new = replace(new, key=_of_tries(tries_of[0]))
    job, is_new = await here.jobs.submit(caller.tenant, new)
    if is_new:
        here.sink.count("segserve_jobs_total", task=kind.name, state="queued")
    return accepted(job, preferred)


def task_taken(query: _Pairs, sent: Sent) -> tuple[str | None, _Pairs, Sent]:
    """The field `task`, and the rest of the request. Raises `InvalidOption` where it came twice, or is no text."""
    given = [text for pairs in (query, sent.form) for name, text in pairs if name == TASK]
    given += [sent.values[TASK]] if TASK in sent.values else []
    if len(given) > 1:
        raise InvalidOption.of(TASK, shown(given[1]), "once", "given twice")
    if given and not isinstance(given[0], str):
        raise InvalidOption.of(TASK, shown(given[0]), None, "should be text")
    form = tuple(pair for pair in sent.form if pair[0] != TASK)
    values = {name: value for name, value in sent.values.items() if name != TASK}
    rest = replace(sent, form=form, values=values)
    return given[0] if given else None, [pair for pair in query if pair[0] != TASK], rest


def _new(kind: TaskKind, asked: JobRequest, key: str | None) -> NewJob:
    return NewJob(kind.name, asked.encode(), None if key is None else Key(key, asked.fingerprint()))


def _of_tries(unique_id: str) -> Key:
    """A key that no caller can send, and the same for each try of one request. What was asked need not be compared:
    it is the same, though an image by URL may have changed between two tries."""
    return Key(f"{UNIQUE_ID} {unique_id}", hashlib.sha256(unique_id.encode()).hexdigest())


def _key(request: Request) -> str | None:
    given = request.headers.getlist(KEY_HEADER)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        reason = "should be one key of 1 to 255 printable ASCII characters"
        raise InvalidOption.of(KEY_HEADER, ", ".join(given), "1 to 255 characters", reason)
    return given[0]
