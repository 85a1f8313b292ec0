"""Budgets of the load test: each is kept, and broken by just what it is there to catch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from load_tests.budgets import Budget, Group, Kind, Limits, judge, lines, throughput_ratio

KINDS = [Kind("semantic", 100, 300, 0, 900), Kind("click", 50, 600, 0, 700)]
GROUPS = [Group(8, 0.1, 0.1), Group(4, 0.05, 0.15)]


def broken(kinds: list[Kind], limits: Limits | None = None, seconds: float = 60) -> set[str]:
    return {budget.name for budget in judge(kinds, GROUPS, seconds, limits or Limits()) if not budget.kept}


def test_a_good_run_keeps_all() -> None:
    assert broken(KINDS) == set()


def test_one_failure_breaks_the_error_budget_unless_it_is_allowed() -> None:
    kinds = [replace(KINDS[0], failures=1), KINDS[1]]
    assert broken(kinds) == {"error rate"}
    assert broken(kinds, Limits(error_rate=0.01)) == set()


def test_waiting_for_more_than_two_queues_breaks_p95_of_that_kind() -> None:
    # 12 users, 66.7 ms a request on average: two queues are 1600 ms.
    assert broken([replace(KINDS[0], p95_ms=1701), KINDS[1]]) == {"p95 ms, semantic"}
    assert broken([replace(KINDS[0], p95_ms=1699), KINDS[1]]) == set()
    assert broken(KINDS, Limits(p95_ms=800)) == {"p95 ms, semantic"}


def test_doing_less_at_once_than_one_by_one_breaks_throughput() -> None:
    assert throughput_ratio(KINDS, GROUPS, 60) == pytest.approx(1.0)
    assert broken(KINDS, seconds=90) == {"throughput ratio"}


def test_failures_are_no_throughput() -> None:
    kinds = [replace(kind, failures=kind.requests // 2) for kind in KINDS]
    assert throughput_ratio(kinds, GROUPS, 60) == pytest.approx(0.5)


def test_users_who_pause_are_measured_by_what_they_ask_for() -> None:
    # One user, busy for a tenth of the time, got all that it asked for.
    assert throughput_ratio([Kind("click", 100, 60, 0, 110)], [Group(1, 0.1, 0.9)], 60) == pytest.approx(1.0)


def test_a_load_that_asked_nothing_keeps_nothing() -> None:
    assert judge([], GROUPS, 60, Limits()) == [Budget("requests", 0, 1, False)]
    assert [budget.kept for budget in judge([Kind("click", 0, 0, 0, 0)], GROUPS, 60, Limits())] == [False]


def test_a_broken_budget_stands_out() -> None:
    kept, not_kept = lines([Budget("error rate", 0, 0, True), Budget("throughput ratio", 0.5, 0.7, False)])
    assert kept.startswith("kept ")
    assert not_kept.startswith("BROKEN")
