"""Answers about images, models, labels, readiness and errors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from shared.schemas.wire import ImageId, Reply, Sha256
from shared.types import JobState, JobTask, Task, Tier


class ErrorDetail(Reply):
    """One field at fault; `value` has 100 characters at most."""

    field: str
    value: Annotated[str, Field(max_length=100)] | None
    limit: str | None
    reason: str


class ErrorFields(Reply):
    """What went wrong. `code` is stable; `message` is for people."""

    code: str
    message: str
    details: list[ErrorDetail]


class ErrorAnswer(ErrorFields):
    """The body of every error."""

    request_id: str


class StoredImage(Reply):
    """A stored image: its id, its upright size in pixels, and when it is forgotten (RFC 3339, UTC)."""

    image_id: ImageId
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    expires_at: datetime


class UploadedImage(StoredImage):
    """An upload; `embeddings`: for each model asked for, where its embedding was found."""

    embeddings: dict[str, Tier]


class FailedImage(Reply):
    """An image of an upload of several that was refused."""

    error: ErrorFields


class UploadedImages(Reply):
    """Several images, in the order in which they were sent."""

    images: list[UploadedImage | FailedImage]


class JobLinks(Reply):
    """Paths of a job: its record, its result, and where `DELETE` cancels it, until it is finished."""

    self: str
    result: str
    cancel: str | None = None


class JobAnswer(Reply):
    """A job; what has not happened is absent. Times are RFC 3339, UTC. `expires_at`: when it is forgotten, or has
    failed if it still waits then. `error`: the body of the error that it failed with."""

    id: Annotated[str, Field(pattern=r"^job_[0-9a-f]{32}$")]
    task: JobTask
    state: JobState
    created_at: datetime
    expires_at: datetime
    links: JobLinks
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorAnswer | None = None


class JobsAnswer(Reply):
    """Jobs, newest first; without `next_cursor` the list ends here."""

    jobs: list[JobAnswer]
    next_cursor: str | None = None


class ModelEntry(Reply):
    """A served model. `default_for`: the tasks for which it answers when a request names no model."""

    name: str
    version: str
    tasks: list[Task]
    default_for: list[Task]
    label_space: str
    weights_sha256: Sha256
    engine: str
    precision: str
    parameters: Annotated[int, Field(ge=0)]
    licence: str
    summary: str
    paper: str
    text_prompts: bool
    tta: bool
    crf: bool
    encoder_fingerprint: str
    figures: dict[str, float]


class ModelsAnswer(Reply):
    """Every served model."""

    models: list[ModelEntry]


class LabelEntry(Reply):
    """One label. `category_id` is COCO's own numbering or the data set's; `color` is RGB."""

    label_id: Annotated[int, Field(ge=0)]
    name: str
    category_id: int
    isthing: bool
    color: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]


class LabelSpaceAnswer(Reply):
    """A label space; `label_id` is the index in `labels`, `void` the value of pixels without a label."""

    name: str
    void: Annotated[int, Field(ge=0)]
    labels: list[LabelEntry]


class LabelSpaceEntry(Reply):
    """A label space in the list of all."""

    name: str
    count: Annotated[int, Field(ge=1)]


class LabelSpacesAnswer(Reply):
    """Every label space."""

    label_spaces: list[LabelSpaceEntry]


class ApplicationEntry(Reply):
    """One application: its status in the backend's words, healthy replicas, and why."""

    status: str
    replicas: Annotated[int, Field(ge=0)]
    message: str


class HealthAnswer(Reply):
    """The gateway's process runs."""

    status: str


class ReadinessAnswer(Reply):
    """Whether every required application can answer."""

    ready: bool
    applications: dict[str, ApplicationEntry]
