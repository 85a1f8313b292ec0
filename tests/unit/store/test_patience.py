"""Limits of time on a loop that is free, and on one that is busy."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.store.patience import STEPS, within

LIMIT_S = 0.1


async def test_silence_ends_at_the_limit() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with within(LIMIT_S):
            await asyncio.Event().wait()
    assert time.monotonic() - begun >= LIMIT_S


async def test_what_ends_in_time_leaves_no_timer() -> None:
    async with within(LIMIT_S):
        await asyncio.sleep(0)
    await asyncio.sleep(2 * LIMIT_S)  # a timer that went on would cancel this


async def test_a_loop_that_is_busy_does_not_use_up_the_limit() -> None:
    answer = asyncio.get_running_loop().create_future()

    async def answering() -> None:
        for _ in range(STEPS - 2):
            hold(2 * LIMIT_S)
            await asyncio.sleep(0)
        answer.set_result("late, but not too late")

    task = asyncio.create_task(answering())
    async with within(LIMIT_S):
        assert await answer == "late, but not too late"
    await task


def hold(seconds: float) -> None:
    """Keep the loop from everything else."""
    time.sleep(seconds)
