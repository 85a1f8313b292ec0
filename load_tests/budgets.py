"""What users saw under load in, budgets kept or broken out: errors, p95, and throughput against one caller alone.

Machines differ, so times are judged against the same requests asked one by one just before: a server that many ask at
once should work at least nearly as fast as for one, and nobody should wait much longer than for everyone before them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: its median alone, and what it was under load."""

    name: str
    alone_ms: float
    requests: int
    failures: int
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Group:
    """Users of one class: so many, each busy for so long (asked alone), then pausing."""

    users: int
    busy_s: float
    pause_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What is promised."""

    error_rate: float = 0.0
    throughput: float = 0.7
    """Least part of what the users could have got: of one caller's pace, or of what they ask for where that is less."""
    queue: float = 2.0
    """p95 may be the time alone and so many times the time that one request of every user takes alone."""
    p95_ms: float = 0.0
    """In place of that, for every kind of request; 0: none."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One judgement; found and limit in the unit that its name says."""

    name: str
    found: float
    limit: float
    kept: bool


def judge(kinds: Sequence[Kind], groups: Sequence[Group], seconds: float, limits: Limits) -> list[Budget]:
    """Every budget. A load without requests keeps none."""
    asked = sum(kind.requests for kind in kinds)
    if not asked or seconds <= 0:
        return [Budget("requests", 0, 1, False)]
    errors = sum(kind.failures for kind in kinds) / asked
    found = [Budget("error rate", errors, limits.error_rate, errors <= limits.error_rate)]
    users = sum(group.users for group in groups)
    mean_ms = sum(kind.requests * kind.alone_ms for kind in kinds) / asked
    for kind in kinds:
        if kind.requests:
            limit = limits.p95_ms or kind.alone_ms + limits.queue * users * mean_ms
            found.append(Budget(f"p95 ms, {kind.name}", kind.p95_ms, limit, kind.p95_ms <= limit))
    ratio = throughput_ratio(kinds, groups, seconds)
    return [*found, Budget("throughput ratio", ratio, limits.throughput, ratio >= limits.throughput)]


def throughput_ratio(kinds: Sequence[Kind], groups: Sequence[Group], seconds: float) -> float:
    """Work done a second, in seconds of one caller alone, over what could have been done at that pace.

    Users who pause ask for less than the whole time; then what they ask for is the measure.
    """
    done = sum((kind.requests - kind.failures) * kind.alone_ms for kind in kinds) / 1000 / seconds
    wanted = sum(group.users * group.busy_s / (group.busy_s + group.pause_s) for group in groups if group.busy_s > 0)
    possible = min(1.0, wanted)
    return done / possible if possible > 0 else math.nan


def lines(budgets: Sequence[Budget]) -> list[str]:
    """One line a budget."""
    width = max(len(budget.name) for budget in budgets)
    return [
        f"{'kept' if each.kept else 'BROKEN':6}  {each.name:<{width}}  {each.found:10.3f}  limit {each.limit:.3f}"
        for each in budgets
    ]
