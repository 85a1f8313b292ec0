"""Runs a torch module on a CUDA GPU as recorded graphs: one for each foreseen shape and batch size.

A batch goes into pinned memory, from there to the GPU, and through the recorded pass, all on the stream of one lane;
each thread keeps a lane of its own, so that copies and postprocessing of one batch overlap the pass of another.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock, local
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.models.engines.batch_sizes import batch_sizes, filled, in_batches
from shared.models.engines.engine import Array, Arrays, OnUnforeseen, Precision, Shapes, ignore_unforeseen, shape_key
from shared.models.engines.graph import Graph
from shared.models.engines.torch_eager import TorchEngine

SETTLING = 3
"""Passes before recording: libraries choose their kernels and take their workspaces in the first ones."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """One shape's pass: memory that the host writes, memory that the pass reads and writes, and the pass."""

    staging: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    graph: torch.cuda.CUDAGraph


class Lane:
    """A stream of the GPU and what was recorded for it. One thread at a time."""

    def __init__(self, eager: TorchEngine, inputs: Mapping[str, np.dtype[Any]], device: torch.device) -> None:
        self._eager = eager
        self._dtypes = inputs
        self._device = device
        self._recordings: dict[Any, Recording] = {}
        self._copied = torch.cuda.Event()
        self.stream = torch.cuda.Stream(device)

    def record(self, shapes: Shapes) -> None:
        """Record the pass for these shapes. Raises `RuntimeError` where the module asks the host in between."""
        dtypes = {name: torch.from_numpy(np.zeros(0, dtype)).dtype for name, dtype in self._dtypes.items()}
        staging = {name: torch.zeros(shapes[name], dtype=dtype, pin_memory=True) for name, dtype in dtypes.items()}
        with torch.cuda.stream(self.stream):
            inputs = {name: tensor.to(self._device) for name, tensor in staging.items()}
            for _ in range(SETTLING):
                self._eager.forward(list(inputs.values()), cache_casts=False)
            self.stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream):
                outputs = self._eager.forward(list(inputs.values()), cache_casts=False)
        self._recordings[shape_key(shapes)] = Recording(staging, inputs, outputs, graph)

    def has(self, key: Any) -> bool:
        """Whether a pass of these shapes was recorded."""
        return key in self._recordings

    def play(self, key: Any, arrays: Arrays, batch: int) -> dict[str, Tensor]:
        """The recorded pass on `batch` items; what fills the batch up beyond them is left from an earlier one and its
        outputs are cut off. The outputs are copies, ready in the order of this lane's stream."""
        recording = self._recordings[key]
        self._copied.synchronize()  # until the last batch has left the staging memory
        for name, array in arrays.items():
            np.copyto(recording.staging[name][:batch].numpy(), array)
        with torch.inference_mode(), torch.cuda.stream(self.stream):
            for name, tensor in recording.inputs.items():
                tensor[:batch].copy_(recording.staging[name][:batch], non_blocking=True)
            self._copied.record(self.stream)
            recording.graph.replay()
            return {name: tensor[:batch].clone() for name, tensor in recording.outputs.items()}


class CudaGraphEngine:
    """A torch engine on a GPU that plays recorded passes for shapes that were warmed, and runs any other eagerly."""

    name = "torch"

    def __init__(
        self,
        eager: TorchEngine,
        graph: Graph,
        device: torch.device,
        lanes: int = 2,
        on_unforeseen: OnUnforeseen = ignore_unforeseen,
    ) -> None:
        """`lanes`: threads that run at once; one more is kept for the thread that warms."""
        self._eager = eager
        self._lanes = [Lane(eager, graph.inputs, device) for _ in range(lanes + 1)]
        self._unclaimed = list(self._lanes)
        self._mine = local()
        self._claiming = Lock()
        self._on_unforeseen = on_unforeseen

    @property
    def precision(self) -> Precision:
        """Of the eager engine."""
        return self._eager.precision

    @property
    def batch_limit(self) -> int:
        """Of the eager engine."""
        return self._eager.batch_limit

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`; floating outputs are float32."""
        return {name: tensor.numpy(force=True) for name, tensor in self.run_tensors(inputs).items()}

    def run_tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        """See `TensorEngine`. The calling thread works on its lane's stream from then on."""
        batch = len(next(iter(inputs.values())))
        size = filled(batch, self.batch_limit)
        shapes = {name: (size, *array.shape[1:]) for name, array in inputs.items()}
        lane, key = self._lane(), shape_key(shapes)
        if lane is None or not lane.has(key):
            self._on_unforeseen(shapes)
            return self._eager.run_tensors(inputs)
        torch.cuda.set_stream(lane.stream)
        return lane.play(key, inputs, batch)

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """Record each of these shapes in every batch size, for every lane; what cannot be recorded will run eagerly."""
        self._eager.warm(shapes)
        for wanted in in_batches(shapes, batch_sizes(self.batch_limit)):
            try:
                for lane in self._lanes:
                    lane.record(wanted)
            except RuntimeError as error:
                logger.warning("%s runs eagerly: it cannot be recorded (%s)", wanted, error)
                return

    def _lane(self) -> Lane | None:
        """This thread's; None where more threads came than there are lanes."""
        if not hasattr(self._mine, "lane"):
            with self._claiming:
                self._mine.lane = self._unclaimed.pop() if self._unclaimed else None
        lane: Lane | None = self._mine.lane
        return lane
