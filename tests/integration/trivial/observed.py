"""What a test sees of the platform with trivial models from outside: its replicas' process ids, its metrics,
and where embeddings come from."""

from __future__ import annotations

import httpx
import numpy as np

from tests.e2e.scrape import OFTEN_S, at_rest, samples, total
from tests.integration.trivial.platform import grey, replicas
from tests.platform import Platform

BRIGHT = {"model": "bright", "role": "semantic"}
ONE_DECODER_EACH = ["computed", "memory", "memory", "memory"] * 4
"""`tiers_of_clicks` where each image's clicks go to one decoder."""


def pids(platform: Platform, name: str = "bright", deployment: str = "Semantic") -> set[int]:
    return {process.pid for process in replicas(platform, name, deployment)}


def metric(platform: Platform, name: str, **labels: str) -> float:
    """A metric's sum over all series that have these labels, as the page shows it now: it lags behind by seconds."""
    with httpx.Client(base_url=platform.url, timeout=120) as client:
        return total(samples(client), name, **labels)


def new_side() -> int:
    """A side for images that nobody has sent before, not even a first try of the same test."""
    return int(np.random.default_rng().integers(100, 2000))


def passes(platform: Platform) -> tuple[float, float]:
    """Forward passes of `bright` and their items so far, once all are on the page."""
    with httpx.Client(base_url=platform.url, timeout=120) as client:
        page = at_rest(client, OFTEN_S)
    return total(page, "segserve_batch_size_count", **BRIGHT), total(page, "segserve_batch_items_total", **BRIGHT)


def tiers_of_clicks(platform: Platform) -> list[str]:
    """Where the embeddings came from for four clicks on each of four new images."""
    tiers, side = [], new_side()
    for level in (30, 90, 150, 210):
        for _ in range(4):
            answer = httpx.post(
                platform.url + "/v1/promptable",
                files={"image": grey(level, side)},
                data={"prompts": '[{"points": [[1, 1]], "labels": [1]}]'},
                timeout=120,
            )
            assert answer.status_code == 200, answer.text
            tiers.append(answer.json()["embedding"])
    return tiers
