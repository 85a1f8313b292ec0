"""A running platform in, its figures out: latency at one caller, throughput at eight, and a click on a cached image.

`make measure`. Pictures are drawn, 480x360 PNG. Machines are noisy: differences under 15 % mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from load_tests.pictures import drawn
from shared.settings import settings

PNG = {"Content-Type": "image/png"}
Ask = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds at one caller, and requests a second at several."""

    name: str
    p50_ms: float
    p95_ms: float
    per_second: float


def dense(task: str, photos: Sequence[bytes]) -> Ask:
    """One photo to a dense task."""

    async def ask(client: httpx.AsyncClient, turn: int) -> httpx.Response:
        return await client.post(f"/v1/{task}", content=photos[turn % len(photos)], headers=PNG)

    return ask


def click(ids: Sequence[str]) -> Ask:
    """One click on a stored image."""

    async def ask(client: httpx.AsyncClient, turn: int) -> httpx.Response:
        prompt: dict[str, Any] = {"points": [[20 + 37 * turn % 440, 40 + 53 * turn % 300]], "labels": [1]}
        return await client.post("/v1/promptable", json={"image_id": ids[turn % len(ids)], "prompts": [prompt]})

    return ask


async def timed(client: httpx.AsyncClient, ask: Ask, turn: int) -> float:
    """Milliseconds of one request. Raises `HTTPStatusError` for any refusal."""
    begun = time.perf_counter()
    (await ask(client, turn)).raise_for_status()
    return (time.perf_counter() - begun) * 1000


def p50_p95(milliseconds: Sequence[float]) -> tuple[float, float]:
    """Between the two nearest values, never beyond the slowest, however few there are."""
    median, late = np.percentile(milliseconds, (50, 95))
    return float(median), float(late)


async def figures(client: httpx.AsyncClient, name: str, ask: Ask, requests: int, callers: int) -> Figures:
    """Measure one kind of request: one by one, then from several callers at once."""
    for turn in range(3):
        await timed(client, ask, turn)
    alone = [await timed(client, ask, turn) for turn in range(requests)]
    turns = iter(range(requests * 2))

    async def caller() -> None:
        for turn in turns:
            await timed(client, ask, turn)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    rate = requests * 2 / (time.perf_counter() - begun)
    return Figures(name, *p50_p95(alone), rate)


async def measure(url: str, requests: int, callers: int) -> tuple[list[Figures], list[float]]:
    """All figures, and the milliseconds of first prompts on new images."""
    photos = [drawn(seed) for seed in range(8)]
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        tasks = track(("semantic", "instance", "panoptic"), "dense tasks", transient=True)
        found = [await figures(client, task, dense(task, photos), requests, callers) for task in tasks]
        first, ids = [], []
        for seed in range(500, 500 + max(8, requests // 4)):
            files, data = {"image": drawn(seed)}, {"prompts": json.dumps([{"points": [[240, 250]], "labels": [1]}])}
            begun = time.perf_counter()
            answer = (await client.post("/v1/promptable", files=files, data=data)).raise_for_status()
            first.append((time.perf_counter() - begun) * 1000)
            ids.append(answer.json()["image_id"])
        found.append(await figures(client, "click, cached", click(ids), requests, callers))
    return found, first


def main() -> None:
    """`python -m load_tests.measure [--url URL]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=settings().url)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--callers", type=int, default=8)
    chosen = parser.parse_args()
    found, first = asyncio.run(measure(chosen.url, chosen.requests, chosen.callers))
    table = Table("request", "p50 ms", "p95 ms", f"requests/s at {chosen.callers} callers")
    for each in found:
        table.add_row(each.name, f"{each.p50_ms:.1f}", f"{each.p95_ms:.1f}", f"{each.per_second:.1f}")
    table.add_row("first prompt on an image", *(f"{each:.1f}" for each in p50_p95(first)), "")
    Console().print(table)


if __name__ == "__main__":
    main()
