"""Jobs sent to a gateway in this process, and waited for; services that wait for their cue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from shared.calls import DenseCall
from shared.schemas.resources import JobAnswer
from tests.bad_input import JOBS, PNG
from tests.unit.gateway.running import Running

RAW = {"Content-Type": "image/png"}


async def sent(gateway: Running, **more: Any) -> httpx.Response:
    """A job of a good picture, semantic unless told otherwise."""
    options = {"params": {"task": "semantic"}, "content": PNG, "headers": RAW, **more}
    return await gateway.client.post(JOBS, **options)


async def finished(gateway: Running, answer: httpx.Response) -> JobAnswer:
    """The job of a 202, once it is finished."""
    assert answer.status_code == 202, answer.text
    said = await gateway.client.get(answer.headers["location"], params={"wait": 30})
    job = JobAnswer.model_validate_json(said.content)
    assert job.finished_at is not None
    return job


def without(answer: httpx.Response) -> Any:
    """The answer but for the id of its request, and for where an embedding was found."""
    return {name: value for name, value in answer.json().items() if name not in ("request_id", "embedding")}


def held() -> tuple[asyncio.Event, Callable[[DenseCall], Awaitable[None]]]:
    """An event, and what makes a service wait for it."""
    go = asyncio.Event()

    async def wait(_: DenseCall) -> None:
        await go.wait()

    return go, wait


async def state_is(gateway: Running, path: str, state: str) -> None:
    """Returns once the job is in this state."""
    while (await gateway.client.get(path, params={"wait": 0.01})).json()["state"] != state:
        pass
