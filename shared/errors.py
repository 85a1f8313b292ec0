"""What can go wrong, and how it is told: one class a cause, each with its code, HTTP status, message and details.

Raised anywhere, pickled across processes, turned into a response by one handler in the gateway.
Only `message` and `details` reach a caller, never `str(exc)` of an unknown error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

SHOWN_CHARACTERS = 100
"""How much of an offending value an error repeats to its caller."""

SHOWN_DETAILS = 20
"""How many faults of one request an error names."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One field at fault: its name, the value sent (cut to 100 characters), the limit, and why."""

    field: str
    value: str | None = None
    limit: str | None = None
    reason: str = ""


def detail(field: str, value: object = None, limit: object = None, reason: str = "") -> Detail:
    """Make a `Detail` from any value; the value is cut to `SHOWN_CHARACTERS`."""
    shown = None if value is None else _written(value)[:SHOWN_CHARACTERS]
    return Detail(field, shown, None if limit is None else _written(limit), reason)


def _written(value: object) -> str:
    """As a caller writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class SegServeError(Exception):
    """The root of every error that a caller may see. Subclasses set `code` and `status`."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    default_message: ClassVar[str] = "The server failed to answer this request."

    def __init__(self, message: str = "", details: tuple[Detail, ...] = (), retry_after_s: float | None = None):
        self.message = message or self.default_message
        self.details = details
        self.retry_after_s = retry_after_s
        super().__init__(self.message, details, retry_after_s)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.details, self.retry_after_s)

    @classmethod
    def of(cls, field: str, value: object = None, limit: object = None, reason: str = "") -> Self:
        """An error about one field, whose message is the reason."""
        item = detail(field, value, limit, reason)
        return cls(f"{field}: {reason}" if reason else "", (item,))

    @classmethod
    def about(cls, details: Sequence[Detail]) -> Self:
        """An error about one field or several, whose message is the first one's reason."""
        return cls(f"{details[0].field}: {details[0].reason}", tuple(details))


@contextmanager
def told_of(field: str) -> Iterator[None]:
    """What is wrong in here is told of this field, by which the caller sent it, not of the one that was looked at."""
    try:
        yield
    except SegServeError as error:
        details = tuple(replace(each, field=field) for each in error.details)
        reason = details[0].reason if details else error.message
        raise type(error)(f"{field}: {reason}", details, error.retry_after_s) from None


class Malformed(SegServeError):
    """The body, the image bytes or the JSON cannot be read at all."""

    code, status, default_message = "malformed", 400, "The request could not be read."


class Unauthorized(SegServeError):
    """No API key, or one that is not known."""

    code, status, default_message = "unauthorized", 401, "An API key is required: Authorization: Bearer <key>."


class Forbidden(SegServeError):
    """The key is known and does not permit this."""

    code, status, default_message = "forbidden", 403, "This API key does not permit this."


class ModelNotFound(SegServeError):
    """No running application serves this model for this task."""

    code, status, default_message = "model_not_found", 404, "No such model is served."


class ImageNotFound(SegServeError):
    """The image id is unknown to this tenant, expired or deleted."""

    code, status, default_message = "image_not_found", 404, "No such image: send it again."


class JobNotFound(SegServeError):
    """The job id is unknown to this tenant, expired or forgotten."""

    code, status, default_message = "job_not_found", 404, "No such job."


class NotFound(SegServeError):
    """No such path or resource."""

    code, status, default_message = "not_found", 404, "There is nothing here."


class MethodNotAllowed(SegServeError):
    """The path exists and does not take this method."""

    code, status, default_message = "method_not_allowed", 405, "This path does not take this method."


class NotAcceptable(SegServeError):
    """`Accept` asks for a kind of picture that this path does not give."""

    code, status, default_message = "not_acceptable", 406, "This path does not answer in that media type."


class RequestTimeout(SegServeError):
    """The body stopped coming, or came too slowly; nothing was begun."""

    code, status, default_message = "request_timeout", 408, "The request did not arrive in time."


