"""Passes that overlap: when they are told from passes one after another, and that each answers as one alone does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import numpy as np
import openvino as ov
import pytest

from shared.models.engines.convert import from_torch
from shared.models.engines.engine import Array, Arrays, Shapes
from shared.models.engines.openvino import OpenVinoEngine, OpenVinoOptions
from shared.models.engines.side_by_side import Lanes, LanesOnDemand, Traffic
from tests.unit.models.small import arrays, shapes, small_graph


def test_one_after_another_is_alone_each_time() -> None:
    traffic = Traffic()
    for _ in range(3):
        with traffic.one_more() as alone:
            assert alone


def test_a_pass_beside_another_is_not_alone_nor_is_the_first_after_it() -> None:
    traffic = Traffic()
    with traffic.one_more() as first, traffic.one_more() as second:
        assert (first, second) == (True, False)
    with traffic.one_more() as gap:
        assert not gap, "a moment without any pass is no sign that the rush is over"
    with traffic.one_more() as calm:
        assert calm


def test_a_pass_that_fails_is_over() -> None:
    traffic = Traffic()
    try:
        with traffic.one_more():
            raise ValueError
    except ValueError:
        pass
    with traffic.one_more() as alone:
        assert alone


def test_a_third_pass_waits_for_a_lane() -> None:
    lanes, came = Lanes(["a", "b"]), Event()

    def third() -> None:
        with lanes.taken() as lane:
            assert lane == "b"
            came.set()

    with lanes.taken() as one:
        with lanes.taken() as other:
            assert {one, other} == {"a", "b"}
            thread = Thread(target=third)
            thread.start()
            assert not came.wait(0.05)
        thread.join()
    assert came.is_set()


def test_overlapping_passes_share_the_threads() -> None:
    options = OpenVinoOptions(threads=4, in_flight=2)
    assert options.properties()["INFERENCE_NUM_THREADS"] == 4
    both = options.overlapping().properties()
    assert (both["INFERENCE_NUM_THREADS"], both["NUM_STREAMS"]) == (4, 2)
    few = OpenVinoOptions(threads=1, in_flight=3).overlapping()
    assert (few.threads, few.streams) == (3, 3), "each pass has a thread at least"
    assert "NUM_STREAMS" not in options.properties()


def eventual(lanes: LanesOnDemand[str, str], key: str) -> Lanes[str]:
    """The lanes of `key` once they are made."""
    for _ in range(1000):
        if (found := lanes.of(key)) is not None:
            return found
        Event().wait(0.01)
    raise AssertionError(f"{key} never has lanes")


def test_lanes_are_made_once_when_first_asked_for_and_nobody_waits_for_them() -> None:
    made, go = list[str](), Event()

    def make(key: str) -> list[str]:
        assert go.wait(10)
        made.append(key)
        return [f"{key}1", f"{key}2"]

    lanes = LanesOnDemand(make)
    assert lanes.of("a") is None
    assert lanes.of("a") is None
    go.set()
    found = eventual(lanes, "a")
    with found.taken() as one, found.taken() as other:
        assert {one, other} == {"a1", "a2"}
    assert eventual(lanes, "b") is not found
    assert made == ["a", "b"]


def test_lanes_that_cannot_be_made_are_told_once_and_never_there(caplog: pytest.LogCaptureFixture) -> None:
    tried = Event()

    def fail(_: str) -> list[str]:
        tried.set()
        raise RuntimeError("no memory")

    lanes = LanesOnDemand(fail)
    assert lanes.of("a") is None
    assert tried.wait(10)
    for _ in range(1000):
        if caplog.records:
            break
        Event().wait(0.01)
    assert lanes.of("a") is None
    assert [record.message for record in caplog.records] == ["passes of a do not overlap"]


def test_overlapping_passes_give_what_each_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []
    compile_with = OpenVinoEngine._compile

    def counting(self: OpenVinoEngine, shapes: Shapes, options: OpenVinoOptions) -> ov.CompiledModel:
        found = compile_with(self, shapes, options)
        if self is not plain:
            compiled.append(options.streams)
        return found

    graph = small_graph()
    plain = from_torch(graph, "small", OpenVinoOptions(threads=2))
    monkeypatch.setattr(OpenVinoEngine, "_compile", counting)
    engine = from_torch(graph, "small", OpenVinoOptions(threads=2, in_flight=2))
    warmed, unforeseen = arrays(16, 24), arrays(16, 40)
    engine.warm([shapes(warmed), shapes(arrays(24, 16))])
    assert compiled == [0, 0], "while no passes overlap there is no graph for those that do"
    together = Barrier(2)

    def at_once(inputs: Arrays) -> dict[str, Array]:
        together.wait(60)
        return engine.run(inputs)

    with ThreadPoolExecutor(2) as pool:
        while 2 not in compiled:
            list(pool.map(at_once, [warmed] * 8))
    many = [warmed, unforeseen] * 20
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(engine.run, many))
    for inputs, got in zip(many, answers, strict=True):
        expected = plain.run(inputs)
        assert np.allclose(got["logits"], expected["logits"], atol=1e-5)
        assert np.array_equal(got["labels"], expected["labels"])
    assert sorted(compiled) == [0, 0, 0, 2], "one for both lanes, of the shape that was warmed alone"
