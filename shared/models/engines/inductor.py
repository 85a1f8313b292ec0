"""Torch modules compiled by inductor, a static shape at a time, into packages on disk: a restart loads, nothing more.

Ahead of time (`torch._inductor.aoti_compile_and_package`), so that no shape is ever compiled while a request waits.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.models.engines.engine import Array, Precision, Shapes, shape_key
from shared.models.engines.graph import Graph
from shared.models.engines.kept import kept
from shared.models.engines.static import Program, StaticEngine
from shared.models.engines.torch_eager import AUTOCAST

CONFIG: Mapping[str, Any] = {"freezing": True, "cpp.dynamic_threads": True}
"""Weights are constants, laid out once as the kernels want them; a package runs on as many threads as torch has."""


@dataclass(frozen=True, slots=True)
class InductorOptions:
    """How to compile: `threads` 0 leaves torch's own number, and is set for the whole process otherwise; no
    `cache_dir`, nothing is kept."""

    precision: Precision = "f32"
    threads: int = 0
    cache_dir: Path | None = None


class InPrecision(nn.Module):
    """A module under autocast on the CPU; floating outputs are float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The module's own inputs to its own outputs, of the same shapes."""
        with torch.autocast("cpu", dtype=self.dtype):
            outputs = self.module(*inputs)
        return tuple(each.float() if each.is_floating_point() else each for each in outputs)


def inductor_engine(graph: Graph, key: str, options: InductorOptions) -> StaticEngine:
    """An engine over a torch module, compiled for each shape when that shape is warmed (a minute for a small network,
    and a C++ compiler is needed). `key` must change whenever the module's arithmetic does.

    Raises `RuntimeError` where there is no compiler.
    """
    if shutil.which("g++") is None:
        raise RuntimeError("inductor needs a C++ compiler, and g++ is not installed here")
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    facts = [key, options.precision, dict(CONFIG), torch.backends.cpu.get_cpu_capability()]

    def compile_for(shapes: Shapes) -> Program:
        path = kept(
            options.cache_dir,
            [*facts, shape_key(shapes)],
            ".pt2",
            lambda part: compile_to(graph, shapes, options.precision, part),
        )
        package = torch._inductor.aoti_load_package(str(path))

        def program(feeds: Mapping[str, Array]) -> dict[str, Array]:
            with torch.inference_mode():
                outputs = package(*(torch.from_numpy(feeds[name]) for name in graph.inputs))
            return {name: tensor.numpy() for name, tensor in zip(graph.outputs, outputs, strict=True)}

        return program

    return StaticEngine("compile", compile_for, graph.inputs, options.precision)


def compile_to(graph: Graph, shapes: Shapes, precision: Precision, path: Path) -> None:
    """Write the package for exactly these input shapes to `path` (.pt2)."""
    dtype = AUTOCAST.get(precision)
    module = graph.module.eval() if dtype is None else InPrecision(graph.module.eval(), dtype)
    with torch.no_grad():
        program = torch.export.export(module, graph.example(shapes))
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=dict(CONFIG))
