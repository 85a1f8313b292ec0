"""Rows and standings of one scenario in, a few columns a contestant out: the table that the README shows."""

from __future__ import annotations

from collections.abc import Sequence

from load_tests.rounds import Standing
from load_tests.rows import Row

HEAD = (
    "| | layout | requests/s at 8 callers | p50 ms | p99 ms | CPU ms a request | memory MB | p50 ms of one caller |",
    "|---|---|---|---|---|---|---|---|",
)


def summary(rows: Sequence[Row], standings: Sequence[Standing]) -> list[str]:
    """Each server on each engine in the layout that answers most at 8 callers, the fastest first; beside it the median
    of one caller in the layout that has it lowest."""
    at_8: dict[tuple[str, str], Row] = {}
    alone: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row.server, row.label)
        if row.callers == 8 and (key not in at_8 or row.per_second > at_8[key].per_second):
            at_8[key] = row
        if row.callers == 1 and not row.load.endswith("MP"):
            alone[key] = min(row.p50_ms, alone.get(key, row.p50_ms))
    memory = {(each.server, each.label, each.layout): each.pss_bytes / 1e6 for each in standings}
    lines = list(HEAD) if at_8 else []
    for key, row in sorted(at_8.items(), key=lambda item: -item[1].per_second):
        megabytes = memory.get((*key, row.layout))
        one = f"{alone[key]:.1f}" if key in alone else ""
        lines.append(
            f"| {', '.join(filter(None, key))} | {row.layout} | {row.per_second:.1f} | {row.p50_ms:.0f} "
            f"| {row.p99_ms:.0f} | {row.cpu_ms:.1f} | {'' if megabytes is None else round(megabytes)} | {one} |"
        )
    return lines
