"""What the sink over Ray tells, and when: nothing at once, counts as sums, every observation by itself."""

from __future__ import annotations

from typing import Any

import pytest

from shared.serving.sink import RaySink


class Told:
    """Stands for each of Ray's metrics."""

    log: list[tuple[str, float, dict[str, str]]]

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.log.append((self.name, value, tags))

    observe = set = inc


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str]]]:
    """What Ray was told, with the thread asleep: a test tells by itself."""
    log: list[tuple[str, float, dict[str, str]]] = []
    monkeypatch.setattr(Told, "log", log, raising=False)
    monkeypatch.setattr(RaySink, "_start", lambda _self: None)
    for kind in ("Counter", "Histogram", "Gauge"):
        monkeypatch.setattr(f"shared.serving.sink.metrics.{kind}", Told)
    return log


def test_counts_of_one_series_are_told_as_their_sum(told: list[tuple[str, float, dict[str, str]]]) -> None:
    sink = RaySink()
    for amount in (1, 0, 2.5):
        sink.count("segserve_rejections_total", amount, reason="unauthorized")
    sink.count("segserve_rejections_total", reason="malformed")
    assert told == []
    sink.tell()
    sink.tell()
    assert told == [
        ("segserve_rejections", 3.5, {"reason": "unauthorized"}),
        ("segserve_rejections", 1.0, {"reason": "malformed"}),
    ]


def test_every_observation_is_told(told: list[tuple[str, float, dict[str, str]]]) -> None:
    sink = RaySink()
    for size in range(200):
        sink.observe("segserve_batch_size", size, model="street", role="decoder")
    sink.tell()
    labels = {"model": "street", "role": "decoder"}
    assert told == [("segserve_batch_size", float(size), labels) for size in range(200)]


def test_a_new_gauge_is_told_at_once_and_its_changes_later(told: list[tuple[str, float, dict[str, str]]]) -> None:
    sink = RaySink()
    for value in (3, 4, 5):
        sink.gauge("segserve_in_flight_requests", value)
    assert told == [("segserve_in_flight_requests", 3.0, {})]
    sink.set_again()
    assert told[1:] == [("segserve_in_flight_requests", 5.0, {})]
