"""Jobs through the whole platform: the same answers as asked directly, told of on the metrics page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.client import Client, Everything, Instances, Panoptic, Prompted, Semantic
from shared.imaging.sample import street_scene
from tests.data import encoded
from tests.e2e.scrape import at_rest, total

pytestmark = pytest.mark.e2e
STREET = encoded(street_scene(480, 360, 6)[0])
CLICK = [{"points": [[240, 300]], "labels": [1]}]


@pytest.fixture
def client(server_url: str) -> Iterator[Client]:
    with Client(server_url, timeout_s=120) as found:
        yield found


def masks(answer: Any) -> list[object]:
    """Every mask of an answer, as it was sent."""
    if isinstance(answer, Prompted):
        return [mask.rle for result in answer.results for mask in result]
    if isinstance(answer, Everything):
        return [mask.rle for mask in answer.masks]
    return [item.rle for item in (answer.instances if isinstance(answer, Instances) else answer.segments)]


def test_every_task_as_a_job_gives_its_own_answer(client: Client) -> None:
    grid: dict[str, Any] = {"points_per_side": 4, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.7}
    jobs = [
        client.jobs.submit("semantic", STREET),
        client.jobs.submit("instance", STREET),
        client.jobs.submit("panoptic", STREET),
        client.jobs.submit("promptable", STREET, prompts=CLICK),
        client.jobs.submit("everything", STREET, **grid),
    ]
    found = [client.jobs.result(client.jobs.wait(job)) for job in jobs]
    assert [type(each) for each in found] == [Semantic, Instances, Panoptic, Prompted, Everything]
    asked = [
        client.semantic(STREET),
        client.instance(STREET),
        client.panoptic(STREET),
        client.promptable(STREET, CLICK),
        client.everything(STREET, **grid),
    ]
    for of_job, alone in zip(found, asked, strict=True):
        assert masks(of_job) == masks(alone)
        assert masks(alone)
    assert {job.id for job in jobs} <= {job.id for job in client.jobs.list("done")}
    for job in jobs:
        client.jobs.cancel(job)
    assert not {job.id for job in jobs} & {job.id for job in client.jobs.list()}


def test_many_jobs_are_all_done_and_requests_go_on_beside_them(client: Client, http: httpx.Client) -> None:
    before = at_rest(http)
    jobs = [client.jobs.submit("semantic", encoded(street_scene(480, 360, seed)[0])) for seed in range(20)]
    begun = time.perf_counter()
    assert masks(client.semantic(STREET))
    assert time.perf_counter() - begun < 30
    assert {client.jobs.wait(job).state for job in jobs} == {"done"}
    after = at_rest(http)
    for state in ("queued", "running", "done"):
        moved = [total(page, "segserve_jobs_total", task="semantic", state=state) for page in (before, after)]
        assert moved[1] - moved[0] == 20, state
    assert total(after, "segserve_jobs_waiting") == 0
    waits = [total(page, "segserve_job_wait_seconds_count", task="semantic") for page in (before, after)]
    assert waits[1] - waits[0] == 20


def test_a_job_that_is_cancelled_is_never_done(client: Client) -> None:
    slow = [client.jobs.submit("everything", STREET, points_per_side=64) for _ in range(3)]
    client.jobs.cancel(slow[2])
    client.jobs.cancel(slow[1])
    client.jobs.cancel(slow[0])
    time.sleep(3)
    assert {client.jobs.status(job).state for job in slow} == {"cancelled"}
    assert client.jobs.wait(client.jobs.submit("semantic", STREET), 60).state == "done"
