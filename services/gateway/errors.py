"""Every failure in, one answer out: {code, message, details, request_id}, with the headers that its cause calls for.

The only place where an exception becomes a response. What is not ours becomes `internal`; its cause goes to the log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from services.gateway.scopes import request_id, route
from shared.errors import (
    BodyTooLarge,
    ClientGone,
    DeadlineExceeded,
    Detail,
    Forbidden,
    InternalError,
    InvalidOption,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    SegServeError,
    TooManyRequests,
    Unauthorized,
    UnsupportedFormat,
    detail,
)
from shared.protocols import Sink

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
"""What `Retry-After` says where the error itself does not know better."""

NOT_REFUSED = (InternalError, ClientGone, DeadlineExceeded)
"""Failures of work that was begun; every other error is a refusal, counted under its code."""

_OF_STATUS: Mapping[int, type[SegServeError]] = {
    400: Malformed,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    408: DeadlineExceeded,
    413: BodyTooLarge,
    415: UnsupportedFormat,
    422: InvalidOption,
    429: TooManyRequests,
    503: Overloaded,
}


Written = Callable[[SegServeError, str], bytes]
"""An error and its request's id to the body of its answer."""


class ErrorAnswers:
    """Turns exceptions into responses, and counts refusals by their code. `routes`: what `Allow` is read from, beside
    the application's own. `doors`: how errors are written below paths that begin so, for clients that know no other
    way."""

    def __init__(
        self, sink: Sink, routes: Iterable[BaseRoute] = (), doors: Mapping[str, Written] | None = None
    ) -> None:
        self._sink = sink
        self._routes = tuple(routes)
        self._doors = tuple((doors or {}).items())

    async def handle(self, request: Request, error: Exception) -> Response:
        """FastAPI's signature of an exception handler."""
        return self.answer(request.scope, error)

    def answer(self, scope: Scope, error: Exception) -> Response:
        """The response for `error`; logs what was not foreseen."""
        known = as_known(error)
        if isinstance(known, InternalError):
            logger.error("%s %s failed", scope.get("method"), route(scope), exc_info=error)
        if not isinstance(known, NOT_REFUSED):
            self._sink.count("segserve_rejections_total", reason=known.code)
        response = as_response(known, request_id(scope), error, self._written(scope["path"]))
        if (allowed := response.headers.get("Allow")) is not None:
            response.headers["Allow"] = self._allowed(scope, allowed)
        return response

    def _written(self, path: str) -> Written:
        return next((each for door, each in self._doors if path == door or path.startswith(f"{door}/")), body)

    def _allowed(self, scope: Scope, told: str) -> str:
        """The methods of every route with this path: one that was refused tells of its own."""
        methods = set(told.split(", "))
        for each in (*self._routes, *scope["app"].routes):
            if isinstance(each, APIRoute) and each.matches(scope)[0] is not Match.NONE:
                methods |= each.methods or set()
        return ", ".join(sorted(methods))


def as_response(
    known: SegServeError, identifier: str, cause: Exception | None = None, written: Written | None = None
) -> Response:
    """The response for an error of ours to the request of this id; `written`: other than as `body` does."""
    content = (written or body)(known, identifier)
    return Response(content, known.status, headers(known, cause or known), "application/json")


def of_status(status: int, retry_after: str | None = None) -> SegServeError:
    """Our error for another server's status; `retry_after` is its header of that name, in seconds."""
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return _OF_STATUS.get(status, InternalError)(retry_after_s=seconds)


def as_known(error: Exception) -> SegServeError:
    """The error as one of ours. Nothing of an unknown error's text is kept."""
    if isinstance(error, SegServeError):
        return error
    if isinstance(error, RequestValidationError):
        details = tuple(detail(".".join(map(str, each["loc"])), reason=str(each["msg"])) for each in error.errors())
        return InvalidOption(details=details)
    if isinstance(error, HTTPException):
        return of_status(error.status_code)
    if isinstance(error, ClientDisconnect):
        return ClientGone()
    return InternalError()


def headers(known: SegServeError, error: Exception) -> dict[str, str]:
    """`Retry-After` for 429 and 503, the challenge for 401, `Allow` for 405; and never a cached error."""
    found = {"Cache-Control": "no-store"}
    if known.status in (429, 503):
        found["Retry-After"] = str(math.ceil(known.retry_after_s or RETRY_AFTER_S))
    if known.status == 401:
        found["WWW-Authenticate"] = "Bearer"
    if isinstance(error, HTTPException) and error.headers and "Allow" in error.headers:
        found["Allow"] = error.headers["Allow"]
    return found


def body(error: SegServeError, identifier: str) -> bytes:
    """The JSON body of an error."""
    return orjson.dumps({**fields(error), "request_id": identifier})


def sentence(error: SegServeError) -> str:
    """The same in one line of text, for answers that have room for no more: message, value and limit of the first field
    at fault, and what is wrong with the others."""
    text = error.message
    if error.details:
        first = error.details[0]
        told = (("sent", first.value), ("allowed", first.limit))
        aside = ", ".join(f"{word}: {value}" for word, value in told if value is not None)
        text += f" ({aside})" if aside else ""
        text += "".join(f"; {each.field}: {each.reason}" for each in error.details[1:])
    return _printable(text)


def fields(error: SegServeError) -> dict[str, object]:
    """Code, message and details of an error: also an item's `error` in an answer about several images."""
    return {
        "code": error.code,
        "message": _printable(error.message),
        "details": [_detail_fields(each) for each in error.details],
    }


def _detail_fields(each: Detail) -> dict[str, str | None]:
    values = {"field": each.field, "value": each.value, "limit": each.limit, "reason": each.reason}
    return {key: None if value is None else _printable(value) for key, value in values.items()}


def _printable(text: str) -> str:
    """The text without lone surrogates, which JSON can say and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
