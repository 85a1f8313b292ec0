"""Stages into the metric and into Server-Timing."""

from __future__ import annotations

import time

import pytest

from shared.telemetry.recording import RecordingSink
from shared.telemetry.stages import Stages, server_timing


def test_each_stage_is_observed_and_listed_in_order() -> None:
    sink = RecordingSink()
    stages = Stages(sink, "semantic")
    with stages.stage("decode"):
        time.sleep(0.01)
    stages.add("predict", 0.5)
    with stages.stage("decode"):
        pass
    assert [name for name, _ in stages.timings()] == ["decode", "predict"]
    assert sink.values("segserve_stage_seconds", stage="predict", task="semantic") == [0.5]
    decoded = sink.values("segserve_stage_seconds", stage="decode", task="semantic")
    assert len(decoded) == 2
    assert dict(stages.timings())["decode"] == sum(decoded) >= 0.01


def test_a_failed_stage_is_timed_too() -> None:
    sink = RecordingSink()
    stages = Stages(sink, "panoptic")
    with pytest.raises(ValueError, match="torn"), stages.stage("decode"):
        raise ValueError("torn")
    assert len(sink.values("segserve_stage_seconds", stage="decode")) == 1


def test_the_header() -> None:
    assert server_timing((("decode", 0.0025), ("predict", 0.031))) == "decode;dur=2.5, predict;dur=31.0"
    assert server_timing(()) == ""
