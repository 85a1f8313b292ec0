"""Engines: the same network gives the same answer in each; shapes are compiled once, kept, and counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from shared.models.engines import convert
from shared.models.engines.convert import from_torch
from shared.models.engines.engine import Engine, Shapes, parse_precision
from shared.models.engines.graph import Graph
from shared.models.engines.onnx_runtime import OnnxOptions, onnx_engine
from shared.models.engines.openvino import UNFORESEEN_KEPT, OpenVinoEngine, OpenVinoOptions, from_ir
from shared.models.engines.torch_eager import TorchEngine, TorchOptions
from tests.unit.models.small import CPU, arrays, shapes, small_graph

ROOT = Path(__file__).parents[3]


@pytest.fixture
def graph() -> Graph:
    return small_graph()


def test_torch_is_the_module_itself(graph: Graph) -> None:
    engine = TorchEngine(graph, TorchOptions(CPU))
    inputs = arrays(batch=3)
    outputs = engine.run(inputs)
    with torch.no_grad():
        logits, labels = graph.module(torch.from_numpy(inputs["pixels"]), torch.from_numpy(inputs["bias"]))
    assert np.array_equal(outputs["logits"], logits.numpy())
    assert np.array_equal(outputs["labels"], labels.numpy())
    assert outputs["labels"].dtype == np.int64


MAKERS: dict[str, Callable[[Graph], Engine]] = {
    "openvino": lambda graph: from_torch(graph, "small"),
    "onnxruntime": lambda graph: onnx_engine(graph, "small", OnnxOptions(threads=1)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_others_agree_with_torch(graph: Graph, make: Callable[[Graph], Engine]) -> None:
    reference, engine = TorchEngine(graph, TorchOptions(CPU)), make(graph)
    for inputs in (arrays(), arrays(17, 31)):
        ours, theirs = engine.run(inputs), reference.run(inputs)
        assert ours.keys() == theirs.keys() == {"logits", "labels"}
        np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-5)
        assert np.mean(ours["labels"] == theirs["labels"]) > 0.99


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_lower_precision_gives_float32_close_by(graph: Graph, precision: str) -> None:
    inputs, exact = arrays(), TorchEngine(graph, TorchOptions(CPU)).run(arrays())["logits"]
    for engine in (
        TorchEngine(graph, TorchOptions(CPU, parse_precision(precision), channels_last=True)),
        from_torch(graph, "small", OpenVinoOptions(parse_precision(precision))),
    ):
        assert engine.precision == precision
        logits = engine.run(inputs)["logits"]
        assert logits.dtype == np.float32
        assert np.abs(logits - exact).max() < 0.05


def several(graph: Graph) -> Sequence[Engine]:
    return [TorchEngine(graph, TorchOptions(CPU)), *(make(graph) for make in MAKERS.values())]


def test_wrong_names_are_refused(graph: Graph) -> None:
    for engine in several(graph):
        with pytest.raises(ValueError, match="the network takes"):
            engine.run({"pixels": arrays()["pixels"]})
        with pytest.raises(ValueError, match="the network takes"):
            engine.run(arrays() | {"more": np.zeros(1)})


def test_outputs_belong_to_the_caller(graph: Graph) -> None:
    for engine in several(graph):
        first = engine.run(arrays())["logits"]
        kept = first.copy()
        engine.run({name: array[::-1] * 0 for name, array in arrays().items()})
        assert np.array_equal(first, kept)


def test_read_only_and_strided_inputs_are_taken(graph: Graph) -> None:
    inputs = arrays()
    wide = np.repeat(inputs["pixels"], 2, axis=2)[:, :, ::2]
    fixed = inputs["bias"].copy()
    fixed.setflags(write=False)
    for engine in several(graph):
        assert np.array_equal(engine.run({"pixels": wide, "bias": fixed})["logits"], engine.run(inputs)["logits"])


def test_unforeseen_shapes_are_compiled_once_counted_and_bounded(graph: Graph) -> None:
    compiled: list[Shapes] = []
    unforeseen: list[Shapes] = []

    model = convert.convert(graph, shapes(arrays()))

    def source(wanted: Shapes) -> ov.Model:
        compiled.append(wanted)
        static = model.clone()
        static.reshape({name: ov.PartialShape(list(shape)) for name, shape in wanted.items()})
        return static

    engine = OpenVinoEngine(source, dict(graph.inputs), on_unforeseen=unforeseen.append)
    engine.warm([shapes(arrays())])
    engine.warm([shapes(arrays())])
    engine.run(arrays())
    assert (len(compiled), len(unforeseen)) == (1, 0)
    for _ in range(2):
        engine.run(arrays(8, 8))
    assert (len(compiled), len(unforeseen)) == (2, 2)
    engine.warm([shapes(arrays(8, 8))])
    engine.run(arrays(8, 8))
    assert (len(compiled), len(unforeseen)) == (2, 2), "warming later makes a shape foreseen without compiling it anew"
    for side in range(UNFORESEEN_KEPT + 1):
        engine.run(arrays(4, 4 + side))
    engine.run(arrays(4, 4))
    assert len(compiled) == 2 + UNFORESEEN_KEPT + 2, "the shape unused for longest was let go"
    engine.run(arrays())
    assert len(compiled) == 2 + UNFORESEEN_KEPT + 2, "a warmed shape is never let go"


def test_a_restart_reads_graphs_from_disk(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = OpenVinoOptions(cache_dir=tmp_path / "new" / "cache")
    first = from_torch(graph, "key", options).run(arrays())

    def refuse(*_: object) -> ov.Model:
        raise AssertionError("converted although the graph is on disk")

    monkeypatch.setattr(convert, "convert", refuse)
    again = from_torch(graph, "key", options).run(arrays())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    with pytest.raises(AssertionError, match="converted"):
        from_torch(graph, "other weights", options).run(arrays())
    with pytest.raises(AssertionError, match="converted"):
        from_torch(graph, "key", options).run(arrays(8, 8))


def test_an_exported_graph_runs_without_torch(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "small.xml"
    model = convert.convert(graph, shapes(arrays()))
    model.reshape({"pixels": ov.PartialShape([1, -1, -1, 3])})
    ov.save_model(model, str(path), compress_to_fp16=False)
    inputs = arrays(20, 28)
    np.savez(tmp_path / "inputs.npz", pixels=inputs["pixels"], bias=inputs["bias"])
    script = """
