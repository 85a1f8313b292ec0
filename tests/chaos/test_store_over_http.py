"""Valkey frozen or killed in the middle of load: no request that carries its image fails, and none waits long."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from shared.imaging.sample import street_scene
from tests.data import encoded
from tests.e2e.scrape import at_rest, total
from tests.platform import Platform, running

pytestmark = pytest.mark.chaos
CALLERS = 4
LOAD_S = 12.0
CLICK = '[{"points": [[200, 150]], "labels": [1]}]'
PATIENCE_S = 8.0
"""Far above a request under this load on two busy cores, far below the minute that a hung store could cost."""


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A platform of its own for each test, since its store is harmed."""
    with running() as started:
        yield started


def valkey_of(platform: Platform) -> int:
    """The process id of the Valkey below the launcher."""
    waiting, seen = [platform.process.pid], set()
    while waiting:
        parent = waiting.pop()
        seen.add(parent)
        if "valkey" in Path(f"/proc/{parent}/cmdline").read_text().split("\0")[0]:
            return parent
        for task in Path(f"/proc/{parent}/task").iterdir():
            waiting += [int(child) for child in (task / "children").read_text().split() if int(child) not in seen]
    raise AssertionError("no Valkey below the launcher")


async def load(url: str, harm: int, how: signal.Signals) -> list[tuple[int, float]]:
    """Clicks that carry their image, from several callers; the store is harmed after a third of the time."""
    photos = [encoded(street_scene(480, 360, seed)[0]) for seed in range(64)]
    outcomes: list[tuple[int, float]] = []
    until = time.monotonic() + LOAD_S

    async def caller(number: int, client: httpx.AsyncClient) -> None:
        turn = number
        while time.monotonic() < until:
            begun = time.monotonic()
            files = {"image": photos[turn % len(photos)]}
            answer = await client.post("/v1/promptable", files=files, data={"prompts": CLICK})
            outcomes.append((answer.status_code, time.monotonic() - begun))
            turn += CALLERS

    async def harmer() -> None:
        await asyncio.sleep(LOAD_S / 3)
        os.kill(harm, how)

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(harmer(), *(caller(number, client) for number in range(CALLERS)))
    return outcomes


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_no_request_with_its_image_fails(
    platform: Platform, how: signal.Signals, record_property: Callable[[str, object], None]
) -> None:
    valkey = valkey_of(platform)
    try:
        outcomes = await load(platform.url, valkey, how)
        slowest = max(seconds for _, seconds in outcomes)
        record_property("requests", len(outcomes))
        record_property("slowest_s", slowest)
        assert {status for status, _ in outcomes} == {200}
        assert len(outcomes) > 20
        assert slowest < PATIENCE_S
        with httpx.Client(base_url=platform.url, timeout=30) as http:
            assert total(at_rest(http), "segserve_store_errors_total") > 0
    finally:
        if how is signal.SIGSTOP:
            os.kill(valkey, signal.SIGCONT)
