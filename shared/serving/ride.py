"""Work around a forward pass that goes with it: an item that is prepared in the pass's own thread, and finished there.

Where each pass has one thread, every hand-over between threads costs two switches and cold caches, and buys nothing:
other passes fill the other cores. Where a pass has several threads, or a GPU, decoding the next image beside it does
buy something, and the work stays in the codec pool.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
Result = TypeVar("Result")

COST = 1
"""Pixels of a ride, which are not known before it is prepared: it runs in a batch of its own anyway."""


class Ride(Generic[In, Out, Result]):
    """An item that is not prepared yet. A batcher's result for it is what `finish` makes of the model's output."""

    def __init__(self, prepare: Callable[[], In], finish: Callable[[In, Out], Result]) -> None:
        self._prepare, self._finish = prepare, finish
        self.prepared_s = self.finished_s = 0.0
        """Seconds that either took."""

    def run(self, predict: Callable[[Sequence[In]], list[Out]]) -> Result:
        """In the pass's thread. Raises what each part raises."""
        begun = time.perf_counter()
        item = self._prepare()
        self.prepared_s = time.perf_counter() - begun
        (output,) = predict([item])
        begun = time.perf_counter()
        result = self._finish(item, output)
        self.finished_s = time.perf_counter() - begun
        return result


def with_rides(predict: Callable[[Sequence[Any]], list[Any]]) -> Callable[[Sequence[Any]], list[Any]]:
    """`predict` for batches that may hold rides. Where one does, its items go through the model one after another."""

    def run(items: Sequence[Any]) -> list[Any]:
        if not any(isinstance(item, Ride) for item in items):
            return predict(items)
        return [item.run(predict) if isinstance(item, Ride) else predict([item])[0] for item in items]

    return run
