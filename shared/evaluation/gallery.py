"""The worst and the best photos of a task, kept as they come by; at the end one picture of them, truth and answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from shared.errors import SegServeError
from shared.evaluation.dataset import EvaluationError
from shared.imaging.compose import encode_picture
from shared.imaging.decode import decode
from shared.types import UInt8Array

KEPT = 3
"""Photos of each kind."""
WIDTH = 480
"""Of one picture in the gallery, in pixels; larger ones are made smaller."""
BAR = 26
"""Height of a caption in pixels."""
MAX_PIXELS, MAX_SIDE = 2**28, 2**16
INK, PAPER = (232, 232, 236), (24, 24, 28)


def photo(path: Path) -> UInt8Array:
    """A photo as the server sees it: upright HxWx3 RGB. Raises `EvaluationError`."""
    try:
        return decode(path.read_bytes(), max_pixels=MAX_PIXELS, max_side=MAX_SIDE)
    except (OSError, SegServeError) as error:
        raise EvaluationError(f"{path} cannot be drawn: {error}") from None


@dataclass(frozen=True, slots=True)
class _Shown:
    name: str
    score: float
    truth: UInt8Array
    answer: UInt8Array


@dataclass(slots=True)
class Gallery:
    """Draws a photo only when it is among the worst or the best so far."""

    score_name: str
    _worst: list[_Shown] = field(default_factory=list)
    _best: list[_Shown] = field(default_factory=list)

    def offer(self, name: str, score: float, draw: Callable[[], tuple[UInt8Array, UInt8Array]]) -> None:
        """One photo with its score (nan: not ranked)."""
        if math.isnan(score):
            return
        is_worst = len(self._worst) < KEPT or score < self._worst[-1].score
        is_best = len(self._best) < KEPT or score > self._best[-1].score
        if not is_worst and not is_best:
            return
        truth, answer = draw()
        shown = _Shown(name, score, _fitted(truth), _fitted(answer))
        if is_worst:
            self._worst = sorted([*self._worst, shown], key=lambda each: each.score)[:KEPT]
        if is_best:
            self._best = sorted([*self._best, shown], key=lambda each: -each.score)[:KEPT]

    def picture(self) -> bytes | None:
        """A JPEG: the worst photos from above, then the best; None where none was offered."""
        rows = [_row("worst", index, each, self.score_name) for index, each in enumerate(self._worst, start=1)]
        shown = {each.name for each in self._worst}
        best = [each for each in self._best if each.name not in shown]
        rows += [_row("best", index, each, self.score_name) for index, each in enumerate(best, start=1)]
        if not rows:
            return None
        width = max(row.shape[1] for row in rows)
        padded = [
            cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=PAPER) for row in rows
        ]
        return encode_picture(np.asarray(np.vstack(padded), np.uint8), "jpeg")


def _fitted(pixels: UInt8Array) -> UInt8Array:
    height, width = pixels.shape[:2]
    if width <= WIDTH:
        return pixels
    size = (WIDTH, max(1, round(height * WIDTH / width)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _row(kind: str, index: int, shown: _Shown, score_name: str) -> UInt8Array:
    pair = np.hstack([shown.truth, shown.answer])
    bar = np.full((BAR, pair.shape[1], 3), PAPER, np.uint8)
    caption = f"{kind} {index}: {shown.name}   {score_name} {shown.score:.3f}   (left truth, right answer)"
    cv2.putText(bar, caption, (6, BAR - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
    return np.asarray(np.vstack([bar, pair]), np.uint8)
