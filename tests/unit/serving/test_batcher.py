"""The batcher's promises, one each: what forms a batch, what fails alone, what is dropped before the forward pass."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import pytest

from shared.errors import DeadlineExceeded, InternalError, Malformed, ModelUnavailable, Overloaded
from shared.serving.batcher import Batcher
from shared.serving.slots import Slots
from shared.telemetry.recording import RecordingSink
from tests.unit.serving.held import HeldExecutor, settle, skip


class Doubling:
    """A model that doubles numbers, notes its batches, and fails on what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.bad: dict[int, Exception] = {}

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        for item in batch:
            if item in self.bad:
                raise self.bad[item]
        return [2 * item for item in batch]


class Bench:
    """A batcher over `Doubling` with held execution."""

    def __init__(
        self,
        *,
        max_batch: int = 8,
        max_cost: int = 1000,
        max_queue: int = 100,
        cost: Callable[[int], int] = lambda item: 1,
        key: Callable[[int], Hashable] | None = None,
        run: Callable[[Sequence[int]], list[int]] | None = None,
        held: HeldExecutor | None = None,
        **options: Any,
    ) -> None:
        self.model = Doubling()
        self.sink = RecordingSink()
        self.held = held or HeldExecutor()
        self.batcher = Batcher(
            run or self.model,
            max_batch=max_batch,
            max_cost=max_cost,
            max_queue=max_queue,
            cost=cost,
            key=key,
            sink=self.sink,
            model="tiny",
            role="semantic",
            executor=self.held,
            **options,
        )

    async def submit(self, *items: int, deadline: float | None = None) -> list[asyncio.Task[int]]:
        """A caller for each item; returns when all are queued or running."""
        deadlines = {} if deadline is None else {"deadline": deadline}
        tasks = [asyncio.create_task(self.batcher.submit(item, **deadlines)) for item in items]
        await settle()
        return tasks

    async def finish(self, tasks: Sequence[asyncio.Task[int]]) -> list[int | BaseException]:
        """Run everything; each task's result or error."""
        await self.held.drain()
        return await asyncio.gather(*tasks, return_exceptions=True)

    def dropped(self, reason: str) -> float:
        """How many the metric says were dropped."""
        return self.sink.total("segserve_dropped_total", model="tiny", role="semantic", reason=reason)


async def test_an_idle_model_starts_at_once() -> None:
    bench = Bench()
    tasks = await bench.submit(1)
    assert len(bench.held.held) == 1
    assert await bench.finish(tasks) == [2]


async def test_what_arrives_together_runs_together() -> None:
    bench = Bench()
    tasks = await bench.submit(*range(5))
    assert await bench.finish(tasks) == [0, 2, 4, 6, 8]
    assert bench.model.batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_while_the_model_is_busy_is_the_next_batch() -> None:
    bench = Bench(max_batch=4)
    tasks = [*await bench.submit(0), *await bench.submit(1, 2), *await bench.submit(3, 4, 5)]
    assert await bench.finish(tasks) == [0, 2, 4, 6, 8, 10]
    assert bench.model.batches == [[0], [1, 2, 3, 4], [5]]


async def test_a_batch_stays_within_the_pixels_and_an_oversized_item_runs_alone() -> None:
    bench = Bench(max_cost=100, cost=lambda item: item)
    tasks = await bench.submit(60, 40, 30, 500, 20)
    assert await bench.finish(tasks) == [120, 80, 60, 1000, 40]
    assert bench.model.batches == [[60, 40], [30], [500], [20]]


async def test_slots_bound_the_passes_at_once() -> None:
    bench = Bench(max_batch=1, slots=2)
    tasks = await bench.submit(1, 2, 3)
    assert len(bench.held.held) == 2
    assert await bench.finish(tasks) == [2, 4, 6]


async def test_one_batch_holds_one_key_and_the_oldest_goes_first() -> None:
    bench = Bench(max_batch=3, key=lambda item: item % 2)
    tasks = [*await bench.submit(100), *await bench.submit(1, 2, 3, 4, 5, 6, 7, 8)]
    await bench.finish(tasks)
    assert bench.model.batches == [[100], [1, 3, 5], [2, 4, 6], [7], [8]]


async def test_a_configured_wait_lets_others_join() -> None:
    bench = Bench(max_wait_s=60)
    tasks = await bench.submit(1)
    await skip(30)
    tasks += await bench.submit(2)
    assert not bench.held.held
    await skip(30)
    assert len(bench.held.held) == 1
    assert await bench.finish(tasks) == [2, 4]
    assert bench.model.batches == [[1, 2]]


async def test_a_full_batch_does_not_wait() -> None:
    bench = Bench(max_wait_s=60.0, max_batch=2)
    tasks = await bench.submit(1, 2)
    assert await bench.finish(tasks) == [2, 4]


