"""Seconds of each stage of one request: into `segserve_stage_seconds`, and out as tuples for Server-Timing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from shared.protocols import Sink


class Stages:
    """The stopwatch of one request. Stage names come from a closed set: decode, predict, encode and their like."""

    def __init__(self, sink: Sink, task: str):
        self._sink = sink
        self._task = task
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside, also when it fails. The same name twice adds up in `timings`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begun)

    def add(self, name: str, seconds: float) -> None:
        """Note a stage that was timed elsewhere."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._sink.observe("segserve_stage_seconds", seconds, stage=name, task=self._task)

    def timings(self) -> tuple[tuple[str, float], ...]:
        """(name, seconds) in order of first use: `Answer.timings`."""
        return tuple(self._seconds.items())


def server_timing(timings: Iterable[tuple[str, float]]) -> str:
    """Value of a `Server-Timing` header (W3C), in milliseconds: `decode;dur=2.5, predict;dur=31.0`."""
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in timings)
