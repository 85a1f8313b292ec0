"""Many points are taken apart beside the event loop: the same prompts and the same faults, and the loop goes on."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services.gateway.prompts import OFF_LOOP_POINTS, typed, typed_aside
from shared.errors import InvalidOption
from shared.schemas.prompts import PromptFields
from shared.serving.prompts import Bounds

BOUNDS = Bounds((100, 80), False)


def prompts(count: int, points: int = OFF_LOOP_POINTS // 4) -> list[PromptFields]:
    drawn = np.random.default_rng(0).random((count, points, 2)) * (100, 80)
    return [PromptFields(points=each, labels=[1] * points) for each in drawn]


@pytest.mark.parametrize("count", [1, 16])
async def test_they_are_the_same_prompts(count: int) -> None:
    given = prompts(count)
    for one, other in zip(await typed_aside(given, BOUNDS), typed(given, BOUNDS), strict=True):
        assert np.array_equal(one.points, other.points)
        assert np.array_equal(one.labels, other.labels)


@pytest.mark.parametrize("count", [1, 16])
async def test_a_fault_is_told_alike(count: int) -> None:
    given = prompts(count)
    assert given[-1].points is not None
    given[-1].points[7] = [3.0, 80.5]
    with pytest.raises(InvalidOption) as plain:
        typed(given, BOUNDS)
    with pytest.raises(InvalidOption) as aside:
        await typed_aside(given, BOUNDS)
    assert aside.value.details == plain.value.details
    assert [each.field for each in aside.value.details] == [f"prompts[{count - 1}].points[7][1]"]


async def test_the_loop_goes_on_meanwhile() -> None:
    task = asyncio.create_task(typed_aside(prompts(256, 1024), BOUNDS))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(task.result()) == 256
    assert turns > 3  # one to begin it and one to see it done, were it on the loop
