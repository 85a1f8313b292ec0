"""Failures of our own: what is told, what is logged, what is counted."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import httpx
import pytest

from shared.calls import DenseCall
from shared.errors import ModelUnavailable, Overloaded
from shared.schemas.resources import ErrorAnswer
from shared.settings import Settings
from shared.telemetry.logs import JsonFormatter
from tests.bad_input import PNG, SEMANTIC
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Brightness, info

SECRET = "/srv/secret/weights.bin"


def failing(error: Exception) -> Brightness:
    """A service whose calls fail."""

    async def fail(call: DenseCall) -> None:
        raise error

    return Brightness(info("threshold", "semantic"), fail)


async def post(gateway: Running, **headers: str) -> httpx.Response:
    """A good request."""
    return await gateway.client.post(SEMANTIC, content=PNG, headers={"Content-Type": "image/png", **headers})


async def test_an_unknown_error_is_internal_and_its_cause_is_in_the_log_only() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    try:
        async with running(failing(RuntimeError(SECRET))) as gateway:
            response = await post(gateway, **{"X-Request-ID": "trace-me.1"})
    finally:
        logging.getLogger().removeHandler(handler)
    assert response.status_code == 500
    told = ErrorAnswer.model_validate_json(response.content)
    assert (told.code, told.request_id, told.details) == ("internal", "trace-me.1", [])
    assert SECRET not in response.text
    line = json.loads(stream.getvalue())
    assert (line["request_id"], line["message"]) == ("trace-me.1", f"POST {SEMANTIC} failed")
    assert SECRET in line["error"]
    assert gateway.sink.total("segserve_requests_total", route=SEMANTIC, status="500") == 1
    assert gateway.sink.total("segserve_rejections_total") == 0


@pytest.mark.parametrize(
    ("error", "seconds"), [(ModelUnavailable(), "1"), (Overloaded(retry_after_s=2.2), "3")], ids=["unsaid", "said"]
)
async def test_refusals_for_now_say_when_to_come_back(error: Exception, seconds: str) -> None:
    async with running(failing(error)) as gateway:
        response = await post(gateway)
    assert response.status_code == 503
    assert response.headers["retry-after"] == seconds
    assert response.headers["cache-control"] == "no-store"


async def test_a_wrong_method_says_which_are_right(gateway: Running) -> None:
    response = await gateway.client.get(SEMANTIC)
    assert response.headers["allow"] == "POST"
    response = await gateway.client.patch("/v1/images/sha256:" + "0" * 64)
    assert response.headers["allow"] == "DELETE, GET, HEAD"


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = ("/v1/images", "/v1/models", "/v1/models/x", "/v1/labels", "/v1/labels/x", "/healthz", "/readyz", "/metrics")


@pytest.mark.parametrize("path", [*PATHS, "/v1/images/x", "/v1/promptable/everything", "/docs", "/openapi.json"])
async def test_what_is_allowed_is_what_is_not_refused(gateway: Running, path: str) -> None:
    answers = {method: await gateway.client.request(method, path) for method in METHODS}
    taken = {method for method, answer in answers.items() if answer.status_code != 405}
    assert taken
    for answer in answers.values():
        assert answer.status_code != 405 or set(answer.headers["allow"].split(", ")) == taken


async def test_a_request_past_its_deadline_is_told_and_its_work_cancelled() -> None:
    cancelled = asyncio.Event()

    async def hang(call: DenseCall) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    async with running(
        Brightness(info("threshold", "semantic"), hang), settings=Settings(request_timeout_s=2)
    ) as gateway:
        response = await post(gateway)
        assert response.status_code == 504
        assert response.json()["code"] == "deadline_exceeded"
        assert cancelled.is_set()
        assert gateway.sink.values("segserve_in_flight_requests")[-1] == 0
        assert gateway.sink.total("segserve_client_gone_total") == 0


async def test_headers_of_an_answer(gateway: Running) -> None:
    response = await post(gateway)
    assert response.headers["cache-control"] == "no-store"
    stages = [part.split(";")[0] for part in response.headers["server-timing"].split(", ")]
    assert stages == ["decode", "predict", "receive", "service"]
    assert gateway.sink.values("segserve_stage_seconds", stage="receive", task="semantic")


def test_an_error_prints_as_its_message() -> None:
    assert str(Overloaded.of("model", "street", 8, "too many wait")) == "model: too many wait"
