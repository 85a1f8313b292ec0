"""Prompts on their way to a decoder: as they were sent, and refused where they lie outside the image."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from services.promptable.prompts import check
from shared.errors import InvalidOption
from shared.serving.prompts import Bounds
from shared.types import Prompt

BOUNDS = Bounds((60, 40), text=False)


def click(x: float, y: float) -> Prompt:
    return Prompt(np.array([[x, y]], dtype=np.float32), np.ones(1, dtype=np.int32))


@pytest.mark.parametrize(
    "prompt",
    [
        click(3.25, 7.0),
        Prompt(box=(1.0, 2.0, 3.0, 4.0)),
        Prompt(np.zeros((3, 2), np.float32), np.array([1, 0, 1], np.int32), mask=np.ones((4, 6), np.float32)),
        Prompt(text="a car"),
    ],
    ids=["click", "box", "mask", "text"],
)
def test_a_prompt_travels_between_processes(prompt: Prompt) -> None:
    there = pickle.loads(pickle.dumps(prompt))
    for name in ("points", "labels", "mask"):
        sent, came = getattr(prompt, name), getattr(there, name)
        assert (sent is None) == (came is None)
        if sent is not None:
            assert came.dtype == sent.dtype
            assert came.shape == sent.shape
            assert np.array_equal(came, sent)
    assert (there.box, there.text) == (prompt.box, prompt.text)


@pytest.mark.parametrize("prompt", [click(0, 0), click(60, 40), Prompt(box=(0.0, 0.0, 60.0, 40.0))])
def test_the_edges_belong_to_the_image(prompt: Prompt) -> None:
    check([prompt], BOUNDS)


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        (click(60.5, 3), ["prompts[1].points[0][0]"]),
        (click(3, -0.5), ["prompts[1].points[0][1]"]),
        (click(float("nan"), 3), ["prompts[1].points[0][0]"]),
        (Prompt(box=(1.0, 2.0, 3.0, 41.0)), ["prompts[1].box[3]"]),
        (Prompt(box=(1.0, float("nan"), 3.0, 4.0)), ["prompts[1].box", "prompts[1].box[1]"]),
        (Prompt(box=(3.0, 2.0, 3.0, 4.0)), ["prompts[1].box"]),
    ],
    ids=["right", "above", "not a number", "low", "box not a number", "no area"],
)
def test_what_lies_outside_is_named(prompt: Prompt, fields: list[str]) -> None:
    with pytest.raises(InvalidOption) as refused:
        check([click(1, 1), prompt], BOUNDS)
    assert [each.field for each in refused.value.details] == fields
