"""`GET /metrics` of a running platform, read as numbers. Each process reports in turn: readers wait until all have."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.cluster import METRICS_EVERY_S
from services.gateway.metrics_page import CACHED_S

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""Every sample of a page by name and labels."""

STILL_S = 2 * METRICS_EVERY_S + CACHED_S
"""A page that has not moved for so long moves no more: every process has had its turn, be it late, since the last
request, and the page was collected anew after that."""
AT_REST_WITHIN_S = 240.0


def samples(http: httpx.Client) -> Samples:
    """The page as it is now."""
    page = http.get("/metrics")
    assert page.status_code == 200, page.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def at_rest(http: httpx.Client) -> Samples:
    """The page once it has everything that was counted. Raises `TimeoutError` when it keeps moving."""
    page = samples(http)
    begun = since = time.monotonic()
    while time.monotonic() - since < STILL_S:
        if time.monotonic() - begun > AT_REST_WITHIN_S:
            raise TimeoutError(f"the page still moves after {AT_REST_WITHIN_S:.0f} s: {moved(page, samples(http))}")
        time.sleep(1)
        now = samples(http)
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
