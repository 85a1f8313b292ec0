"""The option `format` and the header `Accept` in, one answer format out; or an error that says how they disagree."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from shared.calls import Format
from shared.errors import InvalidOption, NotAcceptable

JSON = "application/json"
PNG = "image/png"
ZIP = "application/zip"
PICTURES: tuple[Format, ...] = ("overlay", "cutout", "blur", "replace", "recolor")
EVENTS = "text/event-stream"


@lru_cache(maxsize=64)
def answer_format(option: Format | None, accept: str, has_label_map: bool) -> Format:
    """The format of the answer. `Accept: image/png` is the bare label map, where the task has one.

    Raises `NotAcceptable` for a kind of picture that the task does not give, and `InvalidOption` where `format` says
    otherwise than an `Accept` that has no room for JSON. Other media types in `Accept` are passed over: the answer is
    what `format` says.
    """
    if "image/" not in accept.lower():
        return option or "rle"
    png, exact = _quality(accept, PNG)
    json, json_exact = _quality(accept, JSON)
    if not png and not json:
        raise NotAcceptable.of("Accept", accept, f"{JSON}, {PNG}", "pictures come as image/png only")
    if not png or json > png or (json == png and not (exact and not json_exact)):
        return option or "rle"
    if option in PICTURES or (option not in (None, "png") and json):
        return option
    if not has_label_map:
        raise NotAcceptable.of("Accept", accept, JSON, "this task has no label map: ask for format=overlay or JSON")
    if option in (None, "png"):
        return "label_map"
    raise InvalidOption.of("format", option, PNG, "disagrees with the header Accept: send one of them")


@lru_cache(maxsize=64)
def packing(accept: str) -> Literal["auto", "one", "zip"]:
    """How cut-outs come: by whichever of `application/zip` and `image/png` `accept` names and wants more."""
    archive, named = _quality(accept, ZIP)
    picture, exact = _quality(accept, PNG)
    if named and archive and archive >= (picture if exact else 0):
        return "zip"
    return "one" if exact and picture else "auto"


def wants_events(accept: str) -> bool:
    """Whether server-sent events are asked for, by name and not less than JSON."""
    events, exact = _quality(accept, EVENTS)
    return exact and events > 0 and events >= _quality(accept, JSON)[0]


def _quality(accept: str, media_type: str) -> tuple[float, bool]:
    """How much `accept` wants a media type, 0 to 1, by its most specific range; and whether that names it exactly."""
    ranges = _ranges(accept)
    for wanted in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if wanted in ranges:
            return ranges[wanted], wanted == media_type
    return 0.0, False


@lru_cache(maxsize=256)
def _ranges(accept: str) -> Mapping[str, float]:
    """Every range of the header with its quality. Callers send few different ones, and a request asks several times."""
    return dict(_range(part) for part in accept.lower().split(","))


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return name, 0.0
    return name, 1.0
