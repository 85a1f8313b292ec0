"""Jobs and outcomes as callers see them: JSON records, and a result exactly as the task's route would have answered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

from services.gateway.errors import body, headers
from services.gateway.responses import JSON, fresh
from shared.calls import Answer
from shared.errors import JobCancelled, JobDamaged, JobNotDone, SegServeError
from shared.store.jobs import Job, Outcome
from shared.telemetry.stages import server_timing

PATH = "/v1/jobs"


def job_fields(job: Job) -> dict[str, Any]:
    """A job's record: its state, its times, where to go from here, and the error that it failed with; what has not
    happened is left out."""
    path = f"{PATH}/{job.job_id}"
    times = {"created_at": job.created_at, "started_at": job.started_at, "finished_at": job.finished_at}
    found = {**times, "expires_at": job.expires_at}
    error = body(JobDamaged(), job.job_id) if job.is_damaged else job.error
    return {
        "id": job.job_id,
        "task": job.task,
        "state": job.state,
        **{name: datetime.fromtimestamp(at, UTC) for name, at in found.items() if at is not None},
        "links": {"self": path, "result": f"{path}/result", **({"cancel": path} if job.is_open else {})},
        **({} if error is None else {"error": orjson.loads(error)}),
    }


def accepted(job: Job, preferred: bool) -> Response:
    """202, and where the job is to be found; `preferred`: because of the header `Prefer`."""
    response = fresh(job_fields(job), 202)
    response.headers["Location"] = f"{PATH}/{job.job_id}"
    if preferred:
        response.headers["Preference-Applied"] = "respond-async"
    return response


def of_answer(answer: Answer) -> Outcome:
    """What a job that is done ended with."""
    timing = ("Server-Timing", server_timing(answer.timings))
    return Outcome(200, answer.media_type, (("Cache-Control", "no-store"), timing, *answer.headers), answer.body)


def of_error(error: SegServeError, request_id: str) -> Outcome:
    """What a job that failed ended with."""
    return Outcome(error.status, JSON, tuple(headers(error, error).items()), body(error, request_id))


def error_code(outcome: Outcome) -> str:
    """The code of the error that `of_error` made an outcome of."""
    return str(orjson.loads(outcome.body)["code"])


def result(job: Job, outcome: Outcome | None) -> Response:
    """The answer that the task's route would have given. Raises `JobNotDone` or `JobCancelled`."""
    if outcome is not None:
        return Response(outcome.body, outcome.status, dict(outcome.headers), outcome.media_type)
    kind = JobNotDone if job.is_open else JobCancelled
    raise kind.of("job_id", job.job_id, "a job that is done or has failed", f"the job is {job.state}")
