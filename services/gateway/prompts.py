"""Prompts from the wire in, typed prompts out, checked against the image's size and against what the model takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from services.gateway.body import decode_base64
from services.gateway.fields import SHOWN_ERRORS, invalid, shown
from shared.errors import Detail, InvalidOption, detail
from shared.schemas.prompts import LogitsFields, PromptFields
from shared.settings import Settings
from shared.types import Float32Array, Prompt


@dataclass(frozen=True, slots=True)
class Bounds:
    """What prompts must keep to: (width, height) of the upright image in pixels, and whether the model takes text."""

    size: tuple[int, int]
    text: bool


def limit_prompts(prompts: Any, settings: Settings) -> None:
    """Refuse far too many by their number alone, before each is looked at. Raises `InvalidOption`."""
    if not isinstance(prompts, list):
        return
    if len(prompts) > settings.max_prompts:
        raise InvalidOption.of("prompts", shown(prompts), settings.max_prompts, "too many prompts in one request")
    for index, prompt in enumerate(prompts):
        points = prompt.get("points") if isinstance(prompt, dict) else None
        if isinstance(points, list) and len(points) > settings.max_points:
            name = f"prompts[{index}].points"
            raise InvalidOption.of(name, shown(points), settings.max_points, "too many points in one prompt")


def typed(prompts: Sequence[PromptFields], bounds: Bounds) -> tuple[Prompt, ...]:
    """The prompts as models take them. Raises `InvalidOption` naming each field at fault, or `Malformed` for base64."""
    found = (problem for index, prompt in enumerate(prompts) for problem in _problems(prompt, index, bounds))
    problems = list(islice(found, SHOWN_ERRORS))
    if problems:
        raise invalid(problems)
    return tuple(_typed(prompt, f"prompts[{index}]") for index, prompt in enumerate(prompts))


def _problems(prompt: PromptFields, index: int, bounds: Bounds) -> Iterator[Detail]:
    name = f"prompts[{index}]"
    if prompt.points is None and prompt.box is None and prompt.mask is None and prompt.text is None:
        yield detail(name, None, "points, box, mask or text", "a prompt needs at least one of these")
    points = prompt.points or []
    if prompt.labels is not None and len(prompt.labels) != len(points):
        yield detail(f"{name}.labels", f"{len(prompt.labels)} labels", f"{len(points)} points", "one label a point")
    if prompt.text is not None and not bounds.text:
        yield detail(f"{name}.text", prompt.text, "points, box, mask", "this model takes no text")
    if prompt.box is not None and not (prompt.box[0] < prompt.box[2] and prompt.box[1] < prompt.box[3]):
        yield detail(f"{name}.box", prompt.box, "x0 < x1 and y0 < y1", "a box is [x0, y0, x1, y1] with an area")
    for number, place, value in _outside(points, bounds.size):
        yield _beyond(f"{name}.points[{number}][{place}]", place, value, bounds.size)
    if prompt.box is not None:
        for number, place, value in _outside([prompt.box[:2], prompt.box[2:]], bounds.size):
            yield _beyond(f"{name}.box[{2 * number + place}]", place, value, bounds.size)


def _outside(points: Sequence[Sequence[float]], size: tuple[int, int]) -> Iterator[tuple[int, int, float]]:
    """(point, 0 for x or 1 for y, value) of each coordinate outside an image of (width, height)."""
    for number, point in enumerate(points):
        for place in (0, 1):
            if not 0 <= point[place] <= size[place]:
                yield number, place, point[place]


def _beyond(name: str, place: int, value: float, size: tuple[int, int]) -> Detail:
    limit = f"{'xy'[place]} from 0 to {size[place]} in an image of {size[0]}x{size[1]}"
    return detail(name, value, limit, "outside the image")


def _typed(prompt: PromptFields, name: str) -> Prompt:
    points = np.array(prompt.points or [], dtype=np.float32).reshape(-1, 2)
    labels = np.ones(len(points), dtype=np.int32) if prompt.labels is None else np.array(prompt.labels, dtype=np.int32)
    box = None if prompt.box is None else (prompt.box[0], prompt.box[1], prompt.box[2], prompt.box[3])
    mask = None if prompt.mask is None else _logits(prompt.mask, f"{name}.mask")
    return Prompt(points, labels, box, mask, prompt.text)


def _logits(fields: LogitsFields, name: str) -> Float32Array:
    """The logits as hxw float32."""
    data = decode_base64(fields.data, f"{name}.data")
    wanted = prod(fields.shape) * 2
    if len(data) != wanted:
        shape = "x".join(map(str, fields.shape))
        raise InvalidOption.of(f"{name}.data", f"{len(data)} bytes", f"{wanted} bytes", f"for {shape} float16")
    logits = np.frombuffer(data, dtype="<f2").reshape(fields.shape).astype(np.float32)
    if not np.isfinite(logits).all():
        raise InvalidOption.of(f"{name}.data", "NaN or infinity", "finite numbers", "logits must be finite")
    return logits
