"""Pixels of images, counted as a network answers them: its throughput in megapixels, and what is lost to padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from shared.protocols import Model, PaddedModel, Sink


class CountedPixels:
    """A model that counts what it answers."""

    def __init__(self, model: PaddedModel[Any, Any], name: str, role: str, sink: Sink) -> None:
        self._model, self._name, self._role, self._sink = model, name, role, sink

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        """See `Model.predict`. Counts nothing where that raises."""
        outputs = self._model.predict(batch)
        shown = [self._model.shown(item) for item in batch]
        labels = {"model": self._name, "role": self._role}
        self._sink.count("segserve_source_pixels_total", sum(math.prod(item.size) for item in batch), **labels)
        self._sink.count("segserve_network_pixels_total", sum(seen for seen, _ in shown), **labels)
        self._sink.count("segserve_content_pixels_total", sum(content for _, content in shown), **labels)
        return outputs

    def cost(self, item: Any) -> int:
        """See `Model.cost`."""
        return self._model.cost(item)

    def warm(self) -> None:
        """See `Model.warm`; not counted."""
        self._model.warm()


def counted(model: Model[Any, Any], name: str, role: str, sink: Sink) -> Model[Any, Any]:
    """The model, its pixels counted where it says how many it sees."""
    return CountedPixels(model, name, role, sink) if isinstance(model, PaddedModel) else model
