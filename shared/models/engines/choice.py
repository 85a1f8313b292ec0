"""A graph onto the engine and device that suit the card, the options and this machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import torch

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.device import EngineError, choose
from shared.models.engines.batch_sizes import FilledEngine
from shared.models.engines.engine import Engine, counted, parse_precision
from shared.models.engines.foreseen import ForeseenEngine
from shared.models.engines.graph import Graph
from shared.models.engines.torch_eager import TorchEngine, TorchOptions
from shared.types import EngineName

CPU_BATCH = 1
"""Images of one run in torch on a CPU: more of them take proportionally longer, and the first waits for the last."""


def engine_for(graph: Graph, card: Card, options: LoadOptions, weights_sha256: str, part: str = "") -> Engine:
    """The engine that runs this graph. `part` tells several graphs of one card apart. Raises `EngineError`."""
    name, device = choose(card, options)
    if options.precision == "int8":
        raise EngineError(f"card {card.name}: precision int8 needs a quantised graph, and this card names none")
    if name == "torch":
        return _eager(graph, options, device)
    key = _key(card, weights_sha256, part)
    if name == "openvino":
        return _openvino(graph, key, options)
    # The other engines take minutes to compile a shape: one that was not foreseen runs eagerly, and is counted once.
    eager = _eager(graph, replace(options, precision="f32", on_unforeseen_shape=None), device)
    engine = ForeseenEngine(_compiled(name, device, graph, key, options), eager, counted(options.on_unforeseen_shape))
    return engine if device == "cpu" else FilledEngine(engine, graph.shared)


def _eager(graph: Graph, options: LoadOptions, device: str) -> Engine:
    precision = parse_precision(options.precision)
    chosen = TorchOptions(
        torch.device(device),
        precision,
        options.threads,
        channels_last=precision != "f32" or device != "cpu",
        batch_limit=CPU_BATCH if device == "cpu" else options.max_batch,
    )
    engine = TorchEngine(graph, chosen)
    if device == "cpu":
        return engine
    if precision == "f32":
        # Else convolutions round their inputs to TF32.
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    from shared.models.engines.cuda_graphs import CudaGraphEngine

    return CudaGraphEngine(engine, graph, torch.device(device), counted(options.on_unforeseen_shape))


def _openvino(graph: Graph, key: str, options: LoadOptions) -> Engine:
    from shared.models.engines.convert import from_torch
    from shared.models.engines.openvino import OpenVinoOptions

    return from_torch(graph, key, OpenVinoOptions.of(options), counted(options.on_unforeseen_shape))


def _compiled(name: EngineName, device: str, graph: Graph, key: str, options: LoadOptions) -> Engine:
    precision = parse_precision(options.precision)
    if name == "compile":
        from shared.models.engines.inductor import InductorOptions, inductor_engine

        return inductor_engine(graph, key, InductorOptions(precision, options.threads, options.cache_dir))
    from shared.models.engines.onnx_runtime import OnnxOptions, onnx_engine

    limit = CPU_BATCH if device == "cpu" else options.max_batch
    return onnx_engine(graph, key, OnnxOptions(precision, options.threads, device, options.cache_dir, limit))


def _key(card: Card, weights_sha256: str, part: str) -> str:
    facts = [weights_sha256, card.preprocess.model_dump(mode="json"), card.network, card.extras, card.loader, part]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
