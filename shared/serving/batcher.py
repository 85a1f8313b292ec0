"""Single items in, batches through a model, single results out: dynamic batching in plain asyncio.

The slot is taken first and the queue drained second, so a batch is whatever arrived while the model was busy, and
nothing waits while it is idle. One batch holds only items of one `key`, oldest first, up to the caps.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from shared.errors import DeadlineExceeded, InternalError, ModelUnavailable, Overloaded, SegServeError
from shared.protocols import Sink
from shared.serving.slots import Slots

In = TypeVar("In")
Out = TypeVar("Out")

DropReason = Literal["queue_full", "client_gone", "deadline", "late", "out_of_memory", "shutdown"]
"""Of `segserve_dropped_total`. late: the deadline passed during the forward pass."""

MEMORY_HOLD_S = 60.0
"""How long the lower cap holds after the model ran out of memory."""

logger = logging.getLogger(__name__)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this is `MemoryError` or any library's `OutOfMemoryError` (torch's, without importing torch)."""
    return isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


@dataclass(frozen=True, slots=True)
class Caps:
    """What bounds a batch (`max_batch` items, `max_cost` pixels), the queue (`max_queue` items) and the wait for more
    (`max_wait_s`, counted from the arrival of the oldest item; 0 never waits)."""

    max_batch: int
    max_cost: int
    max_queue: int
    max_wait_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_cost", "max_queue"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.max_wait_s < math.inf:
            raise ValueError(f"max_wait_s must be a number of seconds from 0, not {self.max_wait_s}")


@dataclass(slots=True, eq=False)
class _Entry(Generic[In, Out]):
    """One item that waits or runs; whoever settles `future` first decides its result."""

    item: In
    cost: int
    key: Hashable
    deadline: float
    arrived: float
    future: asyncio.Future[Out]


@dataclass(slots=True)
class _Group(Generic[In, Out]):
    """The next batch of one key, oldest item first; `full` when nothing more may join."""

    entries: list[_Entry[In, Out]] = field(default_factory=list)
    cost: int = 0
    full: bool = False

    def offer(self, entry: _Entry[In, Out], max_batch: int, max_cost: int) -> None:
        """Take the entry unless that would exceed a cap; the first always goes in, so an oversized one runs alone."""
        if self.full or (self.entries and self.cost + entry.cost > max_cost):
            self.full = True
            return
        self.entries.append(entry)
        self.cost += entry.cost
        self.full = len(self.entries) >= max_batch or self.cost >= max_cost


