"""A real Ray, a real replica, concurrent calls: what the node's agent, our page and a real Prometheus then say."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy import cluster
from services.gateway.metrics_page import ClusterPage
from tests.data import ROOT
from tests.integration.metrics_node import MAX_BATCH, PASS_S
from tests.prometheus import prometheus

CALLS = 64
STILL_S = 5.0
"""A page that has not moved for so many turns of every process has all that was counted."""
WHERE = {"application": "tiny", "deployment": "Tiny", "model": "tiny", "role": "semantic"}

pytestmark = pytest.mark.integration


class Node:
    """The process of `metrics_node.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, line: str) -> Any:
        """Its answer to one line."""
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        """Its next line of JSON; whatever else is printed is passed over."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(('"', "[")):
                return json.loads(line)
        raise RuntimeError(f"the node ended with {self._process.wait(60)}")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A running node; ended with the module's last test."""
    home = Path(tempfile.mkdtemp(prefix="segserve-metrics-"))
    environ = {**os.environ, **cluster.environment(cluster.write_token(home)), "RAY_metrics_report_interval_ms": "1000"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.metrics_node", str(home), str(cluster.free_port())],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    started = Node(process)
    try:
        assert started.read() == "ready"
        yield started
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def endpoints(node: Node) -> list[str]:
    """Where the metrics are, after `CALLS` concurrent calls."""
    assert node.ask(f"send {CALLS}") == [2 * item for item in range(CALLS)]
    found: list[str] = node.ask("endpoints")
    return found


@asynccontextmanager
async def cluster_page(endpoints: Sequence[str]) -> AsyncIterator[ClusterPage]:
    """The gateway's page over these nodes, not kept."""

    async def listed() -> Sequence[str]:
        return endpoints

    page = ClusterPage(listed, cached_s=0)
    yield page
    await page.close()


def samples(page: str, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each sample of this name whose labels include these."""
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def one(page: str, name: str, **labels: str) -> float:
    """The only such sample's value."""
    ((_, value),) = samples(page, name, **labels)
    return value


async def settled(page: ClusterPage, within_s: float = 120.0) -> str:
    """The page once every call is on it and it moves no more: Ray reports every second here, each process when its turn
    comes, and Serve sets some gauges of its own every ten seconds only."""
    deadline, since, text = time.monotonic() + within_s, time.monotonic(), ""
    while time.monotonic() < deadline:
        now = (await page.render()).decode()
        if now != text:
            text, since = now, time.monotonic()
        seen = samples(text, "ray_segserve_queue_seconds_count"), samples(text, "ray_segserve_batch_items_total")
        counted = all(found and found[0][1] >= CALLS for found in seen)
        if counted and samples(text, "ray_serve_deployment_status") and time.monotonic() - since > STILL_S:
            return text
        await asyncio.sleep(0.25)
    raise TimeoutError(f"not on the page within {within_s} s, or it still moves:\n{text}")


async def test_concurrent_calls_were_batched_and_the_page_says_so(endpoints: list[str]) -> None:
    assert len(endpoints) == 1
    async with cluster_page(endpoints) as page:
        text = await settled(page)
    batches = one(text, "ray_segserve_batch_size_count", **WHERE)
    assert one(text, "ray_segserve_batch_items_total", **WHERE) == CALLS
    assert one(text, "ray_segserve_queue_seconds_count", **WHERE) == CALLS
    assert CALLS / MAX_BATCH <= batches <= 1 + CALLS / MAX_BATCH, "one began with what came first, the others were full"
    assert one(text, "ray_segserve_batch_size_sum", **WHERE) == CALLS, "Ray's estimate, exact by our choice of buckets"
    assert one(text, "ray_segserve_batch_size_bucket", **WHERE, le="8.5") == batches
    assert one(text, "ray_segserve_batch_busy_seconds_total", **WHERE) > batches * PASS_S
    assert one(text, "ray_segserve_queue_depth", **WHERE) == 0
    assert one(text, "ray_segserve_build_info", application="tiny") == 1
    assert one(text, "ray_segserve_in_flight_requests") == 3
    assert one(text, "ray_segserve_encoder_runs_total", model="driver") == 1
    assert one(text, "ray_serve_deployment_status", application="tiny", deployment="Tiny") == 6
    assert one(text, "ray_segserve_metrics_endpoint_up") == 1


async def test_the_page_equals_itself_when_idle(endpoints: list[str]) -> None:
    async with cluster_page(endpoints) as page:
        text = await settled(page)
        for _ in range(3):
            await asyncio.sleep(1.2)
            assert (await page.render()).decode() == text


async def test_the_agent_names_counters_once_and_says_which_replica(endpoints: list[str]) -> None:
    async with cluster_page(endpoints) as page:
        await settled(page)
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(endpoints[0])).text
    ((labels, value),) = samples(text, "ray_segserve_batch_items_total")
    assert value == CALLS
    assert labels["replica"]
    assert WHERE.items() <= labels.items()
    assert "_total_total" not in text


async def query(client: httpx.AsyncClient, url: str, expression: str) -> list[float]:
    """The values of an instant query; none while the server starts."""
    try:
        answer = await client.get(f"{url}/api/v1/query", params={"query": expression})
        answer.raise_for_status()
    except httpx.HTTPError:
        return []
    return [float(result["value"][1]) for result in answer.json()["data"]["result"]]


async def says(client: httpx.AsyncClient, url: str, expression: str, value: float, within_s: int = 120) -> bool:
    """Whether the server comes to say this value, and only this: it starts, and a busy machine may cost it a scrape."""
    for _ in range(2 * within_s):
        if await query(client, url, expression) == [value]:
            return True
        await asyncio.sleep(0.5)
    return False


async def test_a_real_prometheus_reads_the_same_numbers(endpoints: list[str], tmp_path: Path) -> None:
    async with cluster_page(endpoints) as page:
        text = await settled(page)
    expected = {
        "sum(ray_segserve_batch_items_total)": CALLS,
        "sum(ray_segserve_batch_size_count)": one(text, "ray_segserve_batch_size_count", **WHERE),
        'sum(ray_segserve_batch_size_bucket{le="8.5"})': one(text, "ray_segserve_batch_size_count", **WHERE),
        'count(ALERTS{alertname="SegServeNodeUnreadable"}) or vector(0)': 0,
        'sum(up{job="ray"})': 1,
    }
    with prometheus(endpoints, tmp_path) as url:
        async with httpx.AsyncClient(trust_env=False) as client:
            for expression, value in expected.items():
                assert await says(client, url, expression, value), expression
