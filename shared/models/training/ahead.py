"""A function that draws batches in, the batches out: on a GPU drawn ahead, on a stream and a thread of their own, so
that drawing and training overlap.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

Drawn = TypeVar("Drawn")

WAIT_S = 0.5
"""Seconds after which the thread looks whether it should end."""


class Ahead(Generic[Drawn]):
    """Calls `draw` when asked on a CPU; on a GPU keeps `depth` of its answers (tuples of tensors, nested) ready."""

    def __init__(self, draw: Callable[[], Drawn], device: torch.device, depth: int = 2) -> None:
        self._draw, self._device = draw, device
        self._ready: queue.Queue[tuple[Drawn, torch.cuda.Event] | BaseException] = queue.Queue(depth)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def next(self) -> Drawn:
        """The next batch; raises what drawing it raised."""
        if self._device.type != "cuda":
            return self._draw()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_drawing, name="ahead", daemon=True)
            self._thread.start()
        found = self._ready.get()
        if isinstance(found, BaseException):
            raise found
        drawn, done = found
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(done)
        for tensor in tensors(drawn):
            tensor.record_stream(stream)
        return drawn

    def close(self) -> None:
        """End the thread, if there is one."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_drawing(self) -> None:
        stream = torch.cuda.Stream(self._device)
        while not self._ended.is_set():
            try:
                with torch.cuda.stream(stream):
                    drawn = self._draw()
                self._offer((drawn, stream.record_event()))
            except BaseException as problem:
                self._offer(problem)
                return

    def _offer(self, found: tuple[Drawn, torch.cuda.Event] | BaseException) -> None:
        while not self._ended.is_set():
            try:
                self._ready.put(found, timeout=WAIT_S)
            except queue.Full:
                continue
            return


def tensors(found: object) -> Iterator[Tensor]:
    """The tensors in nested tuples."""
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, tuple):
        for each in found:
            yield from tensors(each)
