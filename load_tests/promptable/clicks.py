"""Clicks on cached images over HTTP against the bare decoder, in turns in one run: latency at one caller, throughput at
eight."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass

import httpx
import uvloop

from load_tests.client import Target, connected, load, posts
from load_tests.promptable.bare import Bare, drawn, item, place, read_only, wire

CALLERS = 8
BATCHES = (1, 2, 4, 8)
IMAGES = 4
UNCOUNTED = 10
"""First clicks of a run, and those that are only asked for their stages."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Medians in milliseconds: of the bare forward pass, of a click over HTTP, of the difference within each turn; and
    of the stages that the server tells of."""

    bare_ms: float
    http_ms: float
    added_ms: float
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Clicks a second: of the bare decoder at its best batch size, and over HTTP; `ratio` is the median over turns.
    `kept`: of the bare decoder on embeddings whose half of the work it keeps, as a replica does. `beside`: the same,
    called by several threads at once. No ratio is taken of either."""

    bare: float
    best_batch: int
    http: float
    ratio: float
    kept: float
    beside: float


def stored(client: httpx.Client, images: int) -> list[str]:
    """The ids of so many uploaded and embedded images."""
    files = [("image", (str(seed), drawn(seed)[1], "image/png")) for seed in range(images)]
    answer = client.post("/v1/images", files=files, data={"embed": "street"}).raise_for_status().json()
    return [entry["image_id"] for entry in answer["images"]]


def latency(client: httpx.Client, bare: Bare, turns: int) -> Latency:
    """One click here and one there, `turns` times, by a caller that costs a tenth of a millisecond; then as many as
    show the stages."""
    ids = stored(client, IMAGES)
    embeddings = [bare.embed(drawn(seed)[0]) for seed in range(IMAGES)]
    target = _clicks(client, ids, turns + UNCOUNTED)

    async def taken() -> list[tuple[float, float]]:
        connection, pairs = await connected(target), []
        for turn, request in enumerate(target.requests):
            alone = bare.click_ms(item(embeddings[turn % IMAGES], *place(turn)))
            begun = time.perf_counter()
            answer = await connection.ask(request)
            pairs.append((alone, (time.perf_counter() - begun) * 1000))
            if answer.status != httpx.codes.OK:
                raise RuntimeError(f"a click was answered with {answer.status}: {answer.body[:200]!r}")
        connection.close()
        return pairs[UNCOUNTED:]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pairs = runner.run(taken())
    bare_ms, http_ms = (statistics.median(values) for values in zip(*pairs, strict=True))
    added_ms = statistics.median(there - here for here, there in pairs)
    return Latency(bare_ms, http_ms, added_ms, _stages(client, ids))


def throughput(client: httpx.Client, bare: Bare, turns: int, seconds: float) -> Throughput:
    """Windows of the bare decoder and windows of eight callers, in turns."""
    target = _clicks(client, stored(client, IMAGES), 64)
    embeddings = [bare.embed(drawn(seed)[0]) for seed in range(IMAGES)]
    cached = [read_only(embedding) for embedding in embeddings]
    items, kept = ([item(of[turn % IMAGES], *place(turn)) for turn in range(64)] for of in (embeddings, cached))
    best = max(BATCHES, key=lambda batch: bare.clicks_a_second(items, batch, seconds / 2))
    here, there = [], []
    for _ in range(turns):
        here.append(bare.clicks_a_second(items, best, seconds))
        window = load(target, CALLERS, seconds)
        if window.errors:
            raise RuntimeError(f"clicks failed: {dict(window.errors)}")
        there.append(window.per_second)
    ratio = statistics.median(served / alone for alone, served in zip(here, there, strict=True))
    both = bare.clicks_a_second(kept, best, seconds), bare.beside_a_second(kept, seconds)
    return Throughput(statistics.median(here), best, statistics.median(there), ratio, *both)


def _clicks(client: httpx.Client, ids: list[str], count: int) -> Target:
    """So many clicks on the images in turn, as requests with the client's address and key."""
    bodies = [
        json.dumps({"image_id": ids[turn % len(ids)], "prompts": [wire(*place(turn))]}).encode()
        for turn in range(count)
    ]
    headers = {"Content-Type": "application/json", "X-API-Key": client.headers["X-API-Key"]}
    return posts(str(client.base_url.join("/v1/promptable")), bodies, headers)


def _stages(client: httpx.Client, ids: list[str]) -> dict[str, float]:
    """Medians of what `Server-Timing` says of clicks one after another."""
    stages: dict[str, list[float]] = {}
    for turn in range(UNCOUNTED):
        body = {"image_id": ids[turn % len(ids)], "prompts": [wire(*place(turn))]}
        answer = client.post("/v1/promptable", json=body).raise_for_status()
        for stage in answer.headers["server-timing"].split(", "):
            name, _, duration = stage.partition(";dur=")
            stages.setdefault(name, []).append(float(duration))
    return {name: statistics.median(values) for name, values in stages.items()}
