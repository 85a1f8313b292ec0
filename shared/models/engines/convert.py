"""Torch modules into OpenVINO graphs, a static shape at a time, kept on disk so that a restart converts nothing."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import openvino as ov
import torch

from shared.models.engines.engine import OnUnforeseen, Shapes, ignore_unforeseen, shape_key
from shared.models.engines.graph import Graph
from shared.models.engines.kept import kept
from shared.models.engines.openvino import OpenVinoEngine, OpenVinoOptions, Source, core

CONVERTING = Lock()
"""torch exports one module at a time in a process."""


def from_torch(
    graph: Graph,
    key: str,
    options: OpenVinoOptions | None = None,
    on_unforeseen: OnUnforeseen = ignore_unforeseen,
) -> OpenVinoEngine:
    """An OpenVINO engine over a torch module, converted for each shape when that shape is compiled.

    `key` must change whenever the module's arithmetic does (weights, preprocessing): graphs are kept under it in
    `options.cache_dir`.
    """
    chosen = options or OpenVinoOptions()
    source = _converting(graph)
    if chosen.cache_dir is not None:
        source = _kept(source, chosen.cache_dir, key)
    return OpenVinoEngine(source, dict(graph.inputs), chosen, on_unforeseen)


def convert(graph: Graph, shapes: Shapes) -> ov.Model:
    """The graph in OpenVINO with exactly these input shapes, inputs and outputs named as in `graph`."""
    with CONVERTING, torch.no_grad():
        model = ov.convert_model(torch.export.export(graph.module.eval(), graph.example(shapes)))
    for port, name in zip(model.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, graph.outputs, strict=True):
        port.get_tensor().set_names({name})
    return model


def _converting(graph: Graph) -> Source:
    def source(shapes: Shapes) -> ov.Model:
        return convert(graph, shapes)

    return source


def _kept(source: Source, folder: Path, key: str) -> Source:
    def kept_source(shapes: Shapes) -> ov.Model:
        def save(path: Path) -> None:
            ov.save_model(source(shapes), str(path), compress_to_fp16=False)

        return core().read_model(str(kept(folder, [key, shape_key(shapes)], ".xml", save)))

    return kept_source
