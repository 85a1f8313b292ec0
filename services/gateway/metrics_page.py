"""What `GET /metrics` answers: every node's metrics page fetched, added up and kept for a few seconds."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import httpx

from shared.telemetry.merge import Families, Family, merge, parse
from shared.telemetry.metrics import METRICS

ListEndpoints = Callable[[], Awaitable[Sequence[str]]]
"""URLs of the pages to collect, as they are now."""

CACHED_S = 5.0
TIMEOUT_S = 5.0
"""An agent that is slow because its machine is busy is not down."""
LISTING = "list"
"""Stands for the list of pages where it cannot be had."""

logger = logging.getLogger(__name__)


class ClusterPage:
    """The sums over the pages of every node (`merge`). Never fails: a page that cannot be read leaves its last numbers
    and `ray_segserve_metrics_endpoint_up{endpoint} 0`; so does the list of pages, under the endpoint `list`."""

    def __init__(
        self,
        endpoints: ListEndpoints,
        *,
        cached_s: float = CACHED_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        self._endpoints = endpoints
        self._cached_s = cached_s
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=timeout_s, trust_env=False, transport=transport)
        self._known: dict[str, Families] = {}
        self._up: dict[str, bool] = {}
        self._page = b""
        self._fresh_until = -math.inf
        self._collecting = asyncio.Lock()

    async def render(self) -> bytes:
        """The page, collected anew when it is older than `cached_s`; callers at the same time share one collection."""
        async with self._collecting:
            if self._clock() >= self._fresh_until:
                self._page = await self._collect()
                self._fresh_until = self._clock() + self._cached_s
            return self._page

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._client.aclose()

    async def _collect(self) -> bytes:
        urls = await self._list()
        read = await asyncio.gather(*map(self._read, urls))
        before, self._known = self._known, {}
        for url, families in zip(urls, read, strict=True):
            self._known[url] = before.get(url, {}) if families is None else families
            if families is not None:
                self._note(url, True)
        self._up = {url: up for url, up in self._up.items() if url in self._known or (url == LISTING and not up)}
        up = _endpoints_up(self._up)
        return await asyncio.to_thread(merge, (*self._known.values(), {up.name: up}))

    async def _list(self) -> list[str]:
        """The endpoints without duplicates; those known before when they cannot be listed."""
        try:
            urls = list(dict.fromkeys(await self._endpoints()))
        except Exception as error:
            self._note(LISTING, False, error)
            return list(self._known)
        self._note(LISTING, True)
        return urls

    async def _read(self, url: str) -> Families | None:
        try:
            response = await self._client.get(url)
            response.raise_for_status()
            return await asyncio.to_thread(parse, response.text)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            self._note(url, False, error)
            return None

    def _note(self, url: str, up: bool, error: Exception | None = None) -> None:
        """Log where it changes."""
        if not up and self._up.get(url, True):
            logger.warning("cannot read the metrics of %s: %r", url, error)
        elif up and not self._up.get(url, True):
            logger.info("can read the metrics of %s again", url)
        self._up[url] = up


def _endpoint(url: str) -> str:
    """`host:port` of a URL: its label, without credentials."""
    parsed = httpx.URL(url)
    return f"{parsed.host}:{parsed.port}" if parsed.port else parsed.host or url


def _endpoints_up(states: Mapping[str, bool]) -> Family:
    metric = METRICS["segserve_metrics_endpoint_up"]
    family = Family(metric.exported, metric.help, metric.kind)
    for url, up in states.items():
        family.add(metric.exported, (("endpoint", _endpoint(url)),), float(up))
    return family
