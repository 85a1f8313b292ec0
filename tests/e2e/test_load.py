"""Many callers at once: no error, answers equal to those sent one by one, and prompts that skip the encoder."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from load_tests.client import posts
from load_tests.measure import figures, main
from shared.imaging.sample import street_scene
from tests.data import encoded
from tests.e2e.scrape import at_rest, total

pytestmark = pytest.mark.e2e
TASKS = ("semantic", "instance", "panoptic")


def answers_without_ids(body: dict[str, Any]) -> dict[str, Any]:
    """An answer less what differs between two requests."""
    return {key: value for key, value in body.items() if key not in ("request_id", "embedding")}


async def test_64_concurrent_requests_answer_as_one_by_one(server_url: str) -> None:
    photos = [encoded(street_scene(480, 360, seed)[0]) for seed in range(8)]
    jobs = [(TASKS[index % 3], photos[index % 8]) for index in range(64)]
    async with httpx.AsyncClient(base_url=server_url, timeout=120, limits=httpx.Limits(max_connections=64)) as client:

        async def ask(task: str, photo: bytes) -> httpx.Response:
            return await client.post(f"/v1/{task}", content=photo, headers={"Content-Type": "image/png"})

        together = await asyncio.gather(*(ask(*job) for job in jobs))
        assert {answer.status_code for answer in together} == {200}
        alone = {job: await ask(*job) for job in dict.fromkeys(jobs)}
    for job, answer in zip(jobs, together, strict=True):
        assert answers_without_ids(answer.json()) == answers_without_ids(alone[job].json())


def test_a_prompt_on_an_embedded_image_skips_the_encoder(
    http: httpx.Client, record_property: Callable[[str, object], None]
) -> None:
    before = at_rest(http)
    first: list[float] = []
    again: list[float] = []
    for seed in range(100, 112):
        photo = encoded(street_scene(1280, 960, seed)[0])
        begun = time.perf_counter()
        answer = prompt(http, {"files": {"image": photo}})
        first.append(time.perf_counter() - begun)
        assert answer["embedding"] == "computed"
        for x in (100, 300, 700):
            begun = time.perf_counter()
            hit = prompt(http, {"image_id": answer["image_id"], "x": x})
            again.append(time.perf_counter() - begun)
            assert hit["embedding"] in ("memory", "redis")
    runs = total(at_rest(http), "segserve_encoder_runs_total") - total(before, "segserve_encoder_runs_total")
    assert runs == len(first)
    record_property("first_ms", statistics.median(first) * 1e3)
    record_property("cached_ms", statistics.median(again) * 1e3)


def test_measure_tells_each_kind_of_request(
    server_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["measure", "--url", f"{server_url}/", "--seconds", "0.2", "--callers", "2"])
    main()
    told = capsys.readouterr().out
    for kind in (*TASKS, "click, cached", "first prompt on an image"):
        assert re.search(rf"{kind} +│ +\d+\.\d", told), told


def test_measure_takes_no_refusal_for_a_fast_answer(server_url: str) -> None:
    with pytest.raises(RuntimeError, match=r"semantic: \d+ x 415"):
        figures("semantic", posts(f"{server_url}/v1/semantic", [b"no picture"], {}), 0.1, 2)


def prompt(http: httpx.Client, how: dict[str, Any]) -> dict[str, Any]:
    """One click by upload or by image id."""
    prompts = [{"points": [[how.get("x", 50), 200]], "labels": [1]}]
    if "files" in how:
        answer = http.post("/v1/promptable", files=how["files"], data={"prompts": json.dumps(prompts)})
    else:
        answer = http.post("/v1/promptable", json={"image_id": how["image_id"], "prompts": prompts})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
