"""Records of a contestant's windows in, one row of medians over the rounds out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from load_tests.rounds import Record


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant under one load at so many callers: medians over its rounds."""

    scenario: str
    load: str
    server: str
    label: str
    layout: str
    callers: int
    per_second: float
    lowest: float
    highest: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    client_ms: float
    errors: int

    @property
    def name(self) -> str:
        """Server, engine and layout."""
        return ", ".join(filter(None, (self.server, self.label, self.layout)))


def rows(records: Iterable[Record]) -> list[Row]:
    """One row for all rounds of the same thing, in the order of their first appearance."""
    groups: dict[tuple[str | int, ...], list[Record]] = {}
    for each in records:
        groups.setdefault((each.scenario, each.load, *each.contestant, each.callers), []).append(each)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Record]) -> Row:
    first, rates = group[0], [each.per_second for each in group]
    return Row(
        scenario=first.scenario,
        load=first.load,
        server=first.server,
        label=first.label,
        layout=first.layout,
        callers=first.callers,
        per_second=statistics.median(rates),
        lowest=min(rates),
        highest=max(rates),
        p50_ms=statistics.median(each.p50_ms for each in group),
        p95_ms=statistics.median(each.p95_ms for each in group),
        p99_ms=statistics.median(each.p99_ms for each in group),
        cpu_ms=statistics.median(each.cpu_ms for each in group),
        client_ms=statistics.median(each.client_ms for each in group),
        errors=sum(sum(each.errors.values()) for each in group),
    )
