"""What is concluded from records: promises kept, broken, and those that nobody can judge."""

from __future__ import annotations

import pytest

from load_tests.rounds import Record
from load_tests.scenarios import DOCUMENTED
from load_tests.verdicts import Verdict, verdicts
from tests.unit.load_tests.figures import record

GATEWAY, FUSED = "SegServe, gateway", "SegServe, fused"


def judged(records: list[Record], promise: str) -> Verdict:
    (found,) = [each for each in verdicts(records) if promise in each.promise]
    return found


@pytest.mark.parametrize(("ours", "kept"), [(9.6, True), (9.4, False)])
def test_95_percent_of_the_best_in_process_layout(ours: float, kept: bool) -> None:
    records = [record("in-process", 8.0, layout="1 x 2"), record("in-process", 10.0), record(GATEWAY, ours)]
    assert judged(records, "95 %").kept is kept


def test_the_better_of_our_layouts_counts_against_the_best_peer() -> None:
    records = [record(GATEWAY, 8.0), record(FUSED, 10.0), record("mosec", 9.9), record("FastAPI", 7.0)]
    verdict = judged(records, "best peer")
    assert verdict.kept is True
    assert "SegServe, fused" in verdict.found
    assert "mosec" in verdict.found


def test_ratios_are_taken_within_rounds_and_their_median_counts() -> None:
    # The machine was half as fast in the second round and the peers had a lucky one in the third.
    rates = [(10.0, 9.0), (5.0, 4.5), (10.0, 11.0)]
    records = [
        each
        for number, (ours, theirs) in enumerate(rates)
        for each in (record(GATEWAY, ours, round=number), record("mosec", theirs, round=number))
    ]
    verdict = judged(records, "best peer")
    assert verdict.kept is True
    assert verdict.found.startswith("1.11 (rounds 1.11 1.11 0.91)")


def test_answers_with_errors_do_not_count() -> None:
    records = [record(GATEWAY, 10.0), record("mosec", 20.0, errors={"503": 3}), record("FastAPI", 9.0)]
    assert judged(records, "best peer").kept is True


def test_our_own_errors_break_a_promise_whatever_else_is_judged() -> None:
    failing = [record(GATEWAY, 10.0, errors={"500": 3, "timeout": 1}), record("FastAPI", 9.0, errors={"503": 9})]
    assert judged(failing, "best peer").kept is None
    verdict = judged(failing, "no request")
    assert (verdict.kept, verdict.found) == (False, "4 failed: SegServe, gateway")
    assert judged([record(GATEWAY, 10.0), *failing[1:]], "no request").kept is True


@pytest.mark.parametrize(("p50", "kept"), [(114.0, True), (116.0, False)])
def test_one_caller_waits_little_longer_than_in_process(p50: float, kept: bool) -> None:
    records = [record("in-process", 10.0, callers=1), record(GATEWAY, 9.0, callers=1, p50_ms=p50)]
    assert judged(records, f"15 ms of in-process: {GATEWAY}").kept is kept
    assert judged(records, FUSED).kept is None


def test_twice_the_documented_way() -> None:
    peers = [record("FastAPI", 3.0, scenario="segformer", label=DOCUMENTED)]
    promise = "2 times every peer as documented (torch eager) with OpenVINO f32: segformer"
    assert judged([*peers, record(GATEWAY, 6.1, scenario="segformer")], promise).kept is True
    assert judged([*peers, record(GATEWAY, 5.9, scenario="segformer")], promise).kept is False


def test_a_lower_precision_is_judged_only_where_it_passed_a_check() -> None:
    records = [
        record("mosec", 3.0, label=DOCUMENTED),
        record(GATEWAY, 9.3, label="OpenVINO int8"),
        record("mosec", 3.0, scenario="segformer", label=DOCUMENTED),
        record(GATEWAY, 20.0, scenario="segformer", label="OpenVINO bf16, not checked"),
    ]
    assert judged(records, "int8").kept is True
    assert judged(records, "bf16").kept is None


def test_without_contestants_nothing_is_judged() -> None:
    assert {each.kept for each in verdicts([])} == {None}
