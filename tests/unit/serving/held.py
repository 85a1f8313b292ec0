"""An executor whose work waits until the test lets it run, and a loop whose time passes when the test says so: what a
busy model and a long wait look like, without a clock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class HeldExecutor(Executor):
    """Keeps submitted work in `held`; `step` runs the oldest in the calling thread."""

    def __init__(self) -> None:
        self.held: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hold the call."""
        future: Future[T] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        return future

    def step(self) -> bool:
        """Run the oldest held call; False when there is none."""
        if not self.held:
            return False
        future, call = self.held.popleft()
        if future.set_running_or_notify_cancel():
            future.set_result(call())
        return True

    async def drain(self) -> None:
        """Run held calls, and those that follow from them, until none is left."""
        await settle()
        while self.step():
            await settle()


async def skip(seconds: float) -> None:
    """Let so much time pass at once for the running event loop: its timers that are due by then run."""
    loop = asyncio.get_running_loop()
    real = loop.time
    setattr(loop, "time", lambda: real() + seconds)  # noqa: B010  # mypy minds a method that is replaced
    await settle()


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(8):
        await asyncio.sleep(0)
