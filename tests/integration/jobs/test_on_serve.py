"""Jobs on a real Ray: the gateway's replica is killed under one, and the next replica does it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.trivial.platform import PNG, eventually, grey, held, replicas
from tests.platform import Platform

pytestmark = pytest.mark.integration


def told(client: httpx.Client, path: str) -> dict[str, Any]:
    """What the gateway says of a job, or of itself while it is being replaced."""
    try:
        found: dict[str, Any] = client.get(path).json()
    except httpx.TransportError:
        return {}
    return found


def test_a_gateway_killed_under_a_job_loses_none(platform: Platform) -> None:
    with httpx.Client(base_url=platform.url, timeout=60) as client:
        with held(platform):
            answers = [
                client.post("/v1/semantic?model=bright", content=grey(200), headers={**PNG, "Prefer": "respond-async"})
                for _ in range(3)
            ]
            assert {answer.status_code for answer in answers} == {202}
            paths = [answer.headers["location"] for answer in answers]
            assert eventually(lambda: told(client, paths[0]).get("state") == "running")
            gateways = replicas(platform, "gateway", "Gateway")
            assert gateways
            for process in gateways:
                process.kill()
            assert eventually(lambda: told(client, paths[1]).get("state") in ("queued", "running"))
        for path in paths:
            assert eventually(lambda path=path: told(client, path).get("state") == "done"), told(client, path)  # type: ignore[misc]
            result = client.get(f"{path}/result")
            assert [segment["label_id"] for segment in result.json()["segments"]] == [1]
