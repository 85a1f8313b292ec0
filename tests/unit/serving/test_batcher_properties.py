"""Whatever arrives, leaves and fails in whatever order: one result for every accepted item, order kept, caps kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InternalError, Overloaded
from shared.serving.batcher import Batcher
from shared.serving.slots import Slots
from shared.telemetry.recording import RecordingSink
from tests.unit.serving.held import HeldExecutor, settle

MAX_QUEUE = 12


@dataclass(frozen=True)
class Item:
    """`number` says when it arrived."""

    number: int
    cost: int
    key: int
    poisoned: bool


@dataclass
class Run:
    """What one example did: batches in order, each passing only once complete."""

    items: list[Item] = field(default_factory=list)
    batches: list[list[Item]] = field(default_factory=list)
    out_of_memory_above: int = 10**9

    def __call__(self, batch: Sequence[Item]) -> list[int]:
        """Doubles the numbers."""
        self.batches.append(list(batch))
        if len(batch) > self.out_of_memory_above:
            raise MemoryError
        if any(item.poisoned for item in batch):
            raise ValueError("poisoned")
        return [2 * item.number for item in batch]


arrival = st.tuples(
    st.just("arrive"), st.integers(1, 12), st.integers(0, 2), st.sampled_from([False, False, False, True])
)
leaving = st.tuples(st.just("leave"), st.integers(0, 30))
action = st.one_of(arrival, arrival, arrival, leaving, st.tuples(st.just("step")), st.tuples(st.just("settle")))


@settings(max_examples=150, deadline=None)
@given(
    actions=st.lists(action, max_size=40),
    max_batch=st.integers(1, 6),
    max_cost=st.integers(1, 20),
    slots=st.integers(1, 2),
    fits=st.sampled_from([2, 10**9]),
)
def test_every_accepted_item_gets_exactly_one_result(
    actions: list[tuple[str, int, int, bool]], max_batch: int, max_cost: int, slots: int, fits: int
) -> None:
    asyncio.run(_check(actions, Run(out_of_memory_above=fits), max_batch, max_cost, Slots(slots)))


async def _check(
    actions: list[tuple[str, int, int, bool]], run: Run, max_batch: int, max_cost: int, permits: Slots
) -> None:
    held, sink = HeldExecutor(), RecordingSink()
    batcher = Batcher(
        run,
        max_batch=max_batch,
        max_cost=max_cost,
        max_queue=MAX_QUEUE,
        cost=lambda item: item.cost,
        key=lambda item: item.key,
        slots=permits,
        sink=sink,
        model="tiny",
        role="semantic",
        executor=held,
    )
    tasks, left = await _played(actions, run, batcher, held)
    await held.drain()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    _check_results(run, results, left)
    _check_batches(run, max_batch, max_cost, permits.count)
    refused = sum(isinstance(result, Overloaded) for result in results)
    assert refused == sink.total("segserve_dropped_total", reason="queue_full")
    depths = sink.values("segserve_queue_depth")
    assert max(depths, default=0) <= MAX_QUEUE
    assert depths[-1:] in ([], [0])
    assert permits.free == permits.count


async def _played(
    actions: list[tuple[str, int, int, bool]], run: Run, batcher: Batcher[Item, int], held: HeldExecutor
) -> tuple[list[asyncio.Task[int]], set[int]]:
    """The items as tasks, and the numbers of those that left."""
    tasks: list[asyncio.Task[int]] = []
    left: set[int] = set()
    for step in actions:
        if step[0] == "arrive":
            item = Item(len(run.items), *step[1:])
            run.items.append(item)
            tasks.append(asyncio.create_task(batcher.submit(item)))
        elif step[0] == "leave" and step[1] < len(tasks):
            left |= {step[1]} if tasks[step[1]].cancel() else set()
        elif step[0] == "step":
            held.step()
        else:
            await settle()
        assert len(held.held) <= batcher.slots
    return tasks, left


def _check_results(run: Run, results: Sequence[int | BaseException], left: set[int]) -> None:
    for item, result in zip(run.items, results, strict=True):
        if isinstance(result, asyncio.CancelledError):
            assert item.number in left
        elif isinstance(result, Overloaded):
            assert all(item not in batch for batch in run.batches)
        elif item.poisoned:
            assert isinstance(result, InternalError)
        else:
            assert result == 2 * item.number


def _check_batches(run: Run, max_batch: int, max_cost: int, slots: int) -> None:
    for batch in run.batches:
        assert len(batch) <= max_batch
        assert len(batch) == 1 or sum(item.cost for item in batch) <= max_cost
        assert len({item.key for item in batch}) == 1
        assert batch == sorted(batch, key=lambda item: item.number)
    for key in range(3):
        firsts = list(dict.fromkeys(item.number for batch in run.batches for item in batch if item.key == key))
        assert firsts == sorted(firsts) or slots > 1
