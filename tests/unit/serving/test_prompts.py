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
    points, labels = np.array(sent.points or [], np.float32).reshape(-1, 2), np.array(sent.labels or [], np.int32)
    box = None if sent.box is None else (sent.box[0], sent.box[1], sent.box[2], sent.box[3])
    came = Prompt(points, labels, box, text=sent.text)
    assert faults(lambda: typed([sent], BOUNDS)) == faults(lambda: check([came], BOUNDS))


def test_of_very_many_faults_the_first_are_told() -> None:
    message, details = faults(lambda: check_prompts([Asked()] * 1000, BOUNDS))
    assert message == "prompts[0]: a prompt needs at least one of these"
    assert [each.field for each in details] == [f"prompts[{index}]" for index in range(SHOWN_DETAILS)]
