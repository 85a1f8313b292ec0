"""Prompts in pixels of the image to arrays in pixels of a SAM network's square input, grouped by what they consist of.

Coordinates are scaled and nothing more, as the reference does it: the network itself adds half a pixel of its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shared.models.engines.engine import Array
from shared.models.geometry import Placement
from shared.types import DecoderInput, Embedding, Prompt

CLICKS = 3
"""Most clicks of one prompt for which engines are warmed."""
FLOAT32, INT64 = np.dtype(np.float32), np.dtype(np.int64)


@dataclass(frozen=True, slots=True)
class Makeup:
    """What the prompts of one graph consist of; only prompts of one make-up and as many points share a batch."""

    points: bool
    box: bool
    mask: bool
    multimask: bool

    @property
    def inputs(self) -> dict[str, np.dtype[Any]]:
        """Names and types of the arrays that prompts of this make-up are."""
        inputs: dict[str, np.dtype[Any]] = {}
        if self.points:
            inputs |= {"input_points": FLOAT32, "input_labels": INT64}
        if self.box:
            inputs["input_boxes"] = FLOAT32
        if self.mask:
            inputs["input_masks"] = FLOAT32
        return inputs


def makeup_of(item: DecoderInput) -> Makeup:
    """What this prompt consists of."""
    prompt = item.prompt
    return Makeup(len(prompt.points) > 0, prompt.box is not None, prompt.mask is not None, item.multimask)


def prompt_arrays(items: Sequence[DecoderInput], makeup: Makeup, placements: Sequence[Placement]) -> dict[str, Array]:
    """n prompts of one make-up and as many points, each on an image that lies as its placement says: `input_points`
    [n,1,P,2] and `input_labels` [n,1,P], `input_boxes` [n,1,4], `input_masks` [n,1,h,w], those that the make-up has."""
    scales = np.array([placement.scale[::-1] for placement in placements])
    arrays: dict[str, Array] = {}
    if makeup.points:
        points = np.stack([item.prompt.points for item in items]) * scales[:, None]
        arrays["input_points"] = points[:, None].astype(np.float32)
        arrays["input_labels"] = np.stack([item.prompt.labels for item in items])[:, None].astype(np.int64)
    if makeup.box:
        boxes = np.array([item.prompt.box for item in items], dtype=np.float64) * np.tile(scales, 2)
        arrays["input_boxes"] = boxes[:, None].astype(np.float32)
    if makeup.mask:
        arrays["input_masks"] = np.stack([item.prompt.mask for item in items if item.prompt.mask is not None])[:, None]
    return arrays


def warming(embedding: Embedding, logits: tuple[int, int]) -> list[DecoderInput]:
    """What people send: a click, a box, both, a few clicks, and clicks that refine an earlier mask."""
    height, width = embedding.size
    box = (0.0, 0.0, width / 2, height / 2)
    mask = np.zeros(logits, dtype=np.float32)
    clicks = [Prompt(np.zeros((n, 2), dtype=np.float32), np.ones(n, dtype=np.int32)) for n in range(CLICKS + 1)]
    return [
        DecoderInput(embedding, clicks[1], multimask=True),
        DecoderInput(embedding, replace(clicks[0], box=box)),
        DecoderInput(embedding, replace(clicks[1], box=box)),
        *(DecoderInput(embedding, clicks[n]) for n in range(1, CLICKS + 1)),
        *(DecoderInput(embedding, replace(clicks[n], mask=mask)) for n in range(1, CLICKS + 1)),
    ]
