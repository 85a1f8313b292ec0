"""A limit of time that does not count what this process's own event loop was busy with: a crowd of requests here must
not pass for a server that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STEPS = 5
"""A limit is as many waits one after another, each begun when the loop has come round after the one before: an answer
that lies there unread is read meanwhile."""


@asynccontextmanager
async def within(limit_s: float) -> AsyncIterator[None]:
    """`asyncio.timeout`, longer by the time that the loop was late. Raises `TimeoutError`."""
    loop = asyncio.get_running_loop()
    left = STEPS
    timer: asyncio.TimerHandle

    async with asyncio.timeout(None) as limit:

        def step() -> None:
            nonlocal left, timer
            left -= 1
            if left > 0:
                timer = loop.call_later(limit_s / STEPS, step)
            else:
                limit.reschedule(loop.time())

        timer = loop.call_later(limit_s / STEPS, step)
        try:
            yield
        finally:
            timer.cancel()
