"""Requests are strict: what is not exactly a number, a flag or a known field is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from shared.schemas.options import InstanceOptions, PromptableOptions, SemanticOptions
from shared.schemas.prompts import PromptFields

FLOATS = some.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("value", ["0.5", True, math.nan, math.inf, -math.inf, -0.1, 1.1, [0.5], {}])
def test_a_fraction_is_a_finite_number_from_0_to_1(value: Any) -> None:
    with pytest.raises(ValidationError):
        SemanticOptions(min_confidence=value)


@pytest.mark.parametrize("value", ["5", 5.0, True, 0, 1001])
def test_a_count_is_a_positive_integer(value: Any) -> None:
    with pytest.raises(ValidationError):
        InstanceOptions(max_instances=value)


@given(some.lists(some.lists(FLOATS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_points_keep_their_values(points: list[list[float]]) -> None:
    assert PromptFields.model_validate({"points": points}).model_dump(exclude_unset=True) == {"points": points}


@given(some.recursive(some.none() | some.booleans() | some.integers() | some.floats() | some.text(), some.lists))
def test_no_value_is_taken_for_prompts_that_are_none(value: Any) -> None:
    with pytest.raises(ValidationError):
        PromptableOptions.model_validate({"prompts": value} if value != [] else {})
