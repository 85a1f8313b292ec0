"""A batch of images through one engine: arranged, grouped by input shape, run, finished one by one.

Equal shapes share a run as far as the engine's batch limit goes; an image's shape depends on that image alone, so its
answer does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from shared.catalog.card import Preprocess
from shared.models.engines.engine import Arrays, Engine, Shapes
from shared.models.engines.graph import tensors
from shared.models.geometry import Placement, Size, canvases, place, seen, shown
from shared.models.inputs import arrange
from shared.models.normalise import PIXELS, VALID, pads
from shared.types import DenseInput, UInt8Array

Out = TypeVar("Out")
REFINING = 64
"""A dense CRF takes the time of many passes, in which its batch would wait."""
UNKNOWN = Size(256, 256)
"""The image that warms a network which takes every image in its own shape."""


@dataclass(frozen=True, slots=True)
class View:
    """One way in which an image goes through the network."""

    placement: Placement
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network said of one view: outputs by name, without batch dimension, on the engine's device."""

    view: View
    outputs: Mapping[str, Tensor]


Finish = Callable[[DenseInput, Sequence[Seen]], Out]
"""From an image and its views' outputs to its answer; several views only with test-time augmentation."""


def largest(views: Sequence[Seen]) -> tuple[int, int]:
    """The largest (height, width) at which one of these views shows the image."""
    sizes = [each.view.placement.valid for each in views]
    return max(size.height for size in sizes), max(size.width for size in sizes)


class DenseModel(Generic[Out]):
    """A `protocols.Model` of dense input on one engine. Several roles of one network share the engine."""

    def __init__(
        self, engine: Engine, preprocess: Preprocess, finish: Finish[Out], tta_scales: Sequence[float] = ()
    ) -> None:
        """`tta_scales` empty: `tta` is not offered and is answered like a plain request."""
        self.engine = engine
        self._preprocess = preprocess
        self._finish = finish
        self._tta_scales = tuple(tta_scales)

    def predict(self, batch: Sequence[DenseInput]) -> list[Out]:
        """See `Model.predict`."""
        answers: dict[int, Out] = {}
        with torch.inference_mode():
            for group in self._groups(batch):
                views = [(batch[index].pixels, view) for index, view in group]
                for (index, _), seen in zip(group, self._look(views), strict=True):
                    answers[index] = self._finish(batch[index], [seen])
            for index, item in enumerate(batch):
                if index not in answers:
                    answers[index] = self._finish(item, self._augmented(item))
        return [answers[index] for index in range(len(batch))]

    def cost(self, item: DenseInput) -> int:
        """See `Model.cost`: all views' canvases together; an image to be refined by a CRF goes alone, nearly."""
        seen = sum(math.prod(view.placement.canvas) for view in self._views(item))
        return seen * (REFINING if item.crf else 1)

    def seen(self, size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        """See `ImageModel.seen`."""
        return seen(self._preprocess, [view.placement for view in self._views_of(size, tta)])

    def shown(self, item: DenseInput) -> tuple[int, int]:
        """See `PaddedModel.shown`."""
        return shown(view.placement for view in self._views(item))

    def warm(self) -> None:
        """See `Model.warm`: the known canvases, and one black image from end to end."""
        shapes = canvases(self._preprocess)
        self.engine.warm([self._shapes(canvas) for canvas in shapes])
        height, width = shapes[0] if shapes else UNKNOWN
        self.predict([DenseInput(np.zeros((height, width, 3), dtype=np.uint8))])

    def arranged(self, batch: Sequence[DenseInput]) -> Arrays:
        """What the engine is given of images that have one canvas."""
        return self._inputs([(item.pixels, self._views(item)[0]) for item in batch])

    def _groups(self, batch: Sequence[DenseInput]) -> Iterator[list[tuple[int, View]]]:
        """Images of one view each, by canvas, no more at once than the engine wants."""
        by_canvas: dict[Size, list[tuple[int, View]]] = defaultdict(list)
        for index, item in enumerate(batch):
            views = self._views(item)
            if len(views) == 1:
                by_canvas[views[0].placement.canvas].append((index, views[0]))
        for group in by_canvas.values():
            for start in range(0, len(group), self.engine.batch_limit):
                yield group[start : start + self.engine.batch_limit]

    def _augmented(self, item: DenseInput) -> list[Seen]:
        return list(chain.from_iterable(self._look([(item.pixels, view)]) for view in self._views(item)))

    def _views(self, item: DenseInput) -> list[View]:
        return self._views_of(item.size, item.tta)

    def _views_of(self, size: tuple[int, int], tta: bool) -> list[View]:
        height, width = size
        if not (tta and self._tta_scales):
            return [View(place(self._preprocess, height, width))]
        placements = [place(self._preprocess, height, width, zoom) for zoom in self._tta_scales]
        return [View(placement, mirrored) for placement in placements for mirrored in (False, True)]

    def _look(self, views: Sequence[tuple[UInt8Array, View]]) -> list[Seen]:
        """Run views of one canvas together."""
        outputs = tensors(self.engine, self._inputs(views))
        return [
            Seen(view, {name: tensor[index] for name, tensor in outputs.items()})
            for index, (_, view) in enumerate(views)
        ]

    def _inputs(self, views: Sequence[tuple[UInt8Array, View]]) -> Arrays:
        arranged = [arrange(pixels, view.placement, self._preprocess, view.mirrored) for pixels, view in views]
        inputs: dict[str, np.ndarray] = {PIXELS: arranged[0][None] if len(arranged) == 1 else np.stack(arranged)}
        if pads(self._preprocess):
            inputs[VALID] = np.array([view.placement.valid for _, view in views], dtype=np.int64)
        return inputs

    def _shapes(self, canvas: Size) -> Shapes:
        shapes: dict[str, tuple[int, ...]] = {PIXELS: (1, *canvas, 3)}
        return shapes | {VALID: (1, 2)} if pads(self._preprocess) else shapes
