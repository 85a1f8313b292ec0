"""`GET /metrics` of a cluster: collected from real HTTP pages, kept for a while, never failing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from services.gateway.metrics_page import ClusterPage
from shared.telemetry.prometheus import PrometheusSink
from tests.unit.store.clock import Clock

FIRST, SECOND = "http://10.0.0.1:8080/metrics", "http://10.0.0.2:8080/metrics"
GARBLED = 'ray_segserve_rejections_total{reason="server"} many'


class Nodes:
    """Two nodes' agents behind a transport; `down` fail, `calls` were asked."""

    def __init__(self) -> None:
        self.sinks = {"10.0.0.1": PrometheusSink(), "10.0.0.2": PrometheusSink()}
        self.listed: Sequence[str] = (FIRST, SECOND)
        self.down: dict[str, httpx.Response | Exception] = {}
        self.calls: list[str] = []
        self.listing: Exception | None = None
        self.clock = Clock()

    async def endpoints(self) -> Sequence[str]:
        """The list of pages."""
        if self.listing:
            raise self.listing
        return self.listed

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """One page."""
        self.calls.append(request.url.host)
        await asyncio.sleep(0.005)
        failure = self.down.get(request.url.host)
        if isinstance(failure, Exception):
            raise failure
        return failure or httpx.Response(200, content=self.sinks[request.url.host].page())

    @asynccontextmanager
    async def page(self, cached_s: float = 0.0) -> AsyncIterator[ClusterPage]:
        """A page over these nodes."""
        transport = httpx.MockTransport(self.answer)
        page = ClusterPage(self.endpoints, cached_s=cached_s, clock=self.clock, transport=transport)
        yield page
        await page.close()

    def reject(self, count: int) -> None:
        """Both nodes count `count` rejections."""
        for sink in self.sinks.values():
            sink.count("segserve_rejections_total", count, reason="server")


def rejections(page: bytes) -> float:
    """The page's sum of rejections."""
    (line,) = [line for line in page.decode().splitlines() if line.startswith("ray_segserve_rejections_total{")]
    return float(line.split()[-1])


def up(page: bytes, endpoint: str) -> bool:
    """What the page says of one endpoint."""
    return f'ray_segserve_metrics_endpoint_up{{endpoint="{endpoint}"}} 1.0' in page.decode()


async def test_the_cluster_adds_up() -> None:
    nodes = Nodes()
    nodes.reject(3)
    async with nodes.page() as page:
        shown = await page.render()
    assert rejections(shown) == 6
    assert up(shown, "10.0.0.1:8080")
    assert up(shown, "10.0.0.2:8080")


async def test_a_page_is_kept_for_a_while_and_equal_when_idle() -> None:
    nodes = Nodes()
    nodes.reject(1)
    async with nodes.page(cached_s=5) as page:
        first = await page.render()
        nodes.reject(1)
        assert await page.render() == first
        assert len(nodes.calls) == 2
        nodes.clock.pass_(5)
        second = await page.render()
        nodes.clock.pass_(5)
        assert rejections(second) == 4
        assert await page.render() == second


async def test_callers_at_once_share_one_collection() -> None:
    nodes = Nodes()
    async with nodes.page(cached_s=60) as page:
        pages = await asyncio.gather(*(page.render() for _ in range(8)))
    assert len(set(pages)) == 1
    assert len(nodes.calls) == 2


@pytest.mark.parametrize(
    "failure",
    [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.Response(500), httpx.Response(200, text=GARBLED)],
)
async def test_a_failing_node_keeps_its_last_numbers_and_is_noted(failure: httpx.Response | Exception) -> None:
    nodes = Nodes()
    nodes.reject(2)
    async with nodes.page() as page:
        await page.render()
        nodes.reject(1)
        nodes.down["10.0.0.2"] = failure
        shown = await page.render()
        assert rejections(shown) == 3 + 2
        assert up(shown, "10.0.0.1:8080")
        assert not up(shown, "10.0.0.2:8080")
        nodes.down.clear()
        shown = await page.render()
        assert rejections(shown) == 6
        assert up(shown, "10.0.0.2:8080")


async def test_a_node_that_was_never_reached_is_noted() -> None:
    nodes = Nodes()
    nodes.down["10.0.0.2"] = httpx.ConnectError("refused")
    nodes.reject(1)
    async with nodes.page() as page:
        shown = await page.render()
    assert rejections(shown) == 1
    assert 'endpoint="10.0.0.2:8080"} 0.0' in shown.decode()


async def test_a_node_that_is_gone_is_forgotten() -> None:
    nodes = Nodes()
    nodes.reject(1)
    async with nodes.page() as page:
        await page.render()
        nodes.listed = (FIRST, FIRST)
        shown = await page.render()
    assert rejections(shown) == 1
    assert b"10.0.0.2" not in shown


async def test_without_a_list_the_known_pages_are_read() -> None:
    nodes = Nodes()
    nodes.reject(1)
    async with nodes.page() as page:
        await page.render()
        nodes.listing = ConnectionError("no Ray")
        nodes.reject(1)
        shown = await page.render()
        assert rejections(shown) == 4
        assert 'endpoint="list"} 0.0' in shown.decode()
        nodes.listing = None
        assert b'endpoint="list"' not in await page.render()