class Batcher(Generic[In, Out]):
    """Puts single items into batches for `run`, which is blocking and is called in a thread.

    `run` must return as many outputs as inputs, in order. `cost` gives the pixels of an item. `slots` is how many
    forward passes run at once (pass one `Slots` to several batchers of one network). Without an `executor` the batcher
    has threads of its own. Belongs to the event loop of its first `submit`.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], list[Out]],
        *,
        max_batch: int,
        max_cost: int,
        cost: Callable[[In], int],
        max_queue: int,
        sink: Sink,
        model: str,
        role: str,
        max_wait_s: float = 0.0,
        slots: int | Slots = 1,
        executor: Executor | None = None,
        key: Callable[[In], Hashable] | None = None,
        out_of_memory: Callable[[BaseException], bool] = ran_out_of_memory,
        memory_hold_s: float = MEMORY_HOLD_S,
    ):
        self.caps = Caps(max_batch, max_cost, max_queue, max_wait_s)
        self._run, self._cost, self._key = run, cost, key
        self._sink, self._model, self._role = sink, model, role
        self._slots = slots if isinstance(slots, Slots) else Slots(slots)
        self._slots.attach(self._wake)
        self._own_executor = None if executor else ThreadPoolExecutor(self._slots.count, f"{model}-{role}")
        self._executor = executor or self._own_executor
        self._out_of_memory, self._memory_hold_s = out_of_memory, memory_hold_s
        self._memory_cap, self._memory_cap_until = max_cost, -math.inf
        self._waiting: dict[_Entry[In, Out], None] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._wake_up: asyncio.Handle | None = None
        self._wait_timer: asyncio.TimerHandle | None = None
        self._shown_depth = -1
        self._show_limit()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def slots(self) -> int:
        """Batches under way at once."""
        return self._slots.count

    def reconfigure(
        self,
        *,
        max_batch: int | None = None,
        max_cost: int | None = None,
        max_queue: int | None = None,
        max_wait_s: float | None = None,
    ) -> None:
        """Change caps from the next batch on; None keeps one. From any thread.

        Raises `ValueError`, and changes nothing, where a cap is not valid.
        """
        now = self.caps
        self.caps = Caps(
            max_batch=now.max_batch if max_batch is None else max_batch,
            max_cost=now.max_cost if max_cost is None else max_cost,
            max_queue=now.max_queue if max_queue is None else max_queue,
            max_wait_s=now.max_wait_s if max_wait_s is None else max_wait_s,
        )
        self._show_limit()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    async def submit(self, item: In, deadline: float = math.inf) -> Out:
        """The model's output for `item`. `deadline` is in Unix seconds.

        Raises `Overloaded` at once when the queue is full, `DeadlineExceeded` as soon as the deadline passes (an item
        still waiting then never runs), `ModelUnavailable` when closed, a `SegServeError` that the model raised for this
        item, `InternalError` (cause logged) for any other failure of it.
        """
        entry = self._admit(item, deadline)
        remaining = deadline - time.time()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(remaining, self._expire, entry) if remaining < math.inf else None
        try:
            return await entry.future
        except SegServeError:
            raise
        except Exception as error:
            logger.exception("%s %s failed on an item", self._model, self._role)
            raise InternalError from error
        finally:
            if timer is not None:
                timer.cancel()
            if entry in self._waiting:
                self._drop(entry, "client_gone")
            if entry.future.done() and not entry.future.cancelled():
                entry.future.exception()

    async def close(self) -> None:
        """Refuse new items, fail waiting ones with `ModelUnavailable`, and return when the running ones are done."""
        if self._closed:
            return
        self._closed = True
        for entry in tuple(self._waiting):
            self._drop(entry, "shutdown", self._shut_down())
        for handle in (self._wake_up, self._wait_timer):
            if handle is not None:
                handle.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._slots.detach(self._wake)
        self._show_depth()
        if self._own_executor is not None:
            self._own_executor.shutdown(wait=False)

    def _shut_down(self) -> ModelUnavailable:
        return ModelUnavailable(f"The model {self._model} is shutting down: try again.", retry_after_s=1.0)

    def _admit(self, item: In, deadline: float) -> _Entry[In, Out]:
        """Put the item at the end of the queue, or refuse it."""
        if self._closed:
            self._count_drop("shutdown")
            raise self._shut_down()
        if deadline <= time.time():
            self._count_drop("deadline")
            raise DeadlineExceeded
        if len(self._waiting) >= self.caps.max_queue:
            self._count_drop("queue_full")
            raise Overloaded(f"{self.caps.max_queue} images already wait for {self._model}.", retry_after_s=1.0)
        loop = self._loop = asyncio.get_running_loop()
        key = self._key(item) if self._key else None
        entry = _Entry[In, Out](item, max(1, self._cost(item)), key, deadline, loop.time(), loop.create_future())
        self._waiting[entry] = None
        self._wake()
        return entry

    def _wake(self) -> None:
        """Look at the queue at the end of this tick of the loop, when all that arrive in it are there."""
        if self._wake_up is None and not self._closed:
            self._wake_up = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Start batches while there are both a free slot and items ready for it."""
        self._wake_up = None
        while self._slots.free and (batch := self._drain()):
            self._slots.take()
            task = asyncio.get_running_loop().create_task(self._serve(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._show_depth()

    def _drain(self) -> list[_Entry[In, Out]]:
        """Take out the oldest batch that is full or has waited long enough; else empty, and a timer is set."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        max_cost = self.caps.max_cost if now >= self._memory_cap_until else min(self.caps.max_cost, self._memory_cap)
        groups: dict[Hashable, _Group[In, Out]] = {}
        for entry in self._waiting:
            if not entry.future.done():
                groups.setdefault(entry.key, _Group()).offer(entry, self.caps.max_batch, max_cost)
        for group in groups.values():
            if group.full or now - group.entries[0].arrived >= self.caps.max_wait_s:
                for entry in group.entries:
                    del self._waiting[entry]
                return group.entries
        if groups:
            if self._wait_timer is not None:
                self._wait_timer.cancel()
            oldest = next(iter(groups.values())).entries[0]
            self._wait_timer = loop.call_at(oldest.arrived + self.caps.max_wait_s, self._wake)
        return []

    async def _serve(self, batch: list[_Entry[In, Out]]) -> None:
        """Settle every entry of the batch, halving it where it fails, then give the slot back."""
        labels = {"model": self._model, "role": self._role}
        try:
            now = asyncio.get_running_loop().time()
            for entry in batch:
                self._sink.observe("segserve_queue_seconds", now - entry.arrived, **labels)
            parts = [batch]
            while parts:
                part = [entry for entry in parts.pop() if self._still_wanted(entry)]
                if not part:
                    continue
                outcome = await self._forward(part)
                if isinstance(outcome, list):
                    for entry, output in zip(part, outcome, strict=True):
                        if not entry.future.done():
                            entry.future.set_result(output)
                elif len(part) > 1:
                    logger.warning("%s %s failed on a batch of %d: halved", self._model, self._role, len(part))
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                elif not part[0].future.done():
                    part[0].future.set_exception(outcome)
        finally:
            for entry in batch:
                if not entry.future.done():
                    entry.future.set_exception(InternalError())
            self._slots.release()

    async def _forward(self, part: list[_Entry[In, Out]]) -> list[Out] | Exception:
        """Run the model once in a thread: as many outputs as entries, or what went wrong."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        items = [entry.item for entry in part]
        outcome = await loop.run_in_executor(self._executor, self._attempt, items)
        self._measure(len(part), loop.time() - begun)
        if isinstance(outcome, Exception) and self._out_of_memory(outcome):
            self._memory_cap = max(1, sum(entry.cost for entry in part) // 2)
            self._memory_cap_until = loop.time() + self._memory_hold_s
            if len(part) == 1:
                self._count_drop("out_of_memory")
                return Overloaded(f"{self._model} has too little memory for this image just now.", retry_after_s=5.0)
        return outcome

    def _measure(self, size: int, seconds: float) -> None:
        labels = {"model": self._model, "role": self._role}
        self._sink.observe("segserve_batch_size", size, **labels)
        self._sink.count("segserve_batch_items_total", size, **labels)
        self._sink.observe("segserve_batch_seconds", seconds, **labels)
        self._sink.count("segserve_batch_busy_seconds_total", seconds, **labels)

    def _attempt(self, items: list[In]) -> list[Out] | Exception:
        """In a thread. Errors come back as values, without the frames that would keep a failed batch in memory."""
        try:
            outputs = self._run(items)
            if len(outputs) != len(items):
                raise RuntimeError(f"{self._model} gave {len(outputs)} outputs for {len(items)} inputs")
            return list(outputs)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)
            return RuntimeError("StopIteration") if isinstance(error, StopIteration) else error  # futures refuse it

    def _still_wanted(self, entry: _Entry[In, Out]) -> bool:
        """Whether to spend a forward pass on it: nobody has settled it and its deadline lies ahead."""
        if not entry.future.done() and entry.deadline <= time.time():
            self._drop(entry, "deadline", DeadlineExceeded())
        return not entry.future.done()

    def _expire(self, entry: _Entry[In, Out]) -> None:
        """The deadline came: waiting items are dropped; the answer of a running one would be late."""
        if not entry.future.done():
            self._drop(entry, "deadline" if entry in self._waiting else "late", DeadlineExceeded())

    def _drop(self, entry: _Entry[In, Out], reason: DropReason, error: SegServeError | None = None) -> None:
        self._waiting.pop(entry, None)
        if error is not None and not entry.future.done():
            entry.future.set_exception(error)
        self._count_drop(reason)
        if self._waiting or self._shown_depth:
            self._wake()

    def _count_drop(self, reason: DropReason) -> None:
        self._sink.count("segserve_dropped_total", model=self._model, role=self._role, reason=reason)

    def _show_limit(self) -> None:
        self._sink.gauge("segserve_batch_limit", self.caps.max_batch, model=self._model, role=self._role)

    def _show_depth(self) -> None:
        """Set the gauge where it changed."""
        if (depth := len(self._waiting)) != self._shown_depth:
            self._shown_depth = depth
            self._sink.gauge("segserve_queue_depth", depth, model=self._model, role=self._role)
