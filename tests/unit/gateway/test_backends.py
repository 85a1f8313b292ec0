"""Which model answers when a request names one, or none."""

from __future__ import annotations

import pytest

from services.gateway.backends import select
from services.gateway.inprocess import InProcessDirectory
from shared.errors import ModelNotFound
from tests.unit.gateway.tiny import Brightness, Wand, info

MODELS = [
    info("b0", "semantic", default=False),
    info("street", "semantic", "panoptic"),
    info("b0", "semantic", version="10", default=False),
    info("b0", "semantic", version="9", default=False),
    info("street", "promptable"),
]


@pytest.mark.parametrize(
    ("task", "model", "expected"),
    [
        ("semantic", None, 1),
        ("semantic", "street", 1),
        ("semantic", "b0", 2),
        ("semantic", "b0@9", 3),
        ("promptable", "street", 4),
        ("promptable", None, 4),
    ],
)
def test_a_name_finds_its_model(task: str, model: str | None, expected: int) -> None:
    assert select(MODELS, task, model) == expected  # type: ignore[arg-type]  # plain text in tests


@pytest.mark.parametrize("model", ["b1", "b0@2", "street@2", "@1", ""])
def test_a_name_that_is_not_served_is_told_what_is(model: str) -> None:
    with pytest.raises(ModelNotFound) as raised:
        select(MODELS, "semantic", model)
    assert raised.value.details[0].value == model
    assert raised.value.details[0].limit == "b0, street"


def test_none_of_several_without_a_default_is_no_guess() -> None:
    with pytest.raises(ModelNotFound, match="several models"):
        select([MODELS[0], info("b1", "semantic", default=False)], "semantic", None)
    with pytest.raises(ModelNotFound, match="none serves instance"):
        select(MODELS, "instance", None)
    assert select([MODELS[0]], "semantic", None) == 0


async def test_services_of_this_process_are_a_directory() -> None:
    dense, wand = Brightness(MODELS[1]), Wand(MODELS[4])
    directory = InProcessDirectory([Brightness(MODELS[0]), dense], [wand])
    assert directory.dense("panoptic", None) is dense
    assert directory.promptable("street@1") is wand
    assert [model.name for model in directory.models()] == ["b0", "street", "street"]
    readiness = await directory.readiness()
    assert readiness.ready
    assert set(readiness.applications) == {"b0", "street"}
