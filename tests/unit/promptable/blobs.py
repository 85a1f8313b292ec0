"""A promptable model with much to find: around a click, a spot, the connected object, and all of its grey.

Its predicted IoUs and the softness of its logits vary with the place, so that every threshold decides something.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from shared.models.postprocess.prompt_masks import candidates, stretched
from shared.types import DecoderInput, DecoderOutput, Float32Array, UInt8Array
from tests.unit.promptable.intensity import GreyEncoder


def scene(height: int, width: int, seed: int = 0) -> UInt8Array:
    """Discs, bars and specks of five greys on a plain ground, HxWx3."""
    generator = np.random.default_rng(seed)
    grey = np.full((height, width), 20, dtype=np.uint8)
    for _ in range(height * width // 900):
        value = int(generator.choice([70, 120, 170, 220]))
        x, y = (int(each) for each in generator.uniform(0, 1, 2) * (width, height))
        radius = int(generator.uniform(2, 0.15 * min(height, width)))
        if generator.uniform() < 0.5:
            cv2.circle(grey, (x, y), radius, value, -1)
        else:
            cv2.rectangle(grey, (x, y), (x + 2 * radius, y + radius // 2), value, -1)
    specks = generator.uniform(size=grey.shape) < 0.004
    grey[specks] = 20
    return np.repeat(grey[:, :, None], 3, axis=2)


class BlobEncoder(GreyEncoder):
    """The grey values."""


class BlobDecoder:
    """Three candidates a click; logits at the image's own size."""

    def __init__(self) -> None:
        self.prompts = 0

    def predict(self, batch: Sequence[DecoderInput]) -> list[DecoderOutput]:
        self.prompts += len(batch)
        return [self._decoded(item) for item in batch]

    def cost(self, item: DecoderInput) -> int:
        return item.embedding.size[0] * item.embedding.size[1]

    def warm(self) -> None:
        """Nothing to warm."""

    def _decoded(self, item: DecoderInput) -> DecoderOutput:
        grey = item.embedding.tensors[0][0].astype(np.float32)
        logits, iou = answers(grey, *item.prompt.points[0])
        frame = stretched((grey.shape[0], grey.shape[1]), item.embedding.size)
        return DecoderOutput(candidates(logits, iou, frame, item.lowest_iou, item.stability_offset))


def answers(grey: Float32Array, x: float, y: float) -> tuple[Float32Array, Float32Array]:
    """Logits [3,h,w] and predicted IoUs [3] of a click."""
    column, row = min(int(x), grey.shape[1] - 1), min(int(y), grey.shape[0] - 1)
    same = np.abs(grey - grey[row, column]) < 5
    _, parts = cv2.connectedComponents(same.astype(np.uint8), connectivity=8)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
    spot = np.hypot(rows - row, columns - column) < 4
    turn = float(grey[row, column]) / 70
    logits = np.stack([_soft(spot, 3.0), _soft(parts == parts[row, column], 2.5 + turn), _soft(same, 1.8 + turn)])
    iou = np.array([0.86 + 0.04 * np.sin(x / 9 + y / 5), 0.9 + 0.05 * np.sin(x / 7), 0.88 + 0.03 * np.cos(y / 6)])
    return logits, iou.astype(np.float32)


def _soft(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], strength: float) -> Float32Array:
    """Logits of a mask whose border is blurred."""
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    return np.asarray((blurred - 0.5) * 2 * strength, dtype=np.float32)
