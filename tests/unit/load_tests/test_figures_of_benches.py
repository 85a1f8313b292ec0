"""Figures of the benches without a platform: percentiles, what became of requests, and what is judged by which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from load_tests.measure import p50_p95
from load_tests.promptable import __main__ as bench
from load_tests.promptable.bare import Bare
from load_tests.promptable.clicks import Latency, Throughput
from load_tests.promptable.everything import agreement
from load_tests.promptable.outage import Outage, outcome


def test_a_p95_of_few_is_neither_the_slowest_nor_beyond_it() -> None:
    median, late = p50_p95([*map(float, range(1, 15)), 100.0])
    assert median == 8.0
    assert late == pytest.approx(39.8)
    assert p50_p95([7.0]) == (7.0, 7.0)


def answers(request: httpx.Request) -> httpx.Response:
    """By path: an answer, a refusal, a proxy's own words, or none."""
    if request.url.path == "/lost":
        raise httpx.ReadError("gone")
    if request.url.path == "/words":
        return httpx.Response(502, text="bad gateway")
    return httpx.Response(200) if request.url.path == "/good" else httpx.Response(503, json={"code": "overloaded"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [("good", "200"), ("refused", "503 overloaded"), ("words", "502 without a code"), ("lost", "ReadError")],
)
def test_whatever_comes_of_a_request_is_counted(path: str, expected: str) -> None:
    with httpx.Client(transport=httpx.MockTransport(answers), base_url="http://there") as client:
        found, seconds = outcome(lambda: client.get(f"/{path}"))
    assert found == expected
    assert seconds >= 0
    outage = Outage()
    outage.with_image[found] += 1
    assert outage.passed is (expected == "200")


@pytest.mark.parametrize(("added_ms", "missed"), [(11.0, 0), (13.0, 1)])
def test_one_caller_is_judged_by_the_figure_that_is_told(
    added_ms: float, missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Throughput({"one": 100.0}, {"one": 8}, 100.0, 1.0, 100.0, 100.0, 100.0)
    monkeypatch.setattr(bench, "latency", lambda *_: Latency({"one": 5.0}, 17.0, added_ms, {}))
    monkeypatch.setattr(bench, "throughput", lambda *_: many)
    checks = bench.Checks()
    bench.clicks(checks, "http://there", "gateway", cast(Bare, SimpleNamespace()), quick=True)
    assert checks.missed == missed


def test_everything_mode_that_fails_midway_says_why() -> None:
    told = 'event: progress\ndata: {"done": 1}\n\nevent: error\ndata: {"code": "deadline_exceeded"}\n\n'

    def stream(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=told)

    server = httpx.Client(transport=httpx.MockTransport(stream), base_url="http://there")
    with server as client, pytest.raises(RuntimeError, match="deadline_exceeded"):
        agreement(client, cast(Bare, None), (32, 24), 1)
