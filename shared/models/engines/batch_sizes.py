"""A batch of any size in, one of few sizes to an engine that compiles each: filled up, run, cut back.

Sizes are the powers of two up to the limit, so that at most half of a run is filling, and on average a quarter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.models.engines.engine import Around, Array, Arrays, Engine, Shapes


def batch_sizes(limit: int) -> tuple[int, ...]:
    """1, 2, 4 ... and `limit` itself."""
    return (*(1 << power for power in range((limit - 1).bit_length())), limit)


def filled(batch: int, limit: int) -> int:
    """The smallest of `batch_sizes` that holds `batch` items. Raises `ValueError` for more than `limit`."""
    if not 1 <= batch <= limit:
        raise ValueError(f"a batch of {batch} is given, the engine takes 1 to {limit}")
    return next(size for size in batch_sizes(limit) if size >= batch)


def in_batches(shapes: Sequence[Shapes], sizes: Sequence[int], shared: frozenset[str] = frozenset()) -> list[Shapes]:
    """Each of these shapes with each of these numbers of items, in the order of `sizes`; inputs that are `shared` keep
    theirs."""
    return [
        {name: shape if name in shared else (size, *shape[1:]) for name, shape in wanted.items()}
        for size in sizes
        for wanted in shapes
    ]


class FilledEngine(Around):
    """An engine whose batches have one of `batch_sizes`; the items that fill one up repeat its last. Inputs that are
    `shared` by all items stay as they are."""

    def __init__(self, within: Engine, shared: frozenset[str] = frozenset()) -> None:
        super().__init__(within)
        self._shared = shared

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`."""
        batch = max(len(each) for each in inputs.values())
        missing = filled(batch, self.batch_limit) - batch
        if not missing:
            return self._within.run(inputs)
        whole = {
            name: each if name in self._shared else np.concatenate([each, np.repeat(each[-1:], missing, 0)])
            for name, each in inputs.items()
        }
        return {name: output[:batch] for name, output in self._within.run(whole).items()}

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """Each of these shapes in every batch size."""
        self._within.warm(in_batches(shapes, batch_sizes(self.batch_limit), self._shared))
