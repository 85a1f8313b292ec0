"""Torch modules into ONNX graphs, a static shape at a time, run by ONNX Runtime on the CPU, or by TensorRT in it.

Graphs and TensorRT's compiled engines are kept on disk, so that a restart exports and compiles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch

from shared.models.engines.engine import Array, Precision, Shapes, shape_key
from shared.models.engines.graph import Graph
from shared.models.engines.kept import kept
from shared.models.engines.static import Program, StaticEngine

Provider = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How to run: `threads` 0 leaves it to ONNX Runtime; `device` "cpu", or "cuda:N" for TensorRT, which alone computes
    in less than f32; no `cache_dir`, nothing is kept."""

    precision: Precision = "f32"
    threads: int = 0
    device: str = "cpu"
    cache_dir: Path | None = None
    batch_limit: int = 1

    @property
    def providers(self) -> list[Provider]:
        """What runs the graph, best first; nodes that TensorRT does not know run in CUDA."""
        if self.device == "cpu":
            return [("CPUExecutionProvider", {})]
        index = int(self.device.partition(":")[2] or 0)
        tensorrt = {
            "device_id": index,
            "trt_fp16_enable": self.precision == "f16",
            "trt_bf16_enable": self.precision == "bf16",
            "trt_engine_cache_enable": self.cache_dir is not None,
            "trt_engine_cache_path": str(self.cache_dir or ""),
        }
        return [("TensorrtExecutionProvider", tensorrt), ("CUDAExecutionProvider", {"device_id": index})]

    def session(self) -> ort.SessionOptions:
        """ONNX Runtime's own form. Threads sleep between passes instead of spinning: neighbours need the cores."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


def onnx_engine(graph: Graph, key: str, options: OnnxOptions) -> StaticEngine:
    """An engine over a torch module, exported for each shape when that shape is compiled.

    `key` must change whenever the module's arithmetic does. Raises `RuntimeError` when ONNX Runtime was built without
    the provider that the options ask for.
    """
    missing = {name for name, _ in options.providers} - set(ort.get_available_providers())
    if missing:
        raise RuntimeError(f"this ONNX Runtime lacks {', '.join(sorted(missing))}: install onnxruntime-gpu")

    def compile_for(shapes: Shapes) -> Program:
        path = kept(options.cache_dir, [key, shape_key(shapes)], ".onnx", lambda part: export(graph, shapes, part))
        session = ort.InferenceSession(str(path), options.session(), options.providers)

        def program(feeds: Mapping[str, Array]) -> dict[str, Array]:
            return dict(zip(graph.outputs, session.run(list(graph.outputs), dict(feeds)), strict=True))

        return program

    name = "onnxruntime" if options.device == "cpu" else "tensorrt"
    return StaticEngine(name, compile_for, graph.inputs, options.precision, options.batch_limit)


def export(graph: Graph, shapes: Shapes, path: Path) -> None:
    """Write the graph as ONNX with exactly these input shapes, inputs and outputs named as in `graph`."""
    with torch.no_grad():
        torch.onnx.export(
            graph.module.eval(),
            graph.example(shapes),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
