"""Every kind of bad input over ASGI: the right status, the named field, nothing leaked, and the gateway well after."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.bad_input import CASES, PNG, SEMANTIC, BadInput, check_answer
from tests.unit.gateway.running import Running

MIB = 2**20


async def send(client: httpx.AsyncClient, case: BadInput) -> httpx.Response:
    """One request over ASGI."""

    async def pieces(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), MIB):
            yield content[start : start + MIB]

    content = pieces(case.content) if case.chunked and case.content else case.content
    kind = {"Content-Type": case.content_type} if case.content_type else {}
    return await client.request(
        case.method,
        case.path,
        content=content,
        files=case.files,
        params=httpx.QueryParams(tuple(case.query)),
        headers={**kind, **case.headers},
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_is_told_what_is_wrong(case: BadInput, gateway: Running) -> None:
    response = await send(gateway.client, case)
    check_answer(case, response.status_code, response.content)
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert gateway.sink.total("segserve_rejections_total", reason=case.code) == 1

    well = await gateway.client.post(SEMANTIC, content=PNG, headers={"Content-Type": "image/png"})
    assert well.status_code == 200
    assert gateway.sink.values("segserve_in_flight_requests")[-1] == 0


def test_there_are_enough_kinds() -> None:
    assert len(CASES) >= 30
    assert len({case.name for case in CASES}) == len(CASES)
