"""What OpenAPI says of jobs: of their own routes, and of a task's route that makes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.gateway.openapi import (
    BINARY,
    DESCRIBED,
    EXAMPLES,
    IMAGE_ID,
    REF,
    TASK_ERRORS,
    Kwargs,
    answers,
    query,
    refusals,
    taken,
)
from shared.schemas import examples, resources
from shared.schemas.options import JobPageFields, JobWaitFields, TaskOptions

JOB_ERRORS = (401, 404, 503)
PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`respond-async`: a job at once, as of `POST /v1/jobs`, instead of the answer.",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Of a job: the same key with the same request is the same job, for as long as there is one.",
}


def submissions(kinds: Mapping[str, type[TaskOptions]]) -> Kwargs:
    """Arguments of the route that takes a request for any of these tasks as a job."""
    fields: dict[str, Any] = {"task": {"type": "string", "enum": list(kinds), "description": "What is to be done."}}
    for options in kinds.values():
        DESCRIBED.add(options)
        fields = {**options.model_json_schema(ref_template=REF)["properties"], **fields}
    ok = {
        "model": resources.JobAnswer,
        "description": "The job, which waits; with a known `Idempotency-Key` the one that it came with.",
        "content": {"application/json": {"example": EXAMPLES[resources.JobAnswer]}},
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where the job is asked about."}},
    }
    example = {"task": "panoptic", "image_id": examples.STORED["image_id"], "format": "coco"}
    extra = taken(fields, ["task"], {"image_id": IMAGE_ID}, {"background_image": BINARY}, example, raw=True)
    extra["parameters"].append(IDEMPOTENCY_KEY)
    return {"responses": {202: ok, **refusals(TASK_ERRORS)}, "openapi_extra": extra}


def job_list() -> Kwargs:
    """Arguments of the route that lists jobs."""
    return {**answers(resources.JobsAnswer, (401, 422, 503)), "openapi_extra": {"parameters": query(JobPageFields)}}


def job_record() -> Kwargs:
    """Arguments of the route that tells of a job, once or as events."""
    found = answers(resources.JobAnswer, (*JOB_ERRORS, 422, 429))
    found["responses"][200]["content"]["text/event-stream"] = {
        "schema": {"type": "string"},
        "example": examples.JOB_EVENTS,
    }
    return {**found, "openapi_extra": {"parameters": query(JobWaitFields)}}


def job_result() -> Kwargs:
    """Arguments of the route that gives a job's result."""
    kinds = ("application/json", "image/png", "application/geo+json", "application/zip", "application/octet-stream")
    content: dict[str, Any] = {kind: {"schema": {} if kind == kinds[0] else BINARY} for kind in kinds}
    content[kinds[0]]["example"] = examples.PANOPTIC
    ok = {"description": "What the task's own path answers.", "content": content}
    return {"responses": {200: ok, **refusals((*JOB_ERRORS, *TASK_ERRORS, 500))}}


def job_deletion() -> Kwargs:
    """Arguments of the route that cancels a job or forgets it."""
    found = answers(resources.JobAnswer, JOB_ERRORS)
    found["responses"][200]["description"] = "The job, cancelled."
    found["responses"][204] = {"description": "It was finished, and is forgotten."}
    return found


def job_instead() -> dict[str, Any]:
    """What a task's route answers 202 with."""
    text = "With `Prefer: respond-async`: a job of it."
    content = {"application/json": {"example": EXAMPLES[resources.JobAnswer]}}
    return {"model": resources.JobAnswer, "description": text, "content": content}