async def test_a_full_younger_group_does_not_wait_for_an_older_one() -> None:
    bench = Bench(max_wait_s=60.0, max_batch=2, key=lambda item: item % 2)
    tasks = await bench.submit(1, 2, 4)
    await bench.held.drain()
    assert bench.model.batches == [[2, 4]]
    await bench.batcher.close()
    assert [type(result) for result in await bench.finish(tasks)] == [ModelUnavailable, int, int]


@pytest.mark.parametrize("poison", [ValueError("secret path"), StopIteration(), MemoryError()])
async def test_a_poisoned_item_fails_alone(poison: Exception) -> None:
    bench = Bench()
    bench.model.bad = {3: poison}
    results = await bench.finish(await bench.submit(*range(8)))
    assert results[:3] + results[4:] == [0, 2, 4, 8, 10, 12, 14]
    assert isinstance(results[3], Overloaded if isinstance(poison, MemoryError) else InternalError)
    assert "secret" not in results[3].message


async def test_every_poisoned_item_fails_and_no_other() -> None:
    bench = Bench()
    bench.model.bad = {1: ValueError("a"), 6: ValueError("b"), 7: ValueError("c")}
    results = await bench.finish(await bench.submit(*range(8)))
    assert [item for item, result in enumerate(results) if isinstance(result, InternalError)] == [1, 6, 7]


async def test_an_error_meant_for_the_caller_reaches_it_as_it_is() -> None:
    bench = Bench()
    bench.model.bad = {3: Malformed("The picture is torn.")}
    results = await bench.finish(await bench.submit(2, 3))
    assert results[0] == 4
    assert isinstance(results[1], Malformed)
    assert results[1].message == "The picture is torn."


