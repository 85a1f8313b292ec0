"""Rounds go on without whoever cannot start or falls over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from load_tests.client import Window
from load_tests.contestants import Absent, Start
from load_tests.peers.plan import Plan
from load_tests.processes import NotReady, Server
from load_tests.rounds import Entry, Load, Scenario, play

PLAN = Plan("null", "torch")


class Steady:
    """A contestant without processes that answers until its windows are used up."""

    first = b""
    cold_start_s = 0.5
    servers: Sequence[Server] = ()

    def __init__(self, windows: int = 100) -> None:
        self._left = windows

    def window(self, images: Sequence[bytes], callers: int, seconds: float, least: int = 2) -> Window:
        self._left -= 1
        if self._left < 0:
            raise NotReady("it fell over")
        return Window(callers, 1.0, (10.0, 20.0))


def starting(windows: int) -> Start:
    return lambda plan, folder, image: Steady(windows)


def failing(error: Exception) -> Start:
    def start(plan: Plan, folder: Path, image: bytes) -> Steady:
        raise error

    return start


@pytest.mark.parametrize("error", [Absent("no wheel"), OSError("no wheel")])
def test_one_that_does_not_start_and_one_that_falls_over_are_missing_and_the_rest_is_measured(
    error: Exception, tmp_path: Path
) -> None:
    starts = {"good": starting(100), "absent": failing(error), "falls": starting(3)}
    entries = tuple(Entry(name, PLAN, (1,), start=start) for name, start in starts.items())
    told: list[str] = []
    results = play(Scenario("null", "", entries, (Load("a", (b"",), 1.0),), 2), tmp_path, told.append)
    assert [(each.server, each.round) for each in results.records] == [("good", 0), ("falls", 0), ("good", 1)]
    assert [each.server for each in results.standings] == ["good"]
    reasons = {each.name.partition(",")[0]: each.reason for each in results.missing}
    assert set(reasons) == {"absent", "falls"}
    assert "no wheel" in reasons["absent"]
    assert "it fell over" in reasons["falls"]
    assert sum("takes no part" in line for line in told) == 2
