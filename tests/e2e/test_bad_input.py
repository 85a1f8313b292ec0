"""The same bad input as over ASGI, through the whole platform: the right answers, and the service well after them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.bad_input import CASES, PNG, SEMANTIC, BadInput, check_answer

pytestmark = pytest.mark.e2e

PIECE = 64 * 1024


def send(client: httpx.Client, case: BadInput) -> httpx.Response:
    """One request over HTTP."""

    def pieces(content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]

    return client.request(
        case.method,
        case.path,
        content=pieces(case.content) if case.chunked and case.content else case.content,
        files=case.files,
        params=httpx.QueryParams(tuple(case.query)),
        headers={**({"Content-Type": case.content_type} if case.content_type else {}), **case.headers},
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_told_what_is_wrong(case: BadInput, http: httpx.Client) -> None:
    response = send(http, case)
    check_answer(case, response.status_code, response.content)
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_the_service_is_well_after_all_of_it(http: httpx.Client) -> None:
    for case in CASES:
        send(http, case)
    good = http.post(SEMANTIC, content=PNG, headers={"Content-Type": "image/png"})
    assert good.status_code == 200, good.text
    assert http.get("/readyz").json()["ready"]
