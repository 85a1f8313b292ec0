"""What a test sees of the platform with trivial models from outside: its replicas' process ids and its metrics."""

from __future__ import annotations

import httpx
import numpy as np

from tests.e2e.scrape import at_rest, samples, total
from tests.integration.trivial.platform import replicas
from tests.platform import Platform

BRIGHT = {"model": "bright", "role": "semantic"}


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
        page = at_rest(client)
    return total(page, "segserve_batch_size_count", **BRIGHT), total(page, "segserve_batch_items_total", **BRIGHT)
