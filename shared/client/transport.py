"""One HTTP request to a SegServe server: its JSON, or the server's own error raised again here as the same class."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from shared.client.events import events_of
from shared.client.reach import ServerUnreachable, unanswered
from shared.errors import DeadlineExceeded, Detail, InternalError, SegServeError

RETRIED = (429, 503)
"""Statuses that say nothing was begun and when to come again."""
LONGEST_WAIT_S = 30.0
"""A server that wants us back later than this is not waited for."""


class Closing(ABC):
    """What holds connections: closed at the end of a `with` block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End the connections."""


class Transport:
    """Requests to one server; 429 and 503 are tried again after `Retry-After`, at most `retries` times."""

    def __init__(self, http: httpx.Client, retries: int, sleep: Callable[[float], None] = time.sleep):
        self._http = http
        self._retries = retries
        self._sleep = sleep

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON, None for an empty one. Raises a class of `shared.errors`, `ServerUnreachable` included."""
        response = self._answered(method, path, options)
        try:
            return response.json() if response.content else None
        except ValueError:
            raise foreign(response.status_code) from None

    def content(self, path: str, method: str = "POST", **options: Any) -> bytes:
        """The body of the answer as it is. Raises as `request`."""
        return self._answered(method, path, options).content

    def _answered(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response:
        """The answer that is no error, after as many tries as are worth it."""
        response = self._send(method, path, options)
        for _ in range(self._retries):
            wait_s = _retry_after(response)
            if wait_s is None:
                break
            self._sleep(wait_s)
            response = self._send(method, path, options)
        if response.is_error:
            raise _error(response)
        return response

    def events(self, path: str, **options: Any) -> Iterator[tuple[str, Any]]:
        """POST, and the events that answer it, the last one whatever ended them. Raises as `request`; an `error` event
        is raised too. Not tried again: work was begun."""
        headers = {"Accept": "text/event-stream"}
        try:
            with self._http.stream("POST", path, headers=headers, **options) as response:
                if response.is_error:
                    response.read()
                    raise _error(response)
                for name, data in events_of(response.iter_lines()):
                    if name == "error":
                        raise told(data, response.status_code)
                    yield name, data
        except httpx.TransportError as error:
            raise unanswered(error, self._http.base_url) from error
        except ValueError:
            raise foreign(200) from None

    def status(self, path: str) -> int | None:
        """The status of a GET, asked once; None where the server cannot be reached."""
        try:
            return self._send("GET", path, {}).status_code
        except (ServerUnreachable, DeadlineExceeded):
            return None

    def _send(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise unanswered(error, self._http.base_url) from error


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds until the request may be sent again; None where it should not be."""
    told = response.headers.get("retry-after", "")
    if response.status_code not in RETRIED or not told.isdecimal():
        return None
    return float(told) if float(told) <= LONGEST_WAIT_S else None


def _error(response: httpx.Response) -> SegServeError:
    """The error that the server told; one without our body came from something between us and the server."""
    try:
        body = response.json()
    except ValueError:
        return foreign(response.status_code)
    told_wait = response.headers.get("retry-after", "")
    return told(body, response.status_code, float(told_wait) if told_wait.isdecimal() else None)


def told(body: Any, status: int, retry_after_s: float | None = None) -> SegServeError:
    """The error of an error's JSON."""
    try:
        kind = _KINDS.get(body["code"], InternalError)
        details = tuple(Detail(each["field"], each["value"], each["limit"], each["reason"]) for each in body["details"])
        error = kind(body["message"], details, retry_after_s)
        if "request_id" in body:
            error.add_note(f"request_id: {body['request_id']}")
    except (ValueError, KeyError, TypeError):
        return foreign(status)
    return error


def foreign(status: int) -> InternalError:
    """The answer is not one of SegServe's: a proxy's page, another server, another version."""
    return InternalError(f"What answered {status} there is no SegServe server of this version.")


def _kinds(root: type[SegServeError]) -> Iterator[tuple[str, type[SegServeError]]]:
    for kind in root.__subclasses__():
        yield kind.code, kind
        yield from _kinds(kind)


_KINDS = dict(_kinds(SegServeError))
