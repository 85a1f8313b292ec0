"""Runs a torch module as it is, on the CPU or a CUDA GPU, in inference mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.models.engines.constants import Constants
from shared.models.engines.engine import Array, Arrays, Precision, Shapes, check_names, zeros
from shared.models.engines.graph import Graph

AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "f16": torch.float16}


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """How to run: `threads` 0 leaves torch's own number, and is set for the whole process otherwise.

    `channels_last` stores convolution weights with the channels innermost, which is faster in half precision and for
    depthwise networks. `batch_limit`: most items of one run.
    """

    device: torch.device
    precision: Precision = "f32"
    threads: int = 0
    channels_last: bool = False
    batch_limit: int = 1


class TorchEngine:
    """One module on one device. Every shape runs; none has to be foreseen."""

    name = "torch"

    def __init__(self, graph: Graph, options: TorchOptions) -> None:
        """Moves the module to the device and puts it into evaluation mode."""
        if options.threads > 0:
            torch.set_num_threads(options.threads)
        module = graph.module.to(options.device).eval().requires_grad_(False)
        self._module = module.to(memory_format=torch.channels_last) if options.channels_last else module
        self._graph = graph
        self._options = options
        self._constants = Constants(options.device) if options.device.type == "cuda" else nullcontext()

    @property
    def precision(self) -> Precision:
        """Of the arithmetic (autocast)."""
        return self._options.precision

    @property
    def batch_limit(self) -> int:
        """As the options say."""
        return self._options.batch_limit

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`; floating outputs are float32."""
        with torch.inference_mode():
            return {name: tensor.numpy(force=True) for name, tensor in self.run_tensors(inputs).items()}

    def run_tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        """As `run`, with the outputs left on the device as inference tensors: what comes after may run there too."""
        check_names(inputs, self._graph.inputs)
        return self.forward([self._to_device(inputs[name]) for name in self._graph.inputs])

    def forward(self, feeds: Sequence[Tensor], cache_casts: bool = True) -> dict[str, Tensor]:
        """Inputs on the device, in the graph's order, to outputs by name. A recorded pass must not `cache_casts` of
        the weights: the cache would be gone when it is played."""
        with self._mode(cache_casts), self._constants:
            outputs = self._module(*feeds)
            pairs = zip(self._graph.outputs, outputs, strict=True)
            return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in pairs}

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """See `Engine.warm`. On the CPU nothing depends on the shape, so that one is enough."""
        for wanted in shapes[:1] if self._options.device.type == "cpu" else shapes:
            self.run(zeros(wanted, self._graph.inputs))

    def _to_device(self, array: Array) -> Tensor:
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
        if self._options.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self._options.device, non_blocking=True)

    @contextmanager
    def _mode(self, cache_casts: bool) -> Iterator[None]:
        dtype, kind = AUTOCAST.get(self._options.precision), self._options.device.type
        with (
            torch.inference_mode(),
            torch.autocast(kind, dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=cache_casts),
        ):
            yield
