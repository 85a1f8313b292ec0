"""A native answer in, the tensors that were asked for out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from services.gateway.routes.compat.inference_models import OUTPUTS, no_such_output
from services.gateway.routes.compat.tensors import Output
from shared.errors import InvalidOption
from shared.imaging.rle import decode
from shared.schemas.inference import InferRequest
from shared.types import VOID_16, BoolArray, JobTask, LabelArray, Task

MAX_MASK_PIXELS = 2**27
"""Most elements of `masks`: one is a byte."""
_LEFT_OUT = {"semantic": {"masks"}, "panoptic": {"masks"}}
"""Outputs that say what others say, and come only where they are named."""


async def made(name: JobTask, found: dict[str, Any], asked: InferRequest) -> list[Output]:
    """The tensors of a task's answer, in the order in which they were asked for. Raises `InvalidOption`."""
    task: Task = "promptable" if name == "everything" else name
    binary = asked.parameters.get("binary_data_output") is True
    if asked.outputs:
        wanted = {each.name: each.parameters.binary_data or binary for each in asked.outputs}
    else:
        wanted = {each: binary for each, _, _ in OUTPUTS[task] if each not in _LEFT_OUT.get(task, ())}
    types = {each: datatype for each, datatype, _ in OUTPUTS[task]}
    entries = _entries(task, found)
    size = (int(found["height"]), int(found["width"]))
    outputs = []
    for output, packed in wanted.items():
        if output not in types:
            raise InvalidOption.of(*no_such_output(output, task))
        outputs.append(Output(output, types[output], await _values(output, entries, size), packed))
    return outputs


def _entries(task: Task, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Each mask of the answer; of several candidates for one prompt the best."""
    if task == "promptable":
        masks = [result["masks"][0] for result in found["results"] if result["masks"]]
        return [{**mask, "score": mask["predicted_iou"]} for mask in masks]
    entries: list[dict[str, Any]] = found["instances" if task == "instance" else "segments"]
    return entries


async def _values(output: str, entries: Sequence[dict[str, Any]], size: tuple[int, int]) -> Any:
    if output == "scores":
        return np.array([entry["score"] for entry in entries], np.float32)
    if output == "labels":
        return [entry["label"] for entry in entries]
    if output == "label_map":
        return await _map(entries, size)
    return await _masks(entries, size)


async def _masks(entries: Sequence[dict[str, Any]], size: tuple[int, int]) -> BoolArray:
    """Nx HxW bool. Raises `InvalidOption` for more than fits."""
    shape = (len(entries), *size)
    if prod(shape) > MAX_MASK_PIXELS:
        reason = "so many masks of so large an image do not go into one answer: the native paths give run lengths"
        raise InvalidOption.of("masks", [*shape], f"{MAX_MASK_PIXELS} elements", reason)
    masks = np.empty(shape, np.bool_)
    for index, entry in enumerate(entries):
        masks[index] = await asyncio.to_thread(decode, entry["rle"])
    return masks


async def _map(entries: Sequence[dict[str, Any]], size: tuple[int, int]) -> LabelArray:
    """HxW uint16: each pixel's label id."""
    labels = np.full(size, VOID_16, np.uint16)

    def draw(entry: dict[str, Any]) -> None:
        labels[decode(entry["rle"])] = entry["label_id"]

    for entry in entries:
        await asyncio.to_thread(draw, entry)
    return labels
