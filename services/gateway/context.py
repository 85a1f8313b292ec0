"""What a gateway works with, built once at its start, and how a request enters: key, permit, caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request

from services.gateway.auth import KeyRing
from services.gateway.backends import ModelDirectory
from services.gateway.errors import ErrorAnswers
from services.gateway.fetching import Fetcher
from services.gateway.limits import Permits
from services.gateway.scopes import arrival
from shared.calls import Caller
from shared.protocols import Sink
from shared.settings import Settings
from shared.store.images import ImageStore
from shared.store.jobs import JobStore

MetricsPage = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything that routes need."""

    settings: Settings
    directory: ModelDirectory
    images: ImageStore
    jobs: JobStore
    sink: Sink
    metrics_page: MetricsPage
    keys: KeyRing
    permits: Permits
    streams: Permits
    """Open WebSockets; each click takes a permit of its own."""
    waits: Permits
    """Callers who wait for a job to end, which costs next to nothing."""
    errors: ErrorAnswers
    fetcher: Fetcher

    def identify(self, request: Request) -> Caller:
        """Who asks. Raises `Unauthorized`."""
        came = arrival(request.scope)
        return Caller(self.keys.tenant(request.headers), came.request_id, came.deadline)

    @contextmanager
    def admit(self, request: Request) -> Iterator[Caller]:
        """Who asks, with a permit held. Raises `Unauthorized`, `TooManyRequests` or `Overloaded`, all at once."""
        caller = self.identify(request)
        with self.permits.permit(caller.tenant):
            yield caller


def gateway(request: Request) -> Gateway:
    """The gateway that this request came to."""
    found: Gateway = request.app.state.gateway
    return found
