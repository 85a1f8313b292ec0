"""Query, form and JSON fields in, one checked options object out; or an error that names the field, value and limit.

A field comes from one place only. Text becomes numbers and lists here, as its field's type says; JSON's own values are
taken as they are, strictly.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.gateway.body import BACKGROUND, IMAGE, OFF_LOOP_BYTES, Sent
from services.gateway.json_text import parse_json
from services.gateway.wording import origin_of, told, variants
from shared.errors import SHOWN_CHARACTERS, SHOWN_DETAILS, Detail, InvalidOption, detail
from shared.schemas.options import EffectFields, TaskOptions, UploadOptions
from shared.schemas.wire import Request

Options = TypeVar("Options", bound=Request)
Kind = Literal["text", "list", "flag", "number", "json"]

IMAGE_ID = "image_id"
IMAGE_URL = "image_url"
_BESIDE: Mapping[type[Request], tuple[str, ...]] = {
    TaskOptions: (IMAGE, IMAGE_ID, IMAGE_URL),
    EffectFields: (BACKGROUND,),
    UploadOptions: (IMAGE, IMAGE_URL),
}
"""What may be sent beside the fields of such a type."""
_HINTS = {IMAGE: "an image goes into a multipart part, the raw body or the JSON body"}


def gather(query: Iterable[tuple[str, str]], sent: Sent, options: type[Request]) -> dict[str, Any]:
    """Every field but the image itself, by name. Raises `InvalidOption` for one that was given twice."""
    gathered: dict[str, Any] = {}
    for place, pairs in (("query", query), ("form", sent.form)):
        for name, value in _grouped(pairs, options, place).items():
            _add(gathered, name, value, place)
    if sent.background is not None:
        _add(gathered, BACKGROUND, "an image", "form")
    for name, value in sent.values.items():
        if name != IMAGE:
            _add(gathered, name, value, "JSON body")
    return gathered


async def gather_aside(query: Sequence[tuple[str, str]], sent: Sent, options: type[Request]) -> dict[str, Any]:
    """What `gather` gives and raises; a form with much text is read in a thread."""
    if sum(len(text) for _, text in sent.form) < OFF_LOOP_BYTES:
        return gather(query, sent, options)
    return await asyncio.to_thread(gather, query, sent, options)


def check(options: type[Options], fields: Mapping[str, Any]) -> Options:
    """The options of these fields. Raises `InvalidOption` naming every field at fault (the first 20)."""
    try:
        return options.model_validate(fields) if fields else _untouched(options)
    except ValidationError as error:
        details = [_detail(each, options) for each in error.errors(include_url=False)[:SHOWN_DETAILS]]
        raise InvalidOption.about(details) from None


@cache
def _untouched(options: type[Options]) -> Options:
    """What most requests ask for: every default. Frozen, so one serves all."""
    return options.model_validate({})


def shown(value: object) -> str | None:
    """A value as an error shows it; a list or object by its size only, so that a large one costs nothing."""
    if value is None:
        return None
    if isinstance(value, (list, dict, np.ndarray)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 300:
        return f"an integer of {value.bit_length()} bits"
    return str(value)[:SHOWN_CHARACTERS]


def _add(gathered: dict[str, Any], name: str, value: Any, place: str) -> None:
    if name in gathered:
        raise InvalidOption.of(name[:SHOWN_CHARACTERS], shown(value), "once", f"given twice, again in the {place}")
    gathered[name] = value


def _grouped(pairs: Iterable[tuple[str, str]], options: type[Request], place: str) -> dict[str, Any]:
    """Text fields as values. A list may come as one field with commas, as a JSON list, or repeated."""
    found: dict[str, Any] = {}
    kinds = _kinds(options)
    for name, text in pairs:
        if name == IMAGE:
            raise InvalidOption.of(name, None, None, _HINTS[IMAGE])
        kind = kinds.get(name, "text")
        value = _value(name, text, kind)
        if kind == "list" and isinstance(found.get(name), list) and isinstance(value, list):
            found[name] += value
        else:
            _add(found, name, value, place)
    return found


@cache
def _kinds(options: type[Request]) -> Mapping[str, Kind]:
    """How text for each field is read. Unknown fields stay text and are refused later."""
    return {name: _kind(known.annotation) for name, known in options.model_fields.items()}


def _kind(annotation: Any) -> Kind:
    types = list(_flat(annotation))
    if str in types:
        return "text"
    if bool in types:
        return "flag"
    if list[str] in types:
        return "list"
    return "number" if int in types or float in types else "json"


def _flat(annotation: Any) -> Iterable[Any]:
    """The plain types that an annotation allows, literals as the types of their values."""
    for plain, _ in variants(annotation):
        yield from map(type, get_args(plain)) if origin_of(plain) is Literal else (plain,)


def _value(name: str, text: str, kind: Kind) -> Any:
    """Text as its field's kind of value; text that is none stays text, for the strict check to refuse."""
    if kind == "number":
        return _number(text)
    if kind == "flag":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if kind == "list" and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",")]
    return text if kind == "text" else parse_json(text, name)


def _number(text: str) -> int | float | str:
    if "_" in text or len(text) > SHOWN_CHARACTERS:
        return text
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _detail(error: ErrorDetails, options: type[Request]) -> Detail:
    name = path(error["loc"]) or "body"  # a name that is half a surrogate has no place
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown(name, error, options)
    if kind == "missing":
        return detail(name, None, "required", "is required")
    return detail(name, shown(error["input"]), *told(error, options))


def _unknown(name: str, error: ErrorDetails, options: type[Request]) -> Detail:
    """An unknown field, with the closest known one of the same object."""
    known = sorted({*_siblings(options, error["loc"])})
    close = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
    hint = _HINTS.get(name) or (f"did you mean `{close[0]}`?" if close else "")
    reason = f"unknown field{': ' if hint else ''}{hint}"
    return detail(name[:SHOWN_CHARACTERS], shown(error["input"]), ", ".join(known), reason)


def _siblings(options: type[Request], location: tuple[int | str, ...]) -> Iterable[str]:
    """Names of the fields of the object that `location` points into."""
    model = options
    for step in location[:-1]:
        known = model.model_fields.get(step) if isinstance(step, str) else None
        inner = _model_in(known.annotation) if known else None
        model = inner or model
    beside = [name for kind, names in _BESIDE.items() if issubclass(model, kind) for name in names]
    return (*model.model_fields, *beside)


def _model_in(annotation: Any) -> type[Request] | None:
    for plain in _flat(annotation):
        found = get_args(plain)[0] if origin_of(plain) is list else plain
        if isinstance(found, type) and issubclass(found, Request):
            return found
    return None


def path(location: Iterable[int | str]) -> str:
    """`("prompts", 3, "points", 0, 1)` as `prompts[3].points[0][1]`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")
