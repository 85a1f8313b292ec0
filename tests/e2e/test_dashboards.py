"""A real Prometheus over the running platform under a little load: every panel of the dashboards shows something."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from shared.client import Client
from tests.data import drawn_street
from tests.platform import Platform
from tests.prometheus import prometheus
from tests.unit.grafana.queries import Query, asides, boards, queries

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
WITHIN_S = 150.0
CLICK = [{"points": [[240, 300]], "labels": [1]}]
EMPTY: Mapping[str, str] = {
    **{f"{board}/Alerts": "no alert fires" for board in boards()},
    "cluster/Autoscaling": "no deployment has an autoscaling_config",
    "jobs/Failures": "no job fails",
    "jobs/Refused": "no job is refused",
    "jobs/Takeovers": "no gateway dies",
    "models/Dropped": "every item is answered",
    "models/GPU": "no GPU",
    "models/GPU memory": "no GPU",
    "models/Outside compiled shapes": "no pass is outside the compiled shapes",
    "overview/Callers who left": "nobody leaves",
    "overview/Dropped by models": "every item is answered",
    "overview/Images by URL, p95": "nothing is fetched",
    "promptable/Evictions in processes": "there is room for everything",
    "promptable/Store errors": "the store answers",
}
"""Panels without data on a healthy platform, and why. Whether there is any is not looked at: an earlier test may have
made some."""


def one_round(client: Client, http: httpx.Client, seed: int) -> None:
    """Something of all that the platform does."""
    street = drawn_street(seed=seed)
    for task in ("semantic", "instance", "panoptic"):
        http.post(f"/v1/{task}", content=street, headers={"Content-Type": "image/png"}).raise_for_status()
    image_id = http.post("/v1/images", files={"image": street}).json()["image_id"]
    for _ in range(3):
        client.promptable(image_id, CLICK)
    with client.clicks(image_id) as clicks:
        clicks.ask(CLICK)
    client.everything(image_id, points_per_side=2)
    client.jobs.wait(client.jobs.submit("panoptic", street))
    wrong = {"image_id": image_id, "prompts": [{"points": [[9999, 5]], "labels": [1]}]}
    assert http.post("/v1/promptable", json=wrong).status_code == 422


@contextmanager
def load(url: str) -> Iterator[list[BaseException]]:
    """Rounds, one after another, until the block ends; what went wrong."""
    stop, wrong = threading.Event(), list[BaseException]()

    def go_on() -> None:
        try:
            with Client(url, timeout_s=120) as client, httpx.Client(base_url=url, timeout=120) as http:
                for seed in range(700, 10_000):
                    one_round(client, http, seed)
                    if stop.wait(1):
                        return
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def endpoints(url: str) -> list[str]:
    """The pages of the platform's nodes, as its own page names them."""
    page = httpx.get(f"{url}/metrics", timeout=60).text
    return [f"http://{each}/metrics" for each in re.findall(r'endpoint_up{endpoint="([^"]+)"} 1', page)]


def shows(http: httpx.Client, query: Query) -> bool:
    """Whether the query has a number now. Raises for an error."""
    answer = http.get("/api/v1/query", params={"query": query.expression})
    assert answer.status_code == 200, (query, answer.text)
    return any(math.isfinite(float(each["value"][1])) for each in answer.json()["data"]["result"])


def ready(http: httpx.Client) -> bool:
    """Whether the server answers."""
    try:
        return http.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def without_data(url: str, asked: Iterable[Query], wrong: list[BaseException]) -> list[Query]:
    """Queries that show nothing until the time is over; each is asked until it shows something once."""
    left, until = list(asked), time.monotonic() + WITHIN_S
    with httpx.Client(base_url=url, timeout=30) as http:
        while not ready(http):
            assert time.monotonic() < until
            time.sleep(0.5)
        while left and not wrong and time.monotonic() < until:
            left = [query for query in left if not shows(http, query)]
            time.sleep(2 if left else 0)
        for query in queries():
            shows(http, query)
    return left


def test_every_panel_shows_something(platform: Platform, tmp_path: Path) -> None:
    everything = [*queries(), *asides()]
    assert EMPTY.keys() <= {query.where for query in everything}
    asked = [query for query in everything if query.where not in EMPTY]
    with load(platform.url) as wrong, prometheus(endpoints(platform.url), tmp_path) as url:
        left = without_data(url, asked, wrong)
    assert not wrong
    assert sorted({query.where for query in left}) == []
