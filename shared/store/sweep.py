"""What was deleted elsewhere leaves this process's memory: images held go in, the deleted ones among them come out.

A deletion is a mark in the store, and each process that holds embeddings asks for the marks of what it holds. So no
replica need be known, reachable or alive when an image is deleted; one that computes at that moment is told at the next
look, since a mark outlives every request; and no request waits for any of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

SWEEP_S = 2.0
"""How often a process that holds embeddings looks for those of deleted images."""

ImageName = tuple[str, str]
"""Tenant, and the 64 hex digits of the image."""


class Sweep:
    """Looks every `SWEEP_S` while something is held, and only then. One event loop."""

    def __init__(
        self,
        held: Callable[[], Collection[ImageName]],
        deleted: Callable[[Collection[ImageName]], Awaitable[Iterable[ImageName]]],
        forget: Callable[[ImageName], None],
    ) -> None:
        """`held` lets go of what has expired; `deleted` never raises for a store that does not answer."""
        self._held, self._deleted, self._forget = held, deleted, forget
        self._task: asyncio.Task[None] | None = None

    def attend(self) -> None:
        """Something is held from now on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            held = self._held()
            if not held:
                return
            for image in await self._deleted(held):
                self._forget(image)
