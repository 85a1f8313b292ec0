"""Passes that overlap: when they are told from passes one after another, and that each answers as one alone does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import numpy as np

from shared.models.engines.convert import from_torch
from shared.models.engines.openvino import OpenVinoOptions
from shared.models.engines.side_by_side import Lanes, Traffic
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


def test_overlapping_passes_give_what_each_gives_alone() -> None:
    graph = small_graph()
    plain = from_torch(graph, "small", OpenVinoOptions(threads=2))
    engine = from_torch(graph, "small", OpenVinoOptions(threads=2, in_flight=2))
    warmed, unforeseen = arrays(16, 24), arrays(16, 40)
    engine.warm([shapes(warmed)])
    many = [warmed, unforeseen] * 20
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(engine.run, many))
    for inputs, got in zip(many, together, strict=True):
        expected = plain.run(inputs)
        assert np.allclose(got["logits"], expected["logits"], atol=1e-5)
        assert np.array_equal(got["labels"], expected["labels"])
