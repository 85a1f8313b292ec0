"""What a Serve YAML may say of a model, and what it is told when it says something else."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.serving.args import ServiceArgs


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({}, "model"),
        ({"model": "street", "modle": "x"}, "modle"),
        ({"model": "street", "engine": "caffe"}, "engine"),
        ({"model": "street", "device": "cuda:x"}, "device"),
        ({"model": "street", "threads": -1}, "threads"),
        ({"model": "street", "tasks": ["depth"]}, "tasks"),
    ],
)
def test_a_bad_argument_is_named(args: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ServiceArgs.model_validate(args)
    assert [error["loc"][0] for error in caught.value.errors()] == [field]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"max_bach": 2}, "max_bach"),
        ({"max_wait_ms": -1}, "max_wait_ms"),
        ({"score_threshold": 2}, "score_threshold"),
        ({"max_batch": 5}, "user_config.max_batch: 5 is above args.max_batch (4)"),
        ({"max_prompts": 5}, "user_config.max_prompts: 5 is above args.max_batch (4)"),
    ],
)
def test_a_bad_user_config_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"max_b|max_w|score") as caught:
        ServiceArgs(model="street", max_batch=4).live(config)
    assert said in str(caught.value)


def test_an_absent_user_config_is_the_default_one() -> None:
    args = ServiceArgs(model="street")
    assert args.live(None) == args.live({})
