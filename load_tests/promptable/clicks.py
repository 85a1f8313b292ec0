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
from load_tests.promptable.bare import SERVED, Bare, drawn, item, place, read_only, wire

CALLERS = 8
BATCHES = (1, 2, 4, 8)
IMAGES = 4
UNCOUNTED = 10
"""First clicks of a run, and those that are only asked for their stages."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Medians in milliseconds: of the bare forward pass of each decoder, of a click over HTTP, of the difference to the
    faster decoder within each turn; and of the stages that the server tells of."""

    bare: dict[str, float]
    http_ms: float
    added_ms: float
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Clicks a second: of each bare decoder at its best batch size, computing all of each click, and over HTTP; `ratio`
    is the median over turns, to the `fastest` of them.

    No ratio is taken of the rest. `kept`: of the served decoder with the embeddings' half of the work kept, as in a
    replica; `beside` and `kept_beside`: of several threads at once, all of each click computed or that half kept."""

    bare: dict[str, float]
    batches: dict[str, int]
    http: float
    ratio: float
    beside: float
    kept: float
    kept_beside: float

    @property
    def fastest(self) -> str:
        """The decoder that is judged by."""
        return max(self.bare, key=self.bare.__getitem__)


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

    async def taken() -> list[tuple[dict[str, float], float]]:
        connection, pairs = await connected(target), []
        for turn, request in enumerate(target.requests):
            alone = {name: bare.click_ms(name, item(embeddings[turn % IMAGES], *place(turn))) for name in bare.decoders}
            begun = time.perf_counter()
            answer = await connection.ask(request)
            pairs.append((alone, (time.perf_counter() - begun) * 1000))
            if answer.status != httpx.codes.OK:
                raise RuntimeError(f"a click was answered with {answer.status}: {answer.body[:200]!r}")
        connection.close()
        return pairs[UNCOUNTED:]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pairs = runner.run(taken())
    medians = {name: statistics.median(alone[name] for alone, _ in pairs) for name in bare.decoders}
    http_ms = statistics.median(there for _, there in pairs)
    added_ms = statistics.median(there - min(alone.values()) for alone, there in pairs)
    return Latency(medians, http_ms, added_ms, _stages(client, ids))


def throughput(client: httpx.Client, bare: Bare, turns: int, seconds: float) -> Throughput:
    """Windows of each bare decoder and windows of eight callers, in turns."""
    target = _clicks(client, stored(client, IMAGES), 64)
    embeddings = [bare.embed(drawn(seed)[0]) for seed in range(IMAGES)]
    cached = [read_only(embedding) for embedding in embeddings]
    items, kept = ([item(of[turn % IMAGES], *place(turn)) for turn in range(64)] for of in (embeddings, cached))
    best = {
        name: max(BATCHES, key=lambda batch: bare.clicks_a_second(name, items, batch, seconds / 4))
        for name in bare.decoders
    }
    here: dict[str, list[float]] = {name: [] for name in best}
    there = []
    for _ in range(turns):
        for name, batch in best.items():
            here[name].append(bare.clicks_a_second(name, items, batch, seconds))
        window = load(target, CALLERS, seconds)
        if window.errors:
            raise RuntimeError(f"clicks failed: {dict(window.errors)}")
        there.append(window.per_second)
    medians = {name: statistics.median(values) for name, values in here.items()}
    fastest = max(medians, key=medians.__getitem__)
    ratio = statistics.median(served / alone for alone, served in zip(here[fastest], there, strict=True))
    beside = bare.beside_a_second(fastest, items, seconds)
    of_kept = bare.clicks_a_second(SERVED, kept, best[SERVED], seconds), bare.beside_a_second(SERVED, kept, seconds)
    return Throughput(medians, best, statistics.median(there), ratio, beside, *of_kept)


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
