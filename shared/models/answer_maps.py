"""Any task's answer to one image as a map of labels, pixel by pixel, so that answers of two engines can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.protocols import Model
from shared.types import (
    VOID_16,
    DecoderInput,
    DenseInput,
    EncoderInput,
    InstanceOutput,
    PanopticOutput,
    Prompt,
    Role,
    Task,
    UInt8Array,
)

Answer = Callable[[UInt8Array], NDArray[Any]]
"""An image's pixels to its label map."""
CLICKS = 9
"""Clicks on an image in a square grid: a promptable model's answer is one mask for each."""


def semantic(roles: Mapping[Role, Model[Any, Any]]) -> Answer:
    """The label map itself."""
    model = roles["semantic"]
    return lambda pixels: np.asarray(model.predict([DenseInput(pixels)])[0].labels)


def instance(roles: Mapping[Role, Model[Any, Any]]) -> Answer:
    """Objects painted with their class, the best on top."""
    model = roles["instance"]

    def answer(pixels: UInt8Array) -> NDArray[Any]:
        found: InstanceOutput = model.predict([DenseInput(pixels)])[0]
        painted = np.full(found.size, VOID_16, dtype=np.uint16)
        for each in reversed(found.instances):
            x0, y0, x1, y1 = each.region.box
            painted[y0:y1, x0:x1][each.region.bits] = each.label_id
        return painted

    return answer


def panoptic(roles: Mapping[Role, Model[Any, Any]]) -> Answer:
    """Segments painted with their class."""
    model = roles["panoptic"]

    def answer(pixels: UInt8Array) -> NDArray[Any]:
        found: PanopticOutput = model.predict([DenseInput(pixels)])[0]
        table = np.full(max((each.id for each in found.segments), default=0) + 1, VOID_16, dtype=np.uint16)
        for each in found.segments:
            table[each.id] = each.label_id
        return np.asarray(table[found.ids])

    return answer


def promptable(roles: Mapping[Role, Model[Any, Any]]) -> Answer:
    """The best mask under each of `CLICKS` clicks: [clicks, H, W] bool."""
    encoder, decoder = roles["encoder"], roles["decoder"]
    side = round(CLICKS**0.5)

    def answer(pixels: UInt8Array) -> NDArray[Any]:
        (embedding,) = encoder.predict([EncoderInput(pixels)])
        height, width = pixels.shape[:2]
        masks = []
        for cell in range(CLICKS):
            row, column = divmod(cell, side)
            point = [[(column + 0.5) * width / side, (row + 0.5) * height / side]]
            prompt = Prompt(np.array(point, dtype=np.float32), np.ones(1, dtype=np.int32))
            (output,) = decoder.predict([DecoderInput(embedding, prompt)])
            masks.append(output.masks[0].region.full())
        return np.stack(masks)

    return answer


MAPS: Mapping[Task, Callable[[Mapping[Role, Model[Any, Any]]], Answer]] = {
    "semantic": semantic,
    "instance": instance,
    "panoptic": panoptic,
    "promptable": promptable,
}
