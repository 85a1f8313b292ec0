"""Tuning without a platform: which candidates there are, which one is chosen, and that its YAML can be deployed."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from deploy.applications import Prepared
from deploy.layouts import Layout, Serving
from load_tests.client import Window
from load_tests.processes import Server
from load_tests.tuning.__main__ import decide
from load_tests.tuning.candidates import Untunable, candidates, dense_task, engines, layouts
from load_tests.tuning.choice import Point, best, finalists, joined, nearest, worth_more_callers
from load_tests.tuning.search import Platform, Refused, Trial, write
from shared.catalog.catalog import find_card

ONE, TWO, BOTH = Layout(1, 2), Layout(2, 1), Layout(1, 2, in_flight=2)


def point(per_second: float, p99_ms: float, layout: Layout = ONE, callers: int = 8, errors: int = 0) -> Point:
    return Point(Serving("street", "semantic", layout), callers, per_second, p99_ms / 2, p99_ms, errors)


def test_layouts_spread_all_cores_evenly() -> None:
    assert layouts(1) == [Layout(1, 1), Layout(1, 1, True)]
    assert layouts(2)[:3] == [ONE, TWO, BOTH]
    found = [(each.replicas, each.threads, each.in_flight) for each in layouts(6) if not each.fused]
    assert found == [(1, 6, 1), (2, 3, 1), (3, 2, 1), (6, 1, 1), (1, 6, 6)]
    assert layouts(2)[3:] == [Layout(1, 2, True), Layout(2, 1, True), Layout(1, 2, True, 2)]


def test_candidates_are_every_combination() -> None:
    found = candidates(find_card("street"), "semantic", [("openvino", "f32"), ("torch", "f32")], [1, 4], [ONE, TWO])
    assert len(found) == len(set(found)) == 8
    assert {each.max_batch for each in found} == {1, 4}


def test_only_openvino_shares_its_threads_among_passes_in_flight() -> None:
    found = candidates(find_card("street"), "semantic", [("openvino", "f32"), ("torch", "f32")], [1], [BOTH])
    assert [each.engine for each in found] == ["openvino"]
    assert found[0].applications()[1]["args"]["in_flight"] == 2


def test_engines_are_those_of_the_card_that_are_installed() -> None:
    card = find_card("street")
    found = engines(card)
    assert {("openvino", "f32"), ("torch", "f32")} <= set(found)
    assert engines(card, ["torch"]) == [each for each in found if each[0] == "torch"]
    with pytest.raises(Untunable, match="tensorrt is no engine of street"):
        engines(card, ["tensorrt"])


def test_precisions_that_cost_nothing_by_their_checks_are_tried_and_others_are_not() -> None:
    card = find_card("street")
    below = {each for each in engines(card) if each[1] != "f32"}
    assert below == {("openvino", "int8"), ("openvino", "bf16")}
    worse = [each.model_copy(update={"agreement": 90.0}) if each.precision == "int8" else each for each in card.checks]
    found = engines(card.model_copy(update={"checks": tuple(worse)}))
    assert {each for each in found if each[1] != "f32"} == {("openvino", "bf16")}


def test_the_task_must_be_one_that_the_card_has() -> None:
    assert dense_task(find_card("street"), None) == "semantic"
    assert dense_task(find_card("street"), "panoptic") == "panoptic"
    with pytest.raises(Untunable, match="serves semantic, not instance"):
        dense_task(find_card("segformer-b0-ade"), "instance")
    with pytest.raises(Untunable, match="no dense task"):
        dense_task(find_card("mobile-sam"), None)


def test_a_candidate_that_does_not_come_up_in_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr("load_tests.tuning.search.subprocess.run", hangs)
    platform = Platform(cast(Server, None), tmp_path, 1, {})
    with pytest.raises(Refused, match="does not run within 600 s"):
        platform.deploy(point(1, 1).serving)


def test_the_most_throughput_within_the_limit_is_chosen() -> None:
    slow, fast, late = point(8, 90), point(10, 100), point(20, 101)
    assert best([slow, fast, late], 100) is fast
    assert best([late], 100) is None
    assert nearest([late, point(30, 300)]) is late


def test_several_windows_are_one_point() -> None:
    serving = Serving("street", "semantic", ONE)
    windows = [
        Window(8, 1.0, (10.0,) * 50),
        Window(8, 1.0, (10.0,) * 40, {"503": 2}),
        Window(8, 2.0, (10.0,) * 18 + (90.0,) * 2),
    ]
    found = joined(serving, windows)
    assert (found.serving, found.callers, found.per_second, found.p50_ms) == (serving, 8, 40.0, 10.0)
    assert found.p99_ms > 80, "of all answers, not of the window in the middle"
    assert found.errors == 2
    assert math.isnan(joined(serving, [Window(1, 1.0, ())]).p99_ms)


def test_finalists_are_the_best_point_of_each_candidate_close_to_the_best() -> None:
    best_of_one, best_of_two = point(9.5, 80, ONE), point(10, 90, TWO)
    points = [point(5, 40, ONE, callers=1), best_of_one, best_of_two, point(12, 120, TWO), point(8, 50, BOTH)]
    assert finalists(points, 100) == [best_of_two, best_of_one]
    assert finalists(points, 30) == []


def test_who_does_not_keep_the_limit_in_the_final_is_out_and_the_next_ones_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lucky, slower = point(20, 90, TWO), point(10, 60, ONE)
    truth = {TWO: point(20, 150, TWO), ONE: point(10, 70, ONE)}
    played: list[list[Point]] = []

    def measured(few: list[Point], *_: object) -> list[Point]:
        played.append(few)
        return [truth[each.serving.layout] for each in few]

    monkeypatch.setattr("load_tests.tuning.__main__.measure_again", measured)
    trial = Trial((b"",), "image/png", 1.0, 100)
    assert decide([lucky, slower], tmp_path, trial, {}) == [truth[ONE]]
    assert played == [[lucky], [slower]]
    assert decide([lucky], tmp_path, trial, {}) == []


def test_points_with_errors_or_without_answers_are_never_chosen() -> None:
    assert best([point(50, 10, errors=1), point(0, math.nan)], 100) is None
    assert nearest([point(50, 10, errors=1), point(0, math.nan)]) is None


def test_of_equal_throughputs_the_lower_latency_wins_then_fewer_replicas() -> None:
    quick, same = point(10.0, 60, TWO), point(10.1, 80)
    assert best([same, quick], 100) is quick
    few = point(10.0, 60, ONE)
    assert best([quick, few], 100) is few


def test_more_callers_are_tried_while_they_gain_and_keep_the_limit() -> None:
    assert worth_more_callers([], 100)
    assert worth_more_callers([point(5, 50), point(9, 60)], 100)
    assert not worth_more_callers([point(5, 50), point(9, 160)], 100)
    assert not worth_more_callers([point(9, 50), point(9.1, 60)], 100)


@pytest.mark.parametrize("layout", [ONE, TWO, BOTH])
def test_the_yaml_can_be_deployed_as_it_is(tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "best.yaml"
    write(path, Serving("street", "instance", layout, "openvino", "f32", 4), "found by a test\non two lines")
    assert path.read_text().startswith("# found by a test\n# on two lines\n")
    assert "&" not in path.read_text(), "people read it: nothing refers to something elsewhere"
    prepared = Prepared.read(path)
    assert [each.name for each in prepared.applications] == ["gateway", "street"]
    (deployment,) = prepared.applications[1].deployments
    assert (deployment.name, deployment.num_replicas) == ("Instance", layout.replicas)
    assert deployment.user_config == {"max_batch": 4, "max_queue": 256}
