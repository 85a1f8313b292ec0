"""Two batches in flight: one is prepared and another finished while the engine computes; it computes one at a time."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import pytest

from shared.serving.args import ServiceArgs
from shared.serving.batcher import Batcher
from shared.serving.slots import Slots
from shared.telemetry.recording import RecordingSink

STEP_S = 0.03
Span = tuple[str, int, float, float]


class Slow:
    """Prepares, computes behind a lock (as an engine does) and finishes; each takes `STEP_S` and is noted."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._engine = Lock()

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self._take("prepare", batch[0])
        with self._engine:
            self._take("forward", batch[0])
        self._take("finish", batch[0])
        return list(batch)

    def _take(self, what: str, item: int) -> None:
        begun = time.perf_counter()
        time.sleep(STEP_S)
        self.spans.append((what, item, begun, time.perf_counter()))

    def overlaps(self, one: str, other: str) -> int:
        """How many pairs of such spans, of different batches, share a moment."""
        return sum(
            a[0] == one and b[0] == other and a[1] != b[1] and max(a[2], b[2]) < min(a[3], b[3])
            for a in self.spans
            for b in self.spans
        )


def batcher(model: Slow, slots: int) -> Batcher[int, int]:
    return Batcher(
        model,
        max_batch=1,
        max_cost=10,
        max_queue=100,
        cost=lambda _: 1,
        sink=RecordingSink(),
        model="slow",
        role="semantic",
        slots=Slots(slots),
    )


@pytest.mark.parametrize("slots", [1, 2])
async def test_two_slots_overlap_what_is_not_the_forward_pass(slots: int) -> None:
    model = Slow()
    one = batcher(model, slots)
    assert await asyncio.gather(*(one.submit(item) for item in range(6))) == list(range(6))
    await one.close()
    assert model.overlaps("forward", "forward") == 0
    beside = model.overlaps("forward", "prepare") + model.overlaps("forward", "finish")
    assert beside == 0 if slots == 1 else beside >= 4


async def test_a_single_caller_waits_for_nothing() -> None:
    """Through the batcher and without it, by turns. (`python -m load_tests.kernels` measures 2 ms; a busy machine
    is allowed more here, but not the 10 ms of a batch that waits.)"""
    model = Slow()
    one = batcher(model, 1)
    pool = ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()
    taken: dict[str, list[float]] = {"batched": [], "direct": []}
    for turn in range(15):
        for way in taken:
            begun = time.perf_counter()
            if way == "batched":
                await one.submit(turn)
            else:
                await loop.run_in_executor(pool, model, [turn])
            taken[way].append(time.perf_counter() - begun)
    await one.close()
    pool.shutdown()
    assert statistics.median(taken["batched"]) - statistics.median(taken["direct"]) < 0.006


def test_slots_follow_the_device_unless_they_are_named() -> None:
    assert ServiceArgs(model="street").slots == 1
    assert ServiceArgs(model="street", device="cuda").slots == 2
    assert ServiceArgs(model="street", device="cuda:1", in_flight=3).slots == 3
