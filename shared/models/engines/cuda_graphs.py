"""Runs a torch module on a CUDA GPU as recorded graphs: one for each foreseen shape and batch size.

A batch goes into pinned memory and to the GPU on its thread's own stream, through the recorded pass on the engine's,
and back to the thread's: copies and postprocessing of one batch overlap the pass of another, and passes follow each
other, so that all threads share one set of recordings.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock, local
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.models.engines.batch_sizes import batch_sizes, filled, in_batches
from shared.models.engines.engine import (
    Around,
    Array,
    Arrays,
    OnUnforeseen,
    Shapes,
    check_names,
    ignore_unforeseen,
    shape_key,
)
from shared.models.engines.graph import Graph
from shared.models.engines.host import on_host, torch_type
from shared.models.engines.torch_eager import TorchEngine

SETTLING = 2
"""Passes before recording: libraries choose their kernels and take their workspaces in the first; in the last, a look
of the host at the GPU, which no recording can hold, is an error."""
OF_POSTPROCESSING = -1
"""Priority of the threads' streams: their short kernels pass between those of the engine's."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """One shape's pass, and the memory that it reads and writes."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    graph: torch.cuda.CUDAGraph


class Lane:
    """A thread's stream, and its pinned memory. One thread only."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device, priority=OF_POSTPROCESSING)
        self._device = device
        self._staging: dict[str, Tensor] = {}
        self._copied = torch.cuda.Event(blocking=True)

    def upload(self, arrays: Arrays) -> dict[str, Tensor]:
        """The arrays on the GPU, ready in the order of the stream."""
        self._copied.synchronize()  # until the last batch has left the pinned memory
        with torch.cuda.stream(self.stream):
            found = {name: self._staged(name, array) for name, array in arrays.items()}
            self._copied.record(self.stream)
        return found

    def _staged(self, name: str, array: Array) -> Tensor:
        if name not in self._staging or self._staging[name].nbytes < array.nbytes:
            self._staging[name] = torch.empty(array.nbytes, dtype=torch.uint8, pin_memory=True)
        staged = self._staging[name][: array.nbytes].view(torch_type(array.dtype)).view(array.shape)
        np.copyto(staged.numpy(), array)
        return staged.to(self._device, non_blocking=True)


class CudaGraphEngine(Around):
    """A torch engine on a GPU that plays recorded passes for shapes that were warmed, and runs any other eagerly."""

    def __init__(
        self, eager: TorchEngine, graph: Graph, device: torch.device, on_unforeseen: OnUnforeseen = ignore_unforeseen
    ) -> None:
        super().__init__(eager)
        self._eager = eager
        self._graph = graph
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self.recordings: dict[Any, Recording] = {}
        self._playing = Lock()
        self._mine = local()
        self._on_unforeseen = on_unforeseen

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`; floating outputs are float32."""
        return on_host(self.run_tensors(inputs))

    def run_tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        """See `TensorEngine`. The calling thread works on a stream of its own from then on."""
        check_names(inputs, self._graph.inputs)
        batch = max(len(array) for array in inputs.values())
        size = filled(batch, self.batch_limit)
        shapes = {name: (self._graph.items(name, size), *array.shape[1:]) for name, array in inputs.items()}
        recording = self.recordings.get(shape_key(shapes))
        lane = self._lane()
        torch.cuda.set_stream(lane.stream)
        if recording is None:
            self._on_unforeseen(shapes)
            return self._eager.run_tensors(inputs)
        with torch.inference_mode():
            return self._play(recording, lane, inputs, batch)

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """Record each of these shapes in every batch size, the largest first, whose memory the others use again. What
        cannot be recorded will run eagerly."""
        self._eager.warm(shapes)
        for wanted in in_batches(shapes, batch_sizes(self.batch_limit)[::-1], self._graph.shared):
            try:
                with self._playing:
                    self.recordings[shape_key(wanted)] = self._record(wanted)
            except torch.cuda.OutOfMemoryError:
                logger.warning("%s runs eagerly: too little memory to record it", wanted)
                torch.cuda.empty_cache()
            except RuntimeError as error:
                logger.warning("%s runs eagerly: it cannot be recorded (%s)", wanted, error)
                break
        torch.cuda.empty_cache()  # what the passes before recording took; others share the GPU

    def _play(self, recording: Recording, lane: Lane, arrays: Arrays, batch: int) -> dict[str, Tensor]:
        """The recorded pass on `batch` items; what fills the batch up beyond them is left from an earlier one and its
        outputs are cut off. The outputs are copies, ready in the order of the lane's stream, which owns the memory of
        all that passes between the streams."""
        given = lane.upload(arrays)
        outputs = {name: tensor.new_empty((batch, *tensor.shape[1:])) for name, tensor in recording.outputs.items()}
        with self._playing:
            self._stream.wait_stream(lane.stream)
            with torch.cuda.stream(self._stream):
                for name, tensor in given.items():
                    recording.inputs[name][: len(tensor)].copy_(tensor)
                recording.graph.replay()
                for name, tensor in outputs.items():
                    tensor.copy_(recording.outputs[name][:batch])
            lane.stream.wait_stream(self._stream)
        return outputs

    def _record(self, shapes: Shapes) -> Recording:
        """Record the pass for these shapes. Raises `RuntimeError` where the module asks the host in between."""
        with torch.cuda.stream(self._stream):
            inputs = {
                name: torch.zeros(shapes[name], dtype=torch_type(dtype), device=self._device)
                for name, dtype in self._graph.inputs.items()
            }
            feeds = list(inputs.values())
            for turn in range(SETTLING):
                with looks_are_errors(turn == SETTLING - 1):
                    self._eager.forward(feeds, cache_casts=False)
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Other threads go on as they please: what they do is not part of the recording.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = self._eager.forward(feeds, cache_casts=False)
        return Recording(inputs, outputs, graph)

    def _lane(self) -> Lane:
        """This thread's."""
        if not hasattr(self._mine, "lane"):
            self._mine.lane = Lane(self._device)
        lane: Lane = self._mine.lane
        return lane


@contextmanager
def looks_are_errors(wanted: bool) -> Iterator[None]:
    """While the block runs, whatever makes the host wait for the GPU raises `RuntimeError`, in every thread."""
    if not wanted:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that it does not see every one of them
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
