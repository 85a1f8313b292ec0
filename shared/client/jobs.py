"""Tasks that are done later: a request in, a job out; then its state, and its result as the task itself gives it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from shared.client.pictures import Picture
from shared.client.results import Everything, Instances, Panoptic, Prompted, Semantic
from shared.client.sending import read, sent, wire
from shared.client.transport import Transport, foreign, told
from shared.client.uploading import background_taken
from shared.errors import DeadlineExceeded, SegServeError
from shared.types import JobState, JobTask, Prompt

PATH = "/v1/jobs"
LONGEST_WAIT_S = 30.0
"""One request waits no longer; `wait` asks again."""
_RESULTS = {
    "semantic": Semantic,
    "instance": Instances,
    "panoptic": Panoptic,
    "promptable": Prompted,
    "everything": Everything,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job as the server told of it. `error`: what it failed with."""

    id: str
    task: JobTask
    state: JobState
    created_at: datetime
    expires_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: SegServeError | None = None

    @property
    def finished(self) -> bool:
        """Whether its state is for good: done, failed or cancelled."""
        return self.finished_at is not None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """From the answer's JSON. Raises `InternalError` for one that is no such answer."""
        try:
            times = {name: datetime.fromisoformat(text) for name, text in answer.items() if name.endswith("_at")}
            failed = told(answer["error"], 200) if "error" in answer else None
            return cls(id=answer["id"], task=answer["task"], state=answer["state"], error=failed, **times)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise foreign(200) from error


class Jobs:
    """The jobs of this caller. Where a job is named, its id will do. Every method raises the classes of
    `shared.errors`, `JobNotFound` for one that is not (or no longer) there."""

    def __init__(self, transport: Transport, timeout_s: float) -> None:
        self._transport, self._timeout_s = transport, timeout_s

    def submit(
        self,
        task: JobTask,
        picture: Picture,
        *,
        prompts: Sequence[Prompt | Mapping[str, Any]] | None = None,
        key: str | None = None,
        **options: Any,
    ) -> Job:
        """Have this done later; `options` are those of the task on the wire (`model`, `format`, `points_per_side` ...).

        `key`: sent again with the same request, it makes no second job; without one only the tries of this call make
        none. What the task itself would refuse without looking at the picture's pixels is refused here.
        """
        second = background_taken(self._transport, options)
        several = None if prompts is None else [wire(each) if isinstance(each, Prompt) else each for each in prompts]
        request = sent(picture, {"task": task, "prompts": several, **options}, second)
        headers = {"Idempotency-Key": uuid.uuid4().hex if key is None else key}
        return Job.of(self._transport.request("POST", PATH, headers=headers, **request))

    def status(self, job: Job | str) -> Job:
        """The job as it is now."""
        return Job.of(self._transport.request("GET", _path(job)))

    def wait(self, job: Job | str, within_s: float = 600.0) -> Job:
        """The job once it is finished, however it ended. Raises `DeadlineExceeded` when that takes longer."""
        until = time.monotonic() + within_s
        while True:
            wait_s = max(0.0, min(until - time.monotonic(), LONGEST_WAIT_S, self._timeout_s / 2))
            found = Job.of(self._transport.request("GET", _path(job), params={"wait": f"{wait_s:.3f}"}))
            if found.finished:
                return found
            if time.monotonic() >= until:
                raise DeadlineExceeded(f"The job {found.id} is still {found.state}: ask for it again later.")

    def result(self, job: Job | str) -> Semantic | Instances | Panoptic | Prompted | Everything:
        """What the task itself would have given, of a job without another `format`. Raises what the job failed with,
        `JobNotDone` or `JobCancelled`."""
        task = (job if isinstance(job, Job) else self.status(job)).task
        answer = self._transport.request("GET", f"{_path(job)}/result")
        found: Semantic | Instances | Panoptic | Prompted | Everything = read(_RESULTS[task], answer)
        return found

    def content(self, job: Job | str) -> bytes:
        """The body of the result as it is, for every `format`. Raises as `result`."""
        return self._transport.content(f"{_path(job)}/result", "GET")

    def cancel(self, job: Job | str) -> None:
        """Cancel a job that waits or runs; have the server forget one that is finished, with its result."""
        self._transport.request("DELETE", _path(job))

    def list(self, state: JobState | None = None) -> Iterator[Job]:
        """All jobs, or those in one state, newest first; asks for a page at a time."""
        query = {} if state is None else {"state": str(state)}
        while True:
            page = self._transport.request("GET", PATH, params=query)
            try:
                jobs, cursor = [Job.of(each) for each in page["jobs"]], page.get("next_cursor")
            except (KeyError, TypeError, AttributeError) as error:
                raise foreign(200) from error
            yield from jobs
            if cursor is None:
                return
            query["cursor"] = cursor


def _path(job: Job | str) -> str:
    return f"{PATH}/{job.id if isinstance(job, Job) else job}"
