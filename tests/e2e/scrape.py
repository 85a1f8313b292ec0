"""`GET /metrics` of a running platform, read as numbers. Each process reports in turn: readers wait until all have."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.gateway.metrics_page import CACHED_S
from shared.settings import Settings

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""Every sample of a page by name and labels."""

EVERY_S: int = Settings.model_fields["metrics_every_s"].default
OFTEN_S = 2
"""How often the processes of a platform report whose tests read counters alone: its gauges come and go."""
AT_REST_WITHIN_S = 240.0
OURS = "ray_segserve_"


def samples(http: httpx.Client) -> Samples:
    """The page as it is now."""
    page = http.get("/metrics")
    assert page.status_code == 200, page.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def counters(http: httpx.Client) -> Samples:
    """Of the page as it is now, what SegServe counts: what only grows."""
    grows = ("_total", "_count", "_sum", "_bucket")
    return {key: value for key, value in samples(http).items() if key[0].startswith(OURS) and key[0].endswith(grows)}


def at_rest(http: httpx.Client, every_s: int = EVERY_S) -> Samples:
    """The page once it has everything that was counted; of processes that report more often than by default the
    counters alone. Raises `TimeoutError` when it keeps moving.

    What has not moved for two turns and the time that the page is kept moves no more: every process has had its turn,
    be it late, since the last request, and the page was collected anew after that.
    """
    read = samples if every_s == EVERY_S else counters
    page = read(http)
    begun = since = time.monotonic()
    while time.monotonic() - since < 2 * every_s + CACHED_S:
        if time.monotonic() - begun > AT_REST_WITHIN_S:
            raise TimeoutError(f"the page still moves after {AT_REST_WITHIN_S:.0f} s: {moved(page, read(http))}")
        time.sleep(1)
        now = read(http)
        if now != page:
            page, since = now, time.monotonic()
    return page


def moved(before: Samples, after: Samples) -> dict[str, list[tuple[float | None, float | None]]]:
    """By name, what two pages say differently: (before, after), None where a page has no such sample."""
    found: dict[str, list[tuple[float | None, float | None]]] = {}
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            found.setdefault(key[0], []).append((before.get(key), after.get(key)))
    return found


def total(page: Samples, name: str, **labels: str) -> float:
    """Sum over all series of `ray_<name>` that have these labels."""
    wanted = set(labels.items())
    return sum(value for (sample, has), value in page.items() if sample == f"ray_{name}" and wanted <= has)