async def test_a_wrong_number_of_outputs_names_both(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(run=lambda batch: [1, 2, 3])
    results = await bench.finish(await bench.submit(7))
    assert isinstance(results[0], InternalError)
    assert "tiny gave 3 outputs for 1 inputs" in caplog.text


async def test_who_left_is_dropped_before_the_pass() -> None:
    bench = Bench()
    tasks = [*await bench.submit(0), *await bench.submit(1, 2, 3)]
    tasks[2].cancel()
    await settle()
    results = await bench.finish(tasks)
    assert bench.model.batches == [[0], [1, 3]]
    assert isinstance(results[2], asyncio.CancelledError)
    assert bench.dropped("client_gone") == 1


async def test_who_leaves_during_the_pass_disturbs_nobody() -> None:
    bench = Bench()
    tasks = await bench.submit(1, 2)
    tasks[0].cancel()
    assert isinstance((await bench.finish(tasks))[0], asyncio.CancelledError)
    assert tasks[1].result() == 4
    assert bench.dropped("client_gone") == 0


async def test_what_has_waited_past_its_deadline_never_runs() -> None:
    bench = Bench()
    tasks = await bench.submit(0)
    tasks += await bench.submit(1, deadline=time.time() + 60)
    await skip(60)
    assert isinstance(tasks[1].exception(), DeadlineExceeded)
    await bench.finish(tasks)
    assert bench.model.batches == [[0]]
    assert bench.dropped("deadline") == 1


async def test_a_deadline_that_is_over_is_refused_at_once() -> None:
    bench = Bench()
    with pytest.raises(DeadlineExceeded):
        await bench.batcher.submit(1, time.time() - 1)
    assert bench.dropped("deadline") == 1


async def test_an_answer_that_would_come_late_is_not_waited_for() -> None:
    bench = Bench()
    tasks = await bench.submit(1, deadline=time.time() + 60)
    await skip(60)
    assert isinstance(tasks[0].exception(), DeadlineExceeded)
    assert bench.dropped("late") == 1
    await bench.held.drain()


class Scarce(Doubling):
    """Runs out of memory above so many items."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.fits = fits

    def __call__(self, batch: Sequence[int]) -> list[int]:
        outputs = super().__call__(batch)
        if len(batch) > self.fits:
            raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
        return outputs


async def test_out_of_memory_halves_the_batch_and_the_next_ones() -> None:
    scarce = Scarce(2)
    bench = Bench(run=scarce)
    assert await bench.finish(await bench.submit(*range(8))) == [2 * item for item in range(8)]
    assert [len(batch) for batch in scarce.batches] == [8, 4, 2, 2, 4, 2, 2]
    scarce.batches.clear()
    await bench.finish(await bench.submit(*range(6)))
    assert [len(batch) for batch in scarce.batches] == [2, 2, 2]


async def test_the_lower_cap_is_forgotten_after_a_while() -> None:
    scarce = Scarce(4)
    bench = Bench(run=scarce, memory_hold_s=60)
    await bench.finish(await bench.submit(*range(8)))
    await skip(60)
    scarce.batches.clear()
    scarce.fits = 8
    await bench.finish(await bench.submit(*range(8)))
    assert [len(batch) for batch in scarce.batches] == [8]


async def test_an_image_too_large_for_the_memory_is_refused_for_now() -> None:
    bench = Bench(run=Scarce(0))
    results = await bench.finish(await bench.submit(1))
    assert isinstance(results[0], Overloaded)
    assert results[0].retry_after_s == 5.0
    assert bench.dropped("out_of_memory") == 1


async def test_a_full_queue_refuses_at_once_and_counts() -> None:
    bench = Bench(max_queue=2)
    tasks = [*await bench.submit(0), *await bench.submit(1, 2)]
    with pytest.raises(Overloaded, match="2 images already wait"):
        await bench.batcher.submit(3)
    assert bench.dropped("queue_full") == 1
    tasks[1].cancel()
    await settle()
    tasks += await bench.submit(4)
    results = await bench.finish(tasks)
    assert [results[0], *results[2:]] == [0, 4, 8]


async def test_caps_change_while_it_runs() -> None:
    bench = Bench(max_batch=1)
    tasks = await bench.submit(*range(5))
    changing = threading.Thread(target=bench.batcher.reconfigure, kwargs={"max_batch": 4, "max_queue": 1})
    changing.start()
    changing.join()
    await bench.finish(tasks)
    assert bench.model.batches == [[0], [1, 2, 3, 4]]
    assert bench.batcher.caps.max_queue == 1


async def test_a_shorter_wait_counts_for_those_who_wait() -> None:
    bench = Bench(max_wait_s=60.0)
    tasks = await bench.submit(1)
    assert not bench.held.held
    bench.batcher.reconfigure(max_wait_s=0)
    assert await bench.finish(tasks) == [2]


@pytest.mark.parametrize("change", [{"max_batch": 0}, {"max_cost": -1}, {"max_queue": 0}, {"max_wait_s": -0.1}])
async def test_a_cap_that_is_not_valid_changes_nothing(change: dict[str, Any]) -> None:
    bench = Bench()
    before = bench.batcher.caps
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be .* not {next(iter(change.values()))}"):
        bench.batcher.reconfigure(max_wait_s=change.pop("max_wait_s", 1.0), **change)
    assert bench.batcher.caps == before


async def test_closing_fails_who_waits_and_finishes_who_runs() -> None:
    bench = Bench(max_batch=1)
    tasks = await bench.submit(1, 2)
    closing = asyncio.create_task(bench.batcher.close())
    await settle()
    assert isinstance(tasks[1].exception(), ModelUnavailable)
    assert not closing.done()
    await bench.finish(tasks)
    await closing
    assert tasks[0].result() == 2
    with pytest.raises(ModelUnavailable, match="shutting down"):
        await bench.batcher.submit(3)
    assert bench.dropped("shutdown") == 2
    assert bench.sink.values("segserve_queue_depth")[-1] == 0


async def test_batchers_of_one_network_take_turns() -> None:
    slots, held = Slots(1), HeldExecutor()
    first, second = (Bench(max_batch=1, slots=slots, held=held) for _ in range(2))
    tasks = [*await first.submit(1, 2, 3), *await second.submit(4, 5, 6)]
    for _ in range(6):
        assert len(held.held) == 1
        held.step()
        await settle()
        assert abs(len(first.model.batches) - len(second.model.batches)) <= 1
    assert [task.result() for task in tasks] == [2, 4, 6, 8, 10, 12]


async def test_the_metrics_say_what_happened() -> None:
    bench = Bench(max_batch=4)
    tasks = [*await bench.submit(0), *await bench.submit(1, 2, 3)]
    assert bench.sink.values("segserve_queue_depth")[-1] == 3
    await bench.finish(tasks)
    labels = {"model": "tiny", "role": "semantic"}
    assert bench.sink.values("segserve_batch_size", **labels) == [1, 3]
    assert bench.sink.total("segserve_batch_items_total", **labels) == 4
    assert len(bench.sink.values("segserve_queue_seconds", **labels)) == 4
    assert len(bench.sink.values("segserve_batch_seconds", **labels)) == 2
    assert bench.sink.values("segserve_queue_depth")[-1] == 0


async def test_threads_of_its_own_run_and_end() -> None:
    def own() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("tiny-decoder")]

    sink = RecordingSink()
    batcher = Batcher[int, int](
        list, max_batch=4, max_cost=9, max_queue=9, cost=lambda item: 1, sink=sink, model="tiny", role="decoder"
    )
    assert await asyncio.gather(*(batcher.submit(item) for item in range(9))) == list(range(9))
    assert len(own()) == 1
    await batcher.close()
    await batcher.close()
    for _ in range(600):  # a thread ends in its own time
        if own():
            await asyncio.sleep(0.1)
    assert not own()
