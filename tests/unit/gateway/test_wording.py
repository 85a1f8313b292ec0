"""What is wrong with a field, in our words: always the whole range, and never how a library puts it."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.body import Sent
from services.gateway.fields import check, gather
from shared.errors import InvalidOption
from shared.schemas.options import EverythingFields, InstanceOptions, PromptableOptions, SemanticOptions
from shared.schemas.wire import Request

Faults = list[tuple[str, str | None, str]]


def faults(options: type[Request], query: list[tuple[str, str]], **values: Any) -> Faults:
    """Field, limit and reason of each fault."""
    with pytest.raises(InvalidOption) as caught:
        check(options, gather(query, Sent(values=values), options))
    return [(each.field, each.limit, each.reason) for each in caught.value.details]


@pytest.mark.parametrize(
    ("options", "name", "text", "limit", "reason"),
    [
        (SemanticOptions, "min_confidence", "high", "at least 0, at most 1", "should be a number"),
        (SemanticOptions, "min_confidence", "2", "at least 0, at most 1", "should be at most 1"),
        (SemanticOptions, "simplify", "nan", "at least 0, at most 100", "should be a finite number"),
        (SemanticOptions, "blur_strength", "x", "more than 0, at most 0.2", "should be a number"),
        (SemanticOptions, "blur_strength", "0", "more than 0, at most 0.2", "should be more than 0"),
        (InstanceOptions, "max_instances", "1.5", "at least 1, at most 1000", "should be an integer"),
        (EverythingFields, "points_per_side", "many", "at least 1, at most 180", "should be an integer"),
        (EverythingFields, "crop_overlap_ratio", "1", "at least 0, less than 1", "should be less than 1"),
        (SemanticOptions, "tta", "maybe", None, "should be true or false"),
        (SemanticOptions, "color", "red", "#rrggbb, hexadecimal", "should be #rrggbb, hexadecimal"),
        (
            SemanticOptions,
            "model",
            "",
            "at least 1 character, at most 100 characters",
            "should have at least 1 character, not 0",
        ),
        (
            SemanticOptions,
            "classes",
            "[]",
            "at least 1 item, at most 1000 items",
            "should have at least 1 item, not 0",
        ),
    ],
)
def test_a_fault_names_the_whole_range(
    options: type[Request], name: str, text: str, limit: str | None, reason: str
) -> None:
    assert faults(options, [(name, text)]) == [(name, limit, reason)]


@pytest.mark.parametrize(
    ("prompt", "field", "limit", "reason"),
    [
        ({"points": [[1]]}, "points[0]", "2 items", "should have at least 2 items, not 1"),
        ({"points": [[1, 2, 3]]}, "points[0]", "2 items", "should have at most 2 items, not 3"),
        ({"points": []}, "points", "at least 1 item", "should have at least 1 item, not 0"),
        ({"points": 3}, "points", "at least 1 item", "should be a list"),
        ({"points": [["a", 2]]}, "points[0][0]", None, "should be a number"),
        ({"points": [[1, 2]], "labels": ["a"]}, "labels[0]", "at least 0, at most 1", "should be an integer"),
        ({"mask": 3}, "mask", None, "should be an object"),
        (
            {"text": "x" * 300},
            "text",
            "at least 1 character, at most 200 characters",
            "should have at most 200 characters, not 300",
        ),
        ({"mask": {"shape": [1, 1], "dtype": "f", "data": "x"}}, "mask.dtype", "float16", "should be float16"),
    ],
)
def test_so_does_one_inside_a_prompt(prompt: dict[str, Any], field: str, limit: str | None, reason: str) -> None:
    assert faults(PromptableOptions, [], prompts=[prompt]) == [(f"prompts[0].{field}", limit, reason)]


@pytest.mark.parametrize("point", [[1.5, 0.5], [0.5, -0.1]])
def test_a_grid_of_clicks_lies_on_the_image(point: list[float]) -> None:
    ((field, limit, _),) = faults(EverythingFields, [], point_grids=[[[0, 1], point, point]])
    assert (field, limit) == (f"point_grids[0][1][{0 if point[0] > 1 else 1}]", "at least 0, at most 1")


def test_a_grid_has_no_more_clicks_than_a_run() -> None:
    ((field, limit, _),) = faults(EverythingFields, [], point_grids=[[[0.5, 0.5]] * 32_769])
    assert (field, limit) == ("point_grids[0]", "at most 32768 items")


def test_a_choice_is_listed() -> None:
    ((field, limit, reason),) = faults(EverythingFields, [("format", "svg")])
    assert (field, limit) == (
        "format",
        "rle, coco, polygon, geojson, overlay, cutout, blur, replace, recolor",
    )
    assert reason == "should be rle, coco, polygon, geojson, overlay, cutout, blur, replace or recolor"
