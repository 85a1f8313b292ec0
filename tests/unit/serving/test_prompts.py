"""One rule of prompts, whether they come over the wire or from another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.gateway.prompts import typed
from services.promptable.prompts import check
from shared.errors import SHOWN_DETAILS, Detail, InvalidOption
from shared.schemas.prompts import PromptFields
from shared.serving.prompts import Asked, Bounds, check_prompts
from shared.types import Prompt

BOUNDS = Bounds((60, 40), text=False)


def faults(ask: Callable[[], object]) -> tuple[str, tuple[Detail, ...]]:
    with pytest.raises(InvalidOption) as refused:
        ask()
    return refused.value.message, refused.value.details


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "a car"},
        {"points": [[60.5, 3], [1, 41]], "labels": [1, 1, 0]},
        {"box": [3, 2, 3, 41]},
        {"box": [1, 2, 3, 4], "labels": [1]},
    ],
    ids=["nothing", "text", "points", "box", "labels"],
)
def test_the_gateway_and_a_service_tell_the_same(fields: dict[str, Any]) -> None:
    sent = PromptFields.model_validate(fields)
    points, labels = (
        np.array(fields.get("points", []), np.float32).reshape(-1, 2),
        np.array(sent.labels or [], np.int32),
    )
    box = None if sent.box is None else (sent.box[0], sent.box[1], sent.box[2], sent.box[3])
    came = Prompt(points, labels, box, text=sent.text)
    assert faults(lambda: typed([sent], BOUNDS)) == faults(lambda: check([came], BOUNDS))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (Asked(points=[(0, 0), (60, 40)], box=(0, 0, 60, 40)), []),
        (Asked(mask=True), []),
        (Asked(points=[(1, 1), (-0.5, 40.5)]), ["points[1][0]", "points[1][1]"]),
        (Asked(points=[(60.5, 2)], labels=[1]), ["points[0][0]"]),
        (Asked(box=(-1, -2, 61, 42)), ["box[0]", "box[1]", "box[2]", "box[3]"]),
        (Asked(box=(5, 2, 5, 9)), ["box"]),
        (Asked(box=(2, 9, 5, 9)), ["box"]),
        (Asked(box=(9, 9, 5, 2)), ["box"]),
        (Asked(points=[(1, 1), (2, 2)], labels=[1]), ["labels"]),
        (Asked(points=[(1, 1)], labels=[2]), ["labels"]),
        (Asked(points=[(1, 1)], text="a car"), ["text"]),
        (Asked(), [""]),
    ],
)
def test_what_is_at_fault_is_named(asked: Asked, named: list[str]) -> None:
    if not named:
        check_prompts([asked], BOUNDS)
        return
    _, details = faults(lambda: check_prompts([Asked(mask=True), asked], BOUNDS))
    assert [each.field for each in details] == [f"prompts[1].{name}".rstrip(".") for name in named]


def test_a_coordinate_outside_is_told_with_its_value_and_its_range() -> None:
    _, (first, second) = faults(lambda: check_prompts([Asked(points=[(62, 41)])], BOUNDS))
    assert (first.value, first.limit) == ("62", "x from 0 to 60 in an image of 60x40")
    assert (second.value, second.limit) == ("41", "y from 0 to 40 in an image of 60x40")


def test_a_model_that_takes_text_is_given_it() -> None:
    check_prompts([Asked(text="a car")], BOUNDS._replace(text=True))


def test_of_very_many_faults_the_first_are_told() -> None:
    message, details = faults(lambda: check_prompts([Asked()] * 1000, BOUNDS))
    assert message == "prompts[0]: a prompt needs at least one of these"
    assert [each.field for each in details] == [f"prompts[{index}]" for index in range(SHOWN_DETAILS)]
