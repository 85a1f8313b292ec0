"""A torch module with named inputs and outputs: what the torch engine runs and the others convert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from shared.models.engines.engine import Arrays, Engine, Shapes, zeros


@runtime_checkable
class TensorEngine(Protocol):
    """An engine whose outputs can stay on its device, so that what comes after runs there too."""

    def run_tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        """As `Engine.run`, but tensors, usable by the calling thread."""
        ...


def tensors(engine: Engine, inputs: Arrays) -> Mapping[str, Tensor]:
    """The engine's outputs, left on its device where it has one."""
    if isinstance(engine, TensorEngine):
        return engine.run_tensors(inputs)
    return {name: torch.from_numpy(array) for name, array in engine.run(inputs).items()}


@dataclass(frozen=True, slots=True)
class Graph:
    """`module.forward` takes the inputs in this order, without batch-dependent Python, and returns a tuple of tensors
    in the order of `outputs`. The first dimension of every input and output is the batch, but of those in `shared`,
    of which all items use the one that there is."""

    module: nn.Module
    inputs: Mapping[str, np.dtype[Any]]
    outputs: tuple[str, ...]
    shared: frozenset[str] = frozenset()

    def items(self, name: str, batch: int) -> int:
        """The first dimension of this input in a batch of so many."""
        return 1 if name in self.shared else batch

    def example(self, shapes: Shapes) -> tuple[Tensor, ...]:
        """Inputs of these shapes, all zero, where the module's weights are: what it is traced with."""
        arrays = zeros(shapes, self.inputs)
        first = next(chain(self.module.parameters(), self.module.buffers()), torch.zeros(0))
        return tuple(torch.from_numpy(arrays[name]).to(first.device) for name in self.inputs)
