"""Health by doing: a pass that succeeds proves it, one that failed is followed up, one that hangs is noticed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from shared.errors import DeadlineExceeded, InternalError
from shared.serving.batcher import Batcher
from shared.serving.pulse import CHECK_S, HEARTBEAT, Pulse
from shared.telemetry.recording import RecordingSink


class Frail:
    """Fails on 13 and, while `sick`, on everything; a pass on 99 waits for `go_on`."""

    def __init__(self) -> None:
        self.sick = False
        self.warmed = 0
        self.go_on, self.hangs = threading.Event(), threading.Event()

    def predict(self, batch: Sequence[int]) -> list[int]:
        if self.sick or 13 in batch:
            raise ArithmeticError("sick")
        if 99 in batch:
            self.hangs.set()
            self.go_on.wait(60)
        return list(batch)

    def cost(self, item: int) -> int:
        return 1

    def warm(self) -> None:
        self.warmed += 1
        if self.sick:
            raise ArithmeticError("sick")


def watched(model: Frail, stalled_s: float = 60) -> tuple[Pulse, Batcher[object, object]]:
    pulse = Pulse(stalled_s)
    batcher: Batcher[object, object] = Batcher(
        pulse.watched(model),
        max_batch=4,
        max_cost=100,
        max_queue=2,
        cost=lambda _: 1,
        key=lambda item: item is HEARTBEAT,
        sink=RecordingSink(),
        model="frail",
        role="semantic",
    )
    pulse.batchers = (batcher,)
    return pulse, batcher


async def test_a_pass_that_ends_does_not_hide_one_that_hangs() -> None:
    model = Frail()
    pulse, _ = watched(model, stalled_s=0)
    run = pulse.watched(model)
    hanging = asyncio.get_running_loop().run_in_executor(None, run, [99])
    await asyncio.to_thread(model.hangs.wait, 60)
    await asyncio.get_running_loop().run_in_executor(None, run, [1])
    with pytest.raises(RuntimeError, match="has been running"):
        await pulse.check()
    model.go_on.set()
    await hanging
    await pulse.check()


async def test_an_idle_or_a_working_model_is_healthy_without_a_pass() -> None:
    model = Frail()
    pulse, batcher = watched(model)
    await pulse.check()
    assert await batcher.submit(1) == 1
    await pulse.check()
    assert model.warmed == 0


async def test_after_a_failure_one_pass_is_made_and_clears_it() -> None:
    model = Frail()
    pulse, batcher = watched(model)
    with pytest.raises(InternalError):
        await batcher.submit(13)
    await pulse.check()
    await pulse.check()
    assert model.warmed == 1


async def test_a_model_that_goes_on_failing_is_ill_until_it_works_again() -> None:
    model = Frail()
    pulse, batcher = watched(model)
    model.sick = True
    with pytest.raises(InternalError):
        await batcher.submit(1)
    for _ in range(2):
        with pytest.raises(InternalError):
            await pulse.check()
    model.sick = False
    await pulse.check()


async def test_a_pass_that_hangs_is_ill() -> None:
    model = Frail()
    pulse, batcher = watched(model, stalled_s=0.05)
    hanging = asyncio.create_task(batcher.submit(99))
    await asyncio.to_thread(model.hangs.wait, 60)
    await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError, match="running for"):
        await pulse.check()
    model.go_on.set()
    assert await hanging == 99


async def test_a_pass_that_takes_its_time_is_not_ill() -> None:
    model = Frail()
    pulse, batcher = watched(model, stalled_s=60)
    working = asyncio.create_task(batcher.submit(99))
    await asyncio.to_thread(model.hangs.wait, 60)
    await pulse.check()
    model.go_on.set()
    assert await working == 99


async def test_a_full_queue_is_not_ill() -> None:
    pulse, batcher = watched(Frail())
    with pytest.raises(InternalError):
        await batcher.submit(13)
    waiting = [asyncio.create_task(batcher.submit(2)) for _ in range(2)]
    await asyncio.sleep(0)
    await pulse.check()
    await asyncio.gather(*waiting)


async def test_a_check_of_several_busy_queues_takes_no_longer_than_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve waits a minute for a check, however many roles the model has."""
    pulse, batcher = watched(Frail())
    with pytest.raises(InternalError):
        await batcher.submit(13)
    now, deadlines = [1000.0], list[float]()
    monkeypatch.setattr(time, "time", lambda: now[0])

    async def busy(_: object, deadline: float) -> object:
        deadlines.append(deadline)
        now[0] = deadline
        raise DeadlineExceeded

    monkeypatch.setattr(batcher, "submit", busy)
    pulse.batchers = (batcher, batcher, batcher)
    await pulse.check()
    assert deadlines == [1000.0 + CHECK_S] * 3
