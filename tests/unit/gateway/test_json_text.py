"""Points are read as arrays: with the values, the faults and the words of Python's own parser, wherever they stand."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from services.gateway.body import OFF_LOOP_BYTES, Sent
from services.gateway.fields import check, gather, gather_aside
from services.gateway.json_text import MAX_FIELDS, MAX_LISTS, MAX_NESTED, MAX_VALUES, parse_json
from shared.errors import SHOWN_CHARACTERS, Detail, InvalidOption, Malformed, SegServeError
from shared.schemas.options import PromptableOptions

Told = tuple[type[SegServeError], tuple[Detail, ...]]

numbers = some.integers() | some.floats() | some.integers(10**18, 10**320)
points = some.lists(some.lists(numbers | some.booleans() | some.none(), min_size=1, max_size=3) | numbers)
pairs = some.lists(some.lists(numbers, min_size=2, max_size=2), min_size=1)
names = some.sampled_from(["points", '"points', "points\\", "x", "labels", '"points": [[1, 2]]'])
values = some.recursive(
    some.none() | some.booleans() | numbers | some.text() | names | points | pairs,
    lambda inner: some.lists(inner) | some.dictionaries(names, inner | pairs),
    max_leaves=20,
)
texts = some.builds(json.dumps, values, indent=some.sampled_from([None, 1]), ensure_ascii=some.booleans())
pieces = some.sampled_from([
    '"points"', ":", " ", "[", "]", "[[1, 2]]", "[[1.5, -2e3], [0, 4]]", "[[1, NaN]]", ",", "{", "}", '"', "\\", "7",
    "true", "\ufeff", "\ud800", '"points": [[1, 2]]', '{"points": [[1, 2]]}', "[[01, 2]]", "1" * 5000, "[" * 3000,
])  # fmt: skip


def by_python(text: str, name: str) -> Any:
    """What is to be read and told, with no list cut out."""
    try:
        return json.loads(text, object_pairs_hook=partial(once_each, name))
    except RecursionError:
        raise Malformed.of(name, reason="the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Malformed.of(name, reason=f"not valid JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        raise Malformed.of(name, reason="not valid JSON") from None


def once_each(place: str, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(fields) > MAX_FIELDS:
        raise InvalidOption.of(place, f"an object of {len(fields)}", MAX_FIELDS, "an object has too many fields")
    for index, (name, _) in enumerate(fields):
        if name in dict(fields[:index]):
            raise InvalidOption.of(name[:SHOWN_CHARACTERS], None, "once", "given twice in one JSON object")
    return dict(fields)


def outcome(read: Any, *given: Any) -> Any:
    """What is read, or what is told instead. NaN is written out: it differs from itself."""
    try:
        return repr(plain(read(*given)))
    except SegServeError as error:
        return type(error), error.details


def plain(value: Any) -> Any:
    """Arrays as lists, and pairs of numbers as floats wherever an array could be."""
    if isinstance(value, dict):
        return {name: plain(as_floats(each) if name == "points" else each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def as_floats(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        assert (value.dtype, value.shape[1:]) == (np.float64, (2,))
        assert np.isfinite(value).all()
        return value.tolist()
    try:
        is_array = all(len(pair) == 2 and {*map(type, pair)} <= {int, float} for pair in value)
        return [[float(number) for number in pair] for pair in value] if is_array else value
    except (TypeError, OverflowError):
        return value


@given(text=texts | some.lists(pieces).map("".join))
@example(text='{"points": [[1, 2]], "a": [{"points": [[3, 4]]}, {"points": [[5, 6]], "points": 1}]}')
@example(text='{"a\\"points": [[1, 2]], "points": [[3, 4]]} x')
@example(text='{"points": [[1, 2]], [3, 4]}')
@example(text='{"points": [[1, 2], {}], "a": {"points": [[1, true], [false, 2]]}}')
@example(text='{"points": [[1], [2, 3, 4]]}')
@example(text='{"a": 01, "points": ' + "[" * 3000 + "]" * 3000 + "}")
def test_any_text_is_read_and_told_as_by_python(text: str) -> None:
    assert outcome(parse_json, text, "body") == outcome(by_python, text, "body")


@given(value=values, place=some.integers(0, 2000), junk=pieces)
def test_a_fault_behind_lists_is_told_where_it_is(value: Any, place: int, junk: str) -> None:
    text = json.dumps({"a": {"points": [[1.25, 2]] * 9}, "b": {"points": [[3, 4]], "c": value}})
    broken = text[:place] + junk + text[place:]
    assert outcome(parse_json, broken, "body") == outcome(by_python, broken, "body")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
def test_every_encoding_of_json_is_read(encoding: str) -> None:
    read = parse_json('{"text": "\u00fc", "points": [[1, 2.5]]}'.encode(encoding), "body")
    assert read["text"] == "\u00fc"
    assert read["points"].tolist() == [[1.0, 2.5]]


def test_pairs_of_numbers_are_arrays_and_nothing_else_is() -> None:
    text = (
        '[{"points" : [[1, 2]]}, {"points":\n[ [-0.5, 2e3] ], "x": [[1, 2]]}, {"points": [[1, 2, 3]]}, {"points": []}]'
    )
    first, second, *others = parse_json(text, "body")
    assert [first["points"].tolist(), second["points"].tolist()] == [[[1.0, 2.0]], [[-0.5, 2000.0]]]
    assert [second["x"], *others] == [[[1, 2]], {"points": [[1, 2, 3]]}, {"points": []}]


def test_more_lists_than_are_cut_out_are_read_as_well() -> None:
    read = parse_json(json.dumps([{"points": [[number, 0.5]]} for number in range(MAX_LISTS + 2)]), "body")
    assert [type(each["points"]) for each in read[-3:]] == [np.ndarray, list, list]
    assert [float(each["points"][0][0]) for each in read] == list(range(MAX_LISTS + 2))


@given(some.lists(some.fixed_dictionaries({"points": points | pairs}), min_size=1, max_size=3))
def test_a_bad_prompt_is_told_as_if_it_were_no_array(prompts: list[dict[str, Any]]) -> None:
    text = json.dumps(prompts)
    found, expected = (
        outcome(lambda read=read: check(PromptableOptions, {"prompts": read(text, "prompts")}).model_dump())
        for read in (parse_json, by_python)
    )
    assert found == expected


@pytest.mark.parametrize("fields", [{"points": [[1, 2]] * 3}, {"prompts": [{"point": 1, "points": [[1, 2]]}]}])
def test_points_where_none_belong_are_told_as_a_list(fields: dict[str, Any]) -> None:
    told = [outcome(check, PromptableOptions, read(json.dumps(fields), "body")) for read in (parse_json, by_python)]
    assert told[0] == told[1]
    assert InvalidOption in told[0]


async def test_a_long_form_is_read_beside_the_event_loop() -> None:
    drawn = np.random.default_rng(0).random((256, 512, 2)) * 1000
    text = json.dumps([{"points": each.tolist()} for each in drawn])
    assert len(text) > OFF_LOOP_BYTES
    sent, turns = Sent(form=(("prompts", text),)), 0
    task = asyncio.create_task(gather_aside([], sent, PromptableOptions))
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 3  # one to begin it and one to see it done, were it on the loop
    for found, expected, here in zip(
        task.result()["prompts"], gather([], sent, PromptableOptions)["prompts"], drawn, strict=True
    ):
        assert np.array_equal(found["points"], here)
        assert np.array_equal(found["points"], expected["points"])


@pytest.mark.parametrize(
    ("element", "number", "limit"),
    [("[]", MAX_NESTED, MAX_NESTED), ("{}", MAX_NESTED, MAX_NESTED), ("0", 2**20, MAX_VALUES)],
)
def test_far_too_many_values_are_refused_unread(element: str, number: int, limit: int) -> None:
    text = '{"other": [' + ",".join([element] * number) + "]}"
    with pytest.raises(Malformed) as caught:
        parse_json(text, "body")
    (problem,) = caught.value.details
    assert (problem.field, problem.limit) == ("body", str(limit))
    assert problem.value is not None
    assert int(problem.value.split()[0]) > limit
    lists_of_points = [{"points": [[1, 2]] * 1024, "labels": [1] * 1024}] * 256
    assert len(parse_json(json.dumps(lists_of_points), "prompts")) == 256, "as much as prompts may bring is read"
