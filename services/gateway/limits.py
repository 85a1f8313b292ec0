"""Permits to work on a request: granted at once or refused at once, never waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import Overloaded, TooManyRequests, detail

FIELD = "concurrent requests"


class Permits:
    """Counts what this process is working on, in all and for each tenant. One event loop only."""

    def __init__(self, total: int, per_tenant: int) -> None:
        self._total = total
        self._per_tenant = per_tenant
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Permits held just now."""
        return self._taken.total()

    @contextmanager
    def permit(self, tenant: str) -> Iterator[None]:
        """Hold a permit. Raises `TooManyRequests` when this tenant has its share, `Overloaded` when all are taken."""
        if self._taken[tenant] >= self._per_tenant:
            reason = "this caller has as many requests at work as one may have"
            raise TooManyRequests(details=(detail(FIELD, None, self._per_tenant, reason),))
        if self.taken >= self._total:
            raise Overloaded(details=(detail(FIELD, None, self._total, "the server has all the work it takes"),))
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]
