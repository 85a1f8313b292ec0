"""Tensors of the Open Inference Protocol in, a native call's image, prompts and options out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.gateway.body import Sent
from services.gateway.context import Gateway
from services.gateway.fields import shown
from services.gateway.routes import dense, promptable
from services.gateway.routes.compat.inference_models import TASKS, Served
from services.gateway.routes.compat.tensors import array, element
from services.gateway.tasks import TaskKind
from services.gateway.uploads import from_base64
from shared.errors import ImageTooLarge, InvalidOption
from shared.schemas.inference import InferInput, InferRequest
from shared.settings import Settings
from shared.types import UInt8Array

INPUTS = ("image", "point_coords", "point_labels", "boxes")
OPTIONS = frozenset(
    {"score_threshold", "min_confidence", "max_instances", "tta", "crf", "multimask", "store", "classes"}
)
"""Native options that may be parameters."""
PASSED_OVER = frozenset({"task", "binary_data_output", "priority", "timeout"})
NO_POINT = -1
"""The label of a place in `point_coords` where a prompt has fewer points than others."""

Inputs = Mapping[str, tuple[InferInput, memoryview | None]]


async def native(
    here: Gateway, served: Served, asked: InferRequest, parts: Sequence[memoryview | None]
) -> tuple[TaskKind, Sent]:
    """The task and what its own path would have been sent. Raises `InvalidOption`, `ImageTooLarge` or `Malformed`."""
    inputs: Inputs = {each.name: (each, part) for each, part in zip(asked.inputs, parts, strict=True)}
    unknown = [each.name for each in asked.inputs if each.name not in INPUTS]
    if unknown or len(inputs) < len(asked.inputs) or "image" not in inputs:
        told = unknown[0] if unknown else "image"
        raise InvalidOption.of(told, None, ", ".join(INPUTS), "inputs should be image and prompts, each once")
    prompted = len(inputs) > 1
    kind = _kind(served, asked.parameters.get("task"), prompted)
    values = {**_options(asked.parameters), "model": served.model}
    if kind is promptable.KIND:
        values["prompts"] = _prompts(inputs, here.settings)
    elif prompted:
        raise InvalidOption.of("task", kind.name, "promptable", f"the task {kind.name} takes no prompts")
    return kind, Sent(images=(await _image(*inputs["image"], here.settings),), values=values)


def _kind(served: Served, task: Any, prompted: bool) -> TaskKind:
    if task is not None and task not in TASKS:
        raise InvalidOption.of("task", shown(task), ", ".join(TASKS), "should be a task")
    task = task or ("promptable" if prompted else served.tasks[0])
    return promptable.KIND if task == "promptable" else dense.KINDS[task]


def _options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in parameters.items():
        if name not in OPTIONS | PASSED_OVER:
            raise InvalidOption.of(name[:100], shown(value), ", ".join(sorted(OPTIONS | {"task"})), "unknown parameter")
    given = {name: value for name, value in parameters.items() if name in OPTIONS}
    if isinstance(classes := given.get("classes"), str):  # the protocol's parameters are no lists
        given["classes"] = [name.strip() for name in classes.split(",")]
    return given


async def _image(sent: InferInput, part: memoryview | None, settings: Settings) -> bytes:
    """The image as it came, or pixels as a bitmap, which costs next to nothing to write and to read."""
    if sent.datatype != "UINT8":
        if sent.datatype != "BYTES":
            raise InvalidOption.of("image", sent.datatype, "BYTES, UINT8", "should be BYTES[1] or UINT8[H,W,3]")
        found = element(sent, part)
        return found if isinstance(found, bytes) else await from_base64(found, "image")
    shape = sent.shape[1:] if len(sent.shape) == 4 and sent.shape[0] == 1 else sent.shape
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise InvalidOption.of("image", sent.shape, "[H,W,3]", "pixels should be UINT8[H,W,3]")
    if max(shape[:2]) > settings.max_side or shape[0] * shape[1] > settings.max_pixels:
        raise ImageTooLarge.of(
            "image", sent.shape, f"{settings.max_pixels} pixels, {settings.max_side} a side", "too large"
        )
    return await asyncio.to_thread(lambda: _bitmap(array(sent, part, "UINT8").reshape(shape)))


def _bitmap(pixels: UInt8Array) -> bytes:
    """A BMP of HxWx3 RGB."""
    return cv2.imencode(".bmp", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def _prompts(inputs: Inputs, settings: Settings) -> list[dict[str, Any]]:
    """One native prompt for each row of the tensors that came."""
    shapes = {name: sent.shape for name, (sent, _) in inputs.items() if name != "image"}
    if not shapes:
        raise InvalidOption.of("point_coords", None, "point_coords or boxes", "the task promptable needs prompts")
    rows = {name: (shape[:1] or [0])[0] for name, shape in shapes.items()}
    for name, count in rows.items():
        if not 0 < count <= settings.max_prompts or count != next(iter(rows.values())):
            raise InvalidOption.of(
                name, shapes[name], f"[N, ...], N up to {settings.max_prompts}", "N is one prompt each"
            )
    coordinates = _sized(inputs, "point_coords", (-1, 2), "FP32", settings)
    labels = _sized(inputs, "point_labels", (-1,), "INT32", settings)
    boxes = _sized(inputs, "boxes", (4,), "FP32", settings)
    if labels is not None and (coordinates is None or labels.shape != coordinates.shape[:2]):
        raise InvalidOption.of("point_labels", [*labels.shape], "[N,P]", "should be one label a point of point_coords")
    return [
        {**_points(coordinates, labels, row), **({} if boxes is None else {"box": boxes[row].tolist()})}
        for row in range(next(iter(rows.values())))
    ]


def _points(coordinates: NDArray[Any] | None, labels: NDArray[Any] | None, row: int) -> dict[str, Any]:
    if coordinates is None:
        return {}
    places = coordinates[row]
    marks = np.ones(len(places), np.int32) if labels is None else labels[row]
    real = marks != NO_POINT
    return {"points": places[real].tolist(), "labels": marks[real].tolist()} if real.any() else {}


def _sized(inputs: Inputs, name: str, inner: tuple[int, ...], datatype: str, settings: Settings) -> NDArray[Any] | None:
    """An input as an array where it came; -1 in `inner` is any number of points. Raises `InvalidOption`."""
    if name not in inputs:
        return None
    sent, part = inputs[name]
    rest = sent.shape[1:]
    fits = len(rest) == len(inner) and all(want in (-1, side) for want, side in zip(inner, rest, strict=False))
    if not fits or (inner[0] == -1 and not 0 < rest[0] <= settings.max_points):
        wanted = ",".join(["N", *(f"P (up to {settings.max_points})" if want == -1 else str(want) for want in inner)])
        raise InvalidOption.of(name, sent.shape, f"[{wanted}]", "is of another shape")
    return array(sent, part, datatype)
