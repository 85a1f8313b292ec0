"""What the middleware notes in a request's ASGI scope, and how everything behind it reads that."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.types import Scope

STREAM_GRACE_S = 5.0

_KEY = "segserve.arrival"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request at the door: its id, when it came and when it must be done (Unix seconds)."""

    request_id: str
    at: float
    deadline: float
    grace_s: float = 0.0
    """How long after the deadline the work is cut off, where it tells of the deadline itself."""


def note(scope: Scope, arrival: Arrival) -> None:
    """Remember the arrival of this request."""
    scope[_KEY] = arrival


def arrival(scope: Scope) -> Arrival:
    """The arrival that the middleware noted."""
    found: Arrival = scope[_KEY]
    return found


def lengthen(scope: Scope, seconds: float) -> None:
    """Give this request so many seconds from its arrival: a stream that tells of its end itself."""
    now = arrival(scope)
    note(scope, replace(now, deadline=now.at + seconds, grace_s=STREAM_GRACE_S))


def request_id(scope: Scope) -> str:
    """The request's id."""
    return arrival(scope).request_id


def route(scope: Scope) -> str:
    """The template of the route that took this request, like `/v1/models/{name}`; `unmatched` when none did."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else "unmatched"