class ImageMismatch(SegServeError):
    """Both an image and an image id came, and they name different images."""

    code, status, default_message = "image_mismatch", 409, "The image does not have this image_id."


class JobNotDone(SegServeError):
    """The result of a job that waits or runs."""

    code, status, default_message = "job_not_done", 409, "The job has no result yet."


class JobCancelled(SegServeError):
    """The result of a job that was cancelled: there will be none."""

    code, status, default_message = "job_cancelled", 409, "The job was cancelled: it has no result."


class BodyTooLarge(SegServeError):
    """More bytes than the server takes."""

    code, status, default_message = "body_too_large", 413, "The request body is too large."


class ImageTooLarge(SegServeError):
    """More pixels than the server takes, as the header of the image says."""

    code, status, default_message = "image_too_large", 413, "The image has too many pixels."


class UnsupportedFormat(SegServeError):
    """Not an image, or of a format the server does not read."""

    code, status, default_message = "unsupported_format", 415, "This is no image of a supported format."


class InvalidOption(SegServeError):
    """A prompt or an option is outside what is allowed; details name field, value and limit."""

    code, status, default_message = "invalid_option", 422, "A field of the request is not valid."


class IdempotencyMismatch(SegServeError):
    """An `Idempotency-Key` came again with another request."""

    code, status = "idempotency_mismatch", 422
    default_message = "This Idempotency-Key belongs to another request."


class ImageUrlRefused(SegServeError):
    """The image's URL, or one that it led to, is none that the server asks: its scheme, its port or its addresses."""

    code, status, default_message = "image_url_refused", 422, "Images are not fetched from this URL."


class ImageUrlFailed(SegServeError):
    """What is at the image's URL could not be had: unreachable, another status, too slow, too large."""

    code, status, default_message = "image_url_failed", 422, "The image could not be fetched from its URL."


class TooManyRequests(SegServeError):
    """This caller has used up its share."""

    code, status, default_message = "too_many_requests", 429, "Too many requests at once: try again later."


class ClientGone(SegServeError):
    """The caller left before the answer; counted, never delivered."""

    code, status, default_message = "client_gone", 499, "The caller left."


class InternalError(SegServeError):
    """A failure on our side whose cause is in the log under the request id, never in the answer."""


class JobLost(SegServeError):
    """Gateways ended under this job so often that it is not tried again."""

    code, status, default_message = "job_lost", 500, "Every server that worked on this job ended under it."


class JobDamaged(SegServeError):
    """A job's record, request or result did not come back from the store as it was put there: it is not believed."""

    code, status, default_message = "job_damaged", 500, "The job was damaged in the store: send it again."


class Overloaded(SegServeError):
    """Every permit is taken; nothing was begun."""

    code, status, default_message = "overloaded", 503, "The server is busy: try again later."


class ModelUnavailable(SegServeError):
    """The model is known and has no healthy replica just now."""

    code, status, default_message = "model_unavailable", 503, "The model has no healthy replica just now."


class GatewayUnavailable(SegServeError):
    """No gateway answers: it is starting, or it ended under the request."""

    code, status = "gateway_unavailable", 503
    default_message = "The gateway stopped before it answered: try again."


class ImageStoreUnavailable(SegServeError):
    """The image store is out of reach and nothing nearer has the image: send the image itself."""

    code, status = "image_store_unavailable", 503
    default_message = "The image store is out of reach: send the image with the request."


class JobStoreUnavailable(SegServeError):
    """The store of jobs is out of reach or full: nothing can be said of them, and none is taken."""

    code, status = "job_store_unavailable", 503
    default_message = "The store of jobs is out of reach: try again later."


class DeadlineExceeded(SegServeError):
    """The answer was not ready in time; queued work is dropped."""

    code, status, default_message = "deadline_exceeded", 504, "The answer was not ready in time."
