"""The fused layout on a real Ray: one replica has the whole interface over its model, behind a key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.trivial.platform import (
    HERE,
    PNG,
    at_once,
    environment,
    eventually,
    grey,
    replicas,
)
from tests.platform import Platform, running

pytestmark = pytest.mark.integration

KEY = "fused-key"
KEYS = json.dumps({hashlib.sha256(KEY.encode()).hexdigest(): "tenant"})
MINE = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """One application, whose replica asks for a key."""
    with running(
        "--config", str(HERE / "fused.yaml"), **environment(), SEGSERVE_API_KEYS=KEYS, SEGSERVE_TRANSPORT="haproxy"
    ) as started:
        yield started


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, headers=MINE, timeout=120) as found:
        yield found


def test_one_replica_answers_every_task_with_a_key(platform: Platform, client: httpx.Client) -> None:
    assert len(replicas(platform, "whole", "Fused")) == 1
    dense = client.post("/v1/semantic", content=grey(200), headers=PNG)
    assert [segment["label_id"] for segment in dense.json()["segments"]] == [1]
    image = client.post("/v1/images", files={"image": grey(51)}, data={"embed": '["whole"]'}).json()
    body = {"image_id": image["image_id"], "prompts": [{"points": [[1, 1]], "labels": [1]}]}
    click = client.post("/v1/promptable", json=body).json()
    assert click["embedding"] == "memory"
    assert click["results"][0]["masks"][0]["predicted_iou"] == pytest.approx(51 / 255, abs=1e-3)


def test_keys_limits_and_errors_are_the_gateways(platform: Platform, client: httpx.Client) -> None:
    assert {answer.status_code for answer in at_once(platform, 4)} == {401}
    assert client.post("/v1/semantic", content=b"no image", headers=PNG).json()["code"] == "unsupported_format"
    assert client.post("/v1/panoptic", content=grey(1), headers=PNG).json()["code"] == "model_not_found"
    failed = client.post("/v1/semantic", content=grey(13), headers=PNG)
    assert (failed.status_code, failed.json()["code"]) == (500, "internal")
    assert client.post("/v1/semantic", content=grey(200), headers=PNG).status_code == 200


def test_it_is_ready_lists_its_model_and_shows_its_metrics(platform: Platform, client: httpx.Client) -> None:
    assert httpx.get(platform.url + "/readyz", timeout=60).json()["ready"] is True
    assert {model["name"] for model in client.get("/v1/models").json()["models"]} == {"whole"}
    client.post("/v1/semantic", content=grey(200), headers=PNG)

    def counted() -> bool:
        page = client.get("/metrics").text
        return "ray_segserve_requests_total{" in page and 'model="whole"' in page

    assert eventually(counted)
