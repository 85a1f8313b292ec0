"""A promptable model small enough to be read: embeds an image's grey values, finds the grey that a click lies on."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from shared.errors import InvalidOption
from shared.types import (
    DecoderInput,
    DecoderOutput,
    Embedding,
    EncoderInput,
    Float32Array,
    PromptMask,
    Region,
    UInt8Array,
)

GREYS = (40, 120, 200)


def stripes(height: int = 30, width: int = 60, shift: int = 0) -> UInt8Array:
    """Three upright stripes of `GREYS`, each a third of the width; `shift` is added to every grey."""
    row = np.repeat(np.array(GREYS, dtype=np.uint8) + np.uint8(shift), width // 3)
    return np.repeat(np.broadcast_to(row, (height, width))[:, :, None], 3, axis=2).copy()


def png(pixels: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class GreyEncoder:
    """One tensor: the grey values at full size."""

    def __init__(self) -> None:
        self.runs = 0

    def predict(self, batch: Sequence[EncoderInput]) -> list[Embedding]:
        self.runs += len(batch)
        return [self._embedded(item.pixels) for item in batch]

    def cost(self, item: EncoderInput) -> int:
        return item.pixels.size // 3

    def warm(self) -> None:
        """Nothing to warm."""

    def _embedded(self, pixels: UInt8Array) -> Embedding:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float16)
        return Embedding((int(grey.shape[0]), int(grey.shape[1])), (grey[None],))


class GreyDecoder:
    """Logits fall with the distance in grey from the click; three candidates are three tolerances, the middle one
    best. A mask prompt must have the embedding's own shape."""

    tolerances = ((10.0, 0.7), (100.0, 0.9), (255.0, 0.5))

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.embeddings: list[int] = []
        """Different ones, batch by batch."""
        self.go_on: threading.Event | None = None
        """Where set, batches wait for it."""

    def predict(self, batch: Sequence[DecoderInput]) -> list[DecoderOutput]:
        self.batches.append(len(batch))
        self.embeddings.append(len({id(item.embedding) for item in batch}))
        if self.go_on is not None:
            assert self.go_on.wait(60)
        return [self._decoded(item) for item in batch]

    def cost(self, item: DecoderInput) -> int:
        return item.embedding.size[0] * item.embedding.size[1]

    def warm(self) -> None:
        """Nothing to warm."""

    def _decoded(self, item: DecoderInput) -> DecoderOutput:
        grey: Float32Array = item.embedding.tensors[0][0].astype(np.float32)
        if item.prompt.mask is not None and item.prompt.mask.shape != grey.shape:
            raise InvalidOption.of("mask", str(item.prompt.mask.shape), str(grey.shape), "not this model's logits")
        x, y = self._place(item, grey.shape)
        distance = np.abs(grey - grey[y, x])
        chosen = self.tolerances if item.multimask else self.tolerances[:1]
        masks = [self._mask(tolerance - distance, score) for tolerance, score in chosen]
        return DecoderOutput(tuple(sorted(masks, key=lambda mask: -mask.predicted_iou)))

    @staticmethod
    def _place(item: DecoderInput, shape: tuple[int, ...]) -> tuple[int, int]:
        prompt = item.prompt
        if len(prompt.points):
            x, y = prompt.points[0]
        elif prompt.box is not None:
            x, y = (prompt.box[0] + prompt.box[2]) / 2, (prompt.box[1] + prompt.box[3]) / 2
        else:
            x, y = 0, 0
        return min(int(x), shape[1] - 1), min(int(y), shape[0] - 1)

    @staticmethod
    def _mask(logits: Float32Array, score: float) -> PromptMask:
        certain, possible = np.count_nonzero(logits > 1), np.count_nonzero(logits > -1)
        return PromptMask(
            Region.from_mask(logits > 0), score, certain / possible, np.clip(logits, -60000, 60000).astype(np.float16)
        )
