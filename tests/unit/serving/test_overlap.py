"""Two batches in flight: one is prepared and another finished while the engine computes; it computes one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import Event, Lock

import pytest

from shared.serving.args import ServiceArgs
from shared.serving.batcher import Batcher
from shared.serving.slots import Slots
from shared.telemetry.recording import RecordingSink
from tests.unit.serving.held import HeldExecutor, settle


class Meeting:
    """Prepares, computes behind a lock (as an engine does) and finishes. The first pass of two computes until the other
    is prepared, and finishes until the other computes; `patience_s` is how long it waits for each."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._engine = Lock()
        self._prepared, self._computing = Event(), Event()

    def __call__(self, batch: Sequence[int]) -> list[str]:
        first = batch[0] == 0
        if not first:
            self._prepared.set()
        with self._engine:
            if first:
                prepared = self._prepared.wait(self._patience_s)
            else:
                self._computing.set()
        computing = first and self._computing.wait(self._patience_s)
        return [f"met {prepared} {computing}" if first else "second"]


def batcher(model: Meeting, slots: int, executor: HeldExecutor | None = None) -> Batcher[int, str]:
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
        executor=executor,
    )


@pytest.mark.parametrize(("slots", "patience_s"), [(1, 0.2), (2, 60)])
async def test_two_slots_overlap_what_is_not_the_forward_pass(slots: int, patience_s: float) -> None:
    one = batcher(Meeting(patience_s), slots)
    overlapped = slots == 2
    first, second = await asyncio.gather(one.submit(0), one.submit(1))
    assert (first, second) == (f"met {overlapped} {overlapped}", "second")
    await one.close()


async def test_a_single_caller_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pass begins and its answer is there without any time passing."""
    timers: list[object] = []
    held = HeldExecutor()
    one = batcher(Meeting(0), 1, held)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_at", lambda *what, **_: timers.append(what))
    for _ in range(3):
        answer = asyncio.create_task(one.submit(1))
        await settle()
        assert held.step()
        await settle()
        assert answer.result() == "second"
    assert not timers


def test_slots_follow_the_device_unless_they_are_named() -> None:
    assert ServiceArgs(model="street").slots == 1
    assert ServiceArgs(model="street", device="cuda").slots == 2
    assert ServiceArgs(model="street", device="cuda:1", in_flight=3).slots == 3
