"""Compiled where the shape was foreseen, eager for any other: nobody waits seconds for a shape to be compiled."""

from __future__ import annotations

from collections.abc import Sequence

from shared.models.engines.engine import (
    Around,
    Array,
    Arrays,
    Engine,
    OnUnforeseen,
    ShapeKey,
    Shapes,
    ignore_unforeseen,
    shape_key,
    shapes_of,
)


class ForeseenEngine(Around):
    """Two engines of one network. Shapes that were warmed go to `compiled`, all others to `eager`, and are reported."""

    def __init__(self, compiled: Engine, eager: Engine, on_unforeseen: OnUnforeseen = ignore_unforeseen) -> None:
        super().__init__(compiled)
        self._eager = eager
        self._on_unforeseen = on_unforeseen
        self._foreseen: set[ShapeKey] = set()

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`."""
        shapes = shapes_of(inputs)
        if shape_key(shapes) in self._foreseen:
            return self._within.run(inputs)
        self._on_unforeseen(shapes)
        return self._eager.run(inputs)

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """See `Engine.warm`."""
        self._within.warm(shapes)
        self._foreseen |= {shape_key(each) for each in shapes}
