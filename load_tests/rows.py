"""Records of a contestant's windows in, one row of medians over the rounds out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from load_tests.rounds import Figures, Record

MEDIANS = ("per_second", "p50_ms", "p95_ms", "p99_ms", "cpu_ms", "client_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Figures):
    """Medians over the rounds; `lowest` and `highest` are of the throughput, `errors` of all rounds."""

    lowest: float
    highest: float
    errors: int


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
        lowest=min(rates),
        highest=max(rates),
        errors=sum(sum(each.errors.values()) for each in group),
        **{name: statistics.median(getattr(each, name) for each in group) for name in MEDIANS},
    )
