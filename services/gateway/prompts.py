"""Prompts from the wire in, typed prompts out, checked against the image's size and against what the model takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from services.gateway.body import decode_base64
from services.gateway.fields import shown
from shared.errors import InvalidOption
from shared.schemas.prompts import LogitsFields, PointArray, PromptFields
from shared.serving.prompts import Asked, Bounds, check_prompts
from shared.settings import Settings
from shared.types import Float32Array, Prompt

OFF_LOOP_POINTS = 16_384
"""Prompts with at least so many points together are taken apart in a thread: 1 ms and more."""

_NONE: PointArray = np.zeros((0, 2))


def limit_prompts(prompts: Any, settings: Settings) -> None:
    """Refuse far too many by their number alone, before each is looked at. Raises `InvalidOption`."""
    if not isinstance(prompts, list):
        return
    if len(prompts) > settings.max_prompts:
        raise InvalidOption.of("prompts", shown(prompts), settings.max_prompts, "too many prompts in one request")
    for index, prompt in enumerate(prompts):
        points = prompt.get("points") if isinstance(prompt, dict) else None
        if isinstance(points, (list, np.ndarray)) and len(points) > settings.max_points:
            name = f"prompts[{index}].points"
            raise InvalidOption.of(name, shown(points), settings.max_points, "too many points in one prompt")


def typed(prompts: Sequence[PromptFields], bounds: Bounds) -> tuple[Prompt, ...]:
    """The prompts as models take them. Raises `InvalidOption` naming each field at fault, or `Malformed` for base64."""
    check_prompts(map(_asked, prompts), bounds)
    return tuple(_typed(prompt, f"prompts[{index}]") for index, prompt in enumerate(prompts))


async def typed_aside(prompts: Sequence[PromptFields], bounds: Bounds) -> tuple[Prompt, ...]:
    """What `typed` returns and raises, many points in a thread: others are answered meanwhile."""
    if sum(len(_points(prompt)) for prompt in prompts) < OFF_LOOP_POINTS:
        return typed(prompts, bounds)
    return await asyncio.to_thread(typed, prompts, bounds)


def _points(prompt: PromptFields) -> PointArray:
    return _NONE if prompt.points is None else prompt.points


def _asked(prompt: PromptFields) -> Asked:
    return Asked(_points(prompt), prompt.labels, prompt.box, prompt.mask is not None, prompt.text)


def _typed(prompt: PromptFields, name: str) -> Prompt:
    points = _points(prompt).astype(np.float32)
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
