"""Records in, judgements out: what the project promises about its speed, each kept, broken or not judged, and why.

A ratio is taken within a round, where both sides saw the same noise; of the rounds' ratios the median counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from load_tests.contestants import LIMIT, OURS
from load_tests.rounds import Record
from load_tests.scenarios import DOCUMENTED, F32, PEERS, UNCHECKED

GATEWAY, FUSED = OURS


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kept` None: not judged, since someone whom it takes did not take part; `found` says what was measured."""

    promise: str
    kept: bool | None
    found: str


Pick = Callable[[Record], bool]


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Every promise."""
    return [
        flawless(records),
        *in_front(records),
        *ahead_of_eager(records),
        near(records, GATEWAY, 15.0),
        near(records, FUSED, 6.0),
    ]


def flawless(records: Sequence[Record]) -> Verdict:
    """Whether everything that was asked of us was answered: windows with errors are left out of all that follows."""
    promise = "no request to SegServe fails"
    ours = [each for each in records if each.server in OURS]
    if not ours:
        return Verdict(promise, None, "it took no part")
    failed = dict.fromkeys(each.server for each in ours if each.errors)
    count = sum(sum(each.errors.values()) for each in ours)
    return Verdict(promise, not count, f"{count} failed: {', '.join(failed)}" if failed else "all were answered")


def in_front(records: Sequence[Record]) -> list[Verdict]:
    """At 8 callers: against the limit, and against the best peer, on the same engine."""
    ours = at("street", 8, OURS, F32)
    limit = at("street", 8, (LIMIT,), F32)
    peers = at("street", 8, PEERS, F32)
    return [
        ratio("at 8 callers at least 95 % of the best in-process throughput", records, ours, limit, 0.95),
        ratio("at 8 callers not below the best peer on the same engine", records, ours, peers, 1.0),
    ]


def ahead_of_eager(records: Sequence[Record]) -> list[Verdict]:
    """At 8 callers: against the best of the peers as their documentation runs them."""
    lower = sorted({each.label for each in records if each.label.startswith("OpenVINO") and each.label != F32})
    found = [documented(records, scenario, F32, 2.0) for scenario in ("segformer", "street")]
    for label in lower:
        one = documented(records, "segformer" if label == UNCHECKED else "street", label, 3.0)
        unchecked = Verdict(one.promise, None, f"{one.found}; random weights have no accuracy to check")
        found.append(unchecked if label == UNCHECKED else one)
    return found


def documented(records: Sequence[Record], scenario: str, label: str, least: float) -> Verdict:
    """Ours on an engine against every peer as documented, on one model."""
    promise = f"{least:g} times every peer as documented (torch eager) with {label}: {scenario}"
    return ratio(promise, records, at(scenario, 8, OURS, label), at(scenario, 8, PEERS, DOCUMENTED), least)


def near(records: Sequence[Record], server: str, limit_ms: float) -> Verdict:
    """At one caller: how much later the median answer comes than without a server."""
    promise = f"at one caller p50 within {limit_ms:g} ms of in-process: {server}"
    ours, limit = at("street", 1, (server,), F32), at("street", 1, (LIMIT,), F32)
    later = [
        min(each.p50_ms for each in mine) - min(each.p50_ms for each in theirs)
        for mine, theirs in by_round(records, ours, limit)
    ]
    if not later:
        return Verdict(promise, None, "one of the two took no part, or failed requests")
    found = statistics.median(later)
    return Verdict(promise, found <= limit_ms, f"{found:+.1f} ms (rounds {spread(later)})")


def ratio(promise: str, records: Sequence[Record], ours: Pick, theirs: Pick, least: float) -> Verdict:
    """The best throughput of ours over the best of theirs, at least so much."""
    found = [
        max(each.per_second for each in mine) / best
        for mine, others in by_round(records, ours, theirs)
        if (best := max(each.per_second for each in others)) > 0
    ]
    if not found:
        return Verdict(promise, None, "one of the two took no part, or failed requests")
    middle = statistics.median(found)
    names = ", ".join(dict.fromkeys(" ".join(filter(None, each.contestant)) for each in best_of(records, ours, theirs)))
    return Verdict(promise, middle >= least, f"{middle:.2f} (rounds {spread(found)}): {names}")


def best_of(records: Sequence[Record], *picks: Pick) -> list[Record]:
    """The fastest record of each pick."""
    return [max(filter(pick, records), key=lambda each: each.per_second) for pick in picks]


def at(scenario: str, callers: int, servers: Sequence[str], label: str) -> Pick:
    """Photos of a scenario at so many callers, by these servers with this engine; answers without errors count."""

    def pick(record: Record) -> bool:
        where = (record.scenario, record.load, record.callers) == (scenario, "photo", callers)
        return where and record.server in servers and record.label == label and not record.errors

    return pick


def by_round(
    records: Sequence[Record], ours: Pick, theirs: Pick
) -> Iterable[tuple[Sequence[Record], Sequence[Record]]]:
    """Both sides' records of each round in which both took part."""
    for number in sorted({record.round for record in records}):
        here = [record for record in records if record.round == number]
        mine, others = list(filter(ours, here)), list(filter(theirs, here))
        if mine and others:
            yield mine, others


def spread(values: Sequence[float]) -> str:
    """The rounds one by one."""
    return " ".join(f"{value:.2f}" for value in values)
