"""JSON text in, values out: each list of points as one array, everything else as Python's own parser reads it.

Coordinates are most of what a large request says. Their lists are cut out of the text and read one after another, so
that other threads run in between, and no list is kept for each point. The parser reads what is left: it tells a name
that is given twice, and where a fault is.
"""

from __future__ import annotations

import json
import re
import secrets
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import orjson

from shared.errors import SHOWN_CHARACTERS, InvalidOption, Malformed
from shared.schemas.prompts import PointArray

MAX_FIELDS = 64
"""Most parts of a form besides its images, and most fields of a JSON object."""

MAX_LISTS = 1024
"""Most names `points` of one text whose lists are looked for: the parser reads many short ones faster."""

MAX_NESTED, MAX_VALUES = 2**16, 2**19
"""Most lists and objects, and most commas, of one text without its lists of points: the parser reads it in one go, and
nobody else is answered meanwhile. All labels that a request may bring are half as many."""

_POINTS, _NAME = "points", '"points"'
_LIST = re.compile(r"\s*+:\s*+\[")
_SECRET = secrets.token_hex(16)
"""What stands for a list begins with it: no sender knows it."""
_KINDS = {list: "a list", str: "text", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


def json_kind(value: Any) -> str:
    """What a JSON value other than an object is, in JSON's words."""
    return _KINDS[type(value)]


def parse_json(text: bytes | str, name: str) -> Any:
    """JSON, with NaN and infinities as floats, so that they are refused where they stand. Raises `Malformed`, also for
    more than `MAX_NESTED` lists or `MAX_VALUES` values besides points.

    The value of a name `points` is an Nx2 float64 array where it is a list of pairs of finite numbers.
    A name that appears twice in one object is `InvalidOption`: taking either would be a guess. So is an object of more
    than `MAX_FIELDS` names: each of half a million unknown ones would be looked at.
    """
    cut = _Cut()
    try:
        whole = text if isinstance(text, str) else text.decode(json.detect_encoding(text), "surrogatepass")
        return json.loads(_bounded(cut.out_of(whole), name), object_pairs_hook=partial(_once_each, name, cut.lists))
    except RecursionError:
        raise Malformed.of(name, reason="the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg} at character {cut.place(error.pos)}"
        raise Malformed.of(name, reason=reason) from error
    except ValueError as error:  # not UTF-8, or an integer of thousands of digits
        raise Malformed.of(name, reason="not valid JSON") from error


def _bounded(text: str, name: str) -> str:
    """The text. Raises `Malformed` where reading it would take long, without reading it."""
    nested, values = text.count("[") + text.count("{"), text.count(",")
    if nested > MAX_NESTED:
        raise Malformed.of(name, f"{nested} lists and objects", MAX_NESTED, "the JSON has too many lists")
    if values > MAX_VALUES:
        raise Malformed.of(name, f"{values} commas", MAX_VALUES, "the JSON has too many values")
    return text


@dataclass(slots=True)
class _Cut:
    """Lists of points that were cut out of a text, by what stands for each there."""

    lists: dict[str, PointArray] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    """Where what stands for each ends in the text that is left, ascending."""
    shorter: list[int] = field(default_factory=lambda: [0])
    """By how many characters the text is shorter behind the first 0, 1, 2 ... of them."""

    def out_of(self, text: str) -> str:
        """The text with a string of `lists` in the place of each list of points."""
        pieces, done = list[str](), 0
        for start, stop in _lists_of_points(text):
            points = _as_array(text[start:stop])
            if points is None:
                continue
            stand_in = f"{_SECRET}{len(self.lists)}"
            self.lists[stand_in] = points
            pieces += (text[done:start], f'"{stand_in}"')
            self.shorter.append(self.shorter[-1] + stop - start - len(pieces[-1]))
            self.ends.append(stop - self.shorter[-1])
            done = stop
        return "".join((*pieces, text[done:])) if pieces else text

    def place(self, position: int) -> int:
        """Where in the whole text a character of what is left was."""
        return position + self.shorter[bisect_right(self.ends, position)]


def _lists_of_points(text: str) -> Iterator[tuple[int, int]]:
    """Where the value of each name `points` seems to be a list without names or text in it: start and stop.

    It is a value wherever it is met: the quote before `points`, not escaped, begins a text or ends one, and where it
    ends one the text is no JSON before the list begins.
    """
    last = text.rfind("]")  # an image, however long, has no brackets
    here = text.find(_NAME, max(0, text.rfind('"', 0, max(0, text.find("["))) + 1 - len(_NAME)), last)
    for _ in range(MAX_LISTS):
        if here < 0:
            return
        after = here + len(_NAME)
        begin = None if text[here - 1 : here] == "\\" else _LIST.match(text, after)
        if begin is not None:
            start, after = begin.end() - 1, _first(text, '"', begin.end(), len(text))
            stop = text.rfind("]", start, _first(text, "}", start, after)) + 1
            if stop:
                yield start, stop
        here = text.find(_NAME, after, last)


def _first(text: str, character: str, start: int, stop: int) -> int:
    found = text.find(character, start, stop)
    return stop if found < 0 else found


def _as_array(text: str) -> PointArray | None:
    """A list as an array where it is one of pairs of finite numbers."""
    if "true" in text or "false" in text:  # they would become numbers
        return None
    try:
        points = orjson.loads(text)
        if not points or set(map(len, points)) != {2}:
            return None
        return np.fromiter(chain.from_iterable(points), np.float64, 2 * len(points)).reshape(-1, 2)
    except (ValueError, TypeError):
        return None


def _once_each(place: str, lists: Mapping[str, PointArray], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        raise InvalidOption.of(place, f"an object of {len(pairs)}", MAX_FIELDS, "an object has too many fields")
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidOption.of(name[:SHOWN_CHARACTERS], None, "once", "given twice in one JSON object")
            seen.add(name)
    if isinstance(points := found.get(_POINTS), str):
        found[_POINTS] = lists.get(points, points)
    return found