import sys
import numpy as np
from pathlib import Path
from shared.models.engines.openvino import from_ir
folder = Path(sys.argv[1])
engine = from_ir(folder / "small.xml")
inputs = dict(np.load(folder / "inputs.npz"))
engine.warm([{name: array.shape for name, array in inputs.items()}])
np.savez(folder / "outputs.npz", **engine.run(inputs))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=ROOT, timeout=400)
    outputs = dict(np.load(tmp_path / "outputs.npz"))
    expected = TorchEngine(graph, TorchOptions(CPU)).run(arrays(20, 28))
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-5)
    here = from_ir(path).run(arrays(20, 28))
    assert np.array_equal(here["labels"], outputs["labels"])


def test_threads_are_set(graph: Graph) -> None:
    before = torch.get_num_threads()
    try:
        TorchEngine(graph, TorchOptions(CPU, threads=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert OpenVinoOptions(threads=1).properties()["INFERENCE_NUM_THREADS"] == 1
    assert "INFERENCE_NUM_THREADS" not in OpenVinoOptions().properties()


def test_threads_may_call_at_once(graph: Graph) -> None:
    many = [arrays(16, 24 + seed) for seed in range(6)]
    for engine in several(graph):
        alone = [engine.run(inputs)["logits"] for inputs in many]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda inputs, engine=engine: engine.run(inputs)["logits"], many * 4))
        assert all(np.array_equal(got, alone[turn % len(many)]) for turn, got in enumerate(together))


def test_precision_is_a_known_one() -> None:
    with pytest.raises(ValueError, match="f32, bf16, f16, int8"):
        parse_precision("int4")
