"""What pydantic finds wrong with a field in, what its sender is told out: the whole range, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import PlainValidator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from shared.schemas.wire import PATTERNS, Request

Variant = tuple[Any, tuple[Any, ...]]
"""A plain type that an annotation allows, and what bounds it there."""

_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
_KINDS = {
    "int": "an integer",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "model": "an object",
}
"""What a value should be, by how pydantic's names of errors about its type begin."""


def told(error: ErrorDetails, options: type[Request]) -> tuple[str | None, str]:
    """The limit of the field at fault (None: it has none), and the reason."""
    variants = _at(options, error["loc"])
    return ", ".join(dict.fromkeys(filter(None, map(_limit, variants)))) or None, _reason(error)


def origin_of(annotation: Any) -> Any:
    """`typing.get_origin`, whose declared type knows neither `list` nor `Literal`."""
    return get_origin(annotation)


def variants(annotation: Any, bounds: tuple[Any, ...] = ()) -> Iterator[Variant]:
    """The plain types that an annotation allows: unions, literals and `Annotated` taken apart."""
    origin = origin_of(annotation)
    if origin in (Union, UnionType):
        for each in get_args(annotation):
            yield from variants(each, bounds)
    elif origin is Annotated:
        inner, *more = get_args(annotation)
        for each in more:
            if isinstance(each, PlainValidator):  # what is sent is of another type than what is kept
                yield from variants(each.json_schema_input_type, bounds)
                return
        nested = [part for each in more for part in (each.metadata if isinstance(each, FieldInfo) else (each,))]
        yield from variants(inner, (*bounds, *nested))
    elif annotation is not NoneType:
        yield annotation, bounds


def _at(options: type[Request], location: Iterable[int | str]) -> list[Variant]:
    """What may stand at a location; nothing where the location is none of the schema's."""
    found: list[Variant] = [(options, ())]
    for step in location:
        inner: list[Variant] = []
        for plain, _ in found:
            if isinstance(step, int) and origin_of(plain) is list:
                inner += variants(get_args(plain)[0])
            elif (
                isinstance(plain, type) and issubclass(plain, Request) and (known := plain.model_fields.get(str(step)))
            ):
                inner += variants(known.annotation, tuple(known.metadata))
        found = inner
    return found


def _limit(variant: Variant) -> str:
    """The whole range of a field."""
    plain, bounds = variant
    if origin_of(plain) is Literal:
        return ", ".join(map(str, get_args(plain)))
    limits: dict[str, Any] = {}
    for each in bounds:
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern"):
            if (value := getattr(each, name, None)) is not None:
                limits[name] = value
    if "pattern" in limits:
        return PATTERNS.get(limits["pattern"], limits["pattern"])
    ranges = [f"{words} {_number(limits[name])}" for name, words in _BOUNDS if name in limits]
    return ", ".join([*ranges, *_lengths(limits, "item" if origin_of(plain) is list else "character")])


def _lengths(limits: Mapping[str, int], unit: str) -> Iterator[str]:
    least, most = limits.get("min_length"), limits.get("max_length")
    if least is not None and least == most:
        yield _count(least, unit)
        return
    if least is not None:
        yield f"at least {_count(least, unit)}"
    if most is not None:
        yield f"at most {_count(most, unit)}"


def _reason(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    for name, words in _BOUNDS:
        if name in context:
            return f"should be {words} {_number(context[name])}"
    if kind.endswith(("too_short", "too_long")):
        unit = "character" if kind.startswith("string") else "item"
        return f"should have {next(_lengths(context, unit))}, not {len(error['input'])}"
    if kind == "literal_error":
        return f"should be {context['expected'].replace(chr(39), '')}"
    if kind == "string_pattern_mismatch":
        return f"should be {PATTERNS.get(context['pattern'], context['pattern'])}"
    known = next((words for name, words in _KINDS.items() if kind.startswith(name)), None)
    if known is not None:
        return f"should be {known}"
    reason = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return reason[:1].lower() + reason[1:]


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
