"""What operators rely on: a metrics page that counts everything and stands still at rest, batches that it shows, and
readiness in detail."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import httpx
import pytest

from tests.data import drawn_street
from tests.e2e.scrape import Samples, at_rest, moved, samples, total

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
CLICKS, PHOTOS = 64, 5


@dataclass(frozen=True)
class Counted:
    """The pages before and after `PHOTOS` semantic requests and `CLICKS` at once on four stored images."""

    before: Samples
    after: Samples
    statuses: set[int]

    def grown(self, name: str, **labels: str) -> float:
        """By how much a metric grew, over all series that have these labels."""
        return total(self.after, name, **labels) - total(self.before, name, **labels)


@pytest.fixture(scope="module")
def counted(server_url: str) -> Counted:
    """Requests, and what the page makes of them once every process has reported."""
    with httpx.Client(base_url=server_url, timeout=120) as http:
        images = [drawn_street(seed=seed) for seed in range(200, 204)]
        stored = [http.post("/v1/images", files={"image": each}).json()["image_id"] for each in images]
        before = at_rest(http)
        statuses = {
            http.post("/v1/semantic", content=drawn_street(), headers={"Content-Type": "image/png"}).status_code
            for _ in range(PHOTOS)
        }
        statuses |= asyncio.run(clicks(server_url, stored))
        return Counted(before, at_rest(http), statuses)


async def clicks(url: str, stored: list[str]) -> set[int]:
    """The statuses of so many clicks at once."""
    body = [{"image_id": image_id, "prompts": [{"points": [[240, 250]], "labels": [1]}]} for image_id in stored]
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=CLICKS)) as client:
        answers = await asyncio.gather(*(client.post("/v1/promptable", json=body[turn % 4]) for turn in range(CLICKS)))
    return {answer.status_code for answer in answers}


def test_the_page_is_equal_on_repeated_scrapes_at_rest(http: httpx.Client, counted: Counted) -> None:
    for _ in range(3):
        time.sleep(6)
        assert moved(counted.after, samples(http)) == {}


def test_the_page_counts_every_request(counted: Counted) -> None:
    assert counted.statuses == {200}
    assert counted.grown("segserve_requests_total", route="/v1/semantic", status="200") == PHOTOS
    assert counted.grown("segserve_requests_total", route="/v1/promptable", status="200") == CLICKS
    assert counted.grown("segserve_requests_total") == PHOTOS + CLICKS
    assert counted.grown("segserve_batch_items_total", role="semantic") == PHOTOS
    assert counted.grown("segserve_decoder_prompts_total") == CLICKS


def test_concurrent_clicks_share_batches(counted: Counted) -> None:
    """How many share one is the machine's doing here; `integration/test_serve.py` holds the model and counts."""
    assert counted.grown("segserve_batch_items_total", role="decoder") == CLICKS
    assert counted.grown("segserve_batch_size_count", role="decoder") < CLICKS


def test_readiness_lists_every_application(http: httpx.Client) -> None:
    body = http.get("/readyz").json()
    assert body["ready"] is True
    assert set(body["applications"]) == {"street", "promptable"}
    (street,) = http.get("/v1/models").json()["models"]
    assert set(street["tasks"]) == {"semantic", "instance", "panoptic", "promptable"}
