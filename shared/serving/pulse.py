"""Whether a model still answers, told by what it does: forward passes are watched, and when in doubt one is made.

A pass that succeeds is proof enough. After one that failed, the next check warms the model again through its batcher; a
pass that runs for longer than any should is a model that hangs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from shared.errors import DeadlineExceeded, Overloaded
from shared.protocols import Model
from shared.serving.batcher import Batcher

STALLED_S = 300.0
"""A forward pass that takes longer counts as hung; the slowest honest one (SAM ViT-H on one core) is shorter."""
CHECK_S = 50.0
"""How long the forward passes made by one check may wait for their turns together: Serve waits a minute for it."""


class Heartbeat:
    """An item that is no image: the model's own warm-up, queued like a request."""


HEARTBEAT: Final = Heartbeat()


class Pulse:
    """Watches every forward pass of one replica."""

    def __init__(self, stalled_s: float = STALLED_S) -> None:
        self.batchers: tuple[Batcher[Any, Any], ...] = ()
        self._stalled_s = stalled_s
        self._begun: dict[object, float] = {}
        self._failed = False

    def watched(self, model: Model[Any, Any]) -> Callable[[Sequence[Any]], list[Any]]:
        """`model.predict`, watched; a batch that holds the heartbeat warms the model instead."""

        def run(items: Sequence[Any]) -> list[Any]:
            this = object()
            self._begun[this] = time.monotonic()
            try:
                if items[0] is HEARTBEAT:
                    model.warm()
                    outputs: list[Any] = [None] * len(items)
                else:
                    outputs = model.predict(items)
            except Exception:
                self._failed = True
                raise
            finally:
                del self._begun[this]
            self._failed = False
            return outputs

        return run

    async def check(self) -> None:
        """Raises `RuntimeError` for a pass that hangs, or what the model raises when it fails again."""
        begun = min(tuple(self._begun.values()), default=None)
        if begun is not None and (running_s := time.monotonic() - begun) > self._stalled_s:
            raise RuntimeError(f"a forward pass has been running for {running_s:.0f} s")
        if self._failed:
            deadline = time.time() + CHECK_S
            for batcher in self.batchers:
                # A full queue is no illness: the passes that empty it are the proof.
                with contextlib.suppress(Overloaded, DeadlineExceeded):
                    await batcher.submit(HEARTBEAT, deadline)
