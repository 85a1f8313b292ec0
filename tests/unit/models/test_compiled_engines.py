"""Engines that compile ahead: kept on disk, found again by a restart, filled up to few batch sizes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions
from shared.models.engines import choice, inductor, onnx_runtime
from shared.models.engines.batch_sizes import FilledEngine, batch_sizes, filled
from shared.models.engines.engine import Array, Arrays, OnUnforeseen, Shapes, counted
from shared.models.engines.graph import Graph
from shared.models.engines.inductor import InductorOptions, inductor_engine
from shared.models.engines.kept import kept
from shared.models.engines.onnx_runtime import OnnxOptions, onnx_engine
from shared.models.engines.static import Program, StaticEngine
from shared.models.engines.torch_eager import TorchEngine, TorchOptions
from tests.unit.models.small import CPU, arrays, shapes, small_graph


@pytest.fixture
def graph() -> Graph:
    return small_graph()


def refuse(*_: object) -> None:
    raise AssertionError("made anew although it is on disk")


def test_inductor_agrees_with_torch_and_a_restart_loads_its_package(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = inductor_engine(graph, "key", InductorOptions(cache_dir=tmp_path))
    engine.warm([shapes(arrays())])
    ours, theirs = engine.run(arrays()), TorchEngine(graph, TorchOptions(CPU)).run(arrays())
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-5)
    assert np.mean(ours["labels"] == theirs["labels"]) > 0.99
    monkeypatch.setattr(inductor, "compile_to", refuse)
    again = inductor_engine(graph, "key", InductorOptions(cache_dir=tmp_path)).run(arrays())
    assert np.array_equal(again["logits"], ours["logits"])
    for changed in (inductor_engine(graph, "other weights", InductorOptions(cache_dir=tmp_path)), engine):
        with pytest.raises(AssertionError, match="made anew"):
            changed.run(arrays(8, 8))


def test_inductor_says_what_it_lacks(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match=r"g\+\+ is not installed"):
        inductor_engine(graph, "key", InductorOptions())


def test_a_restart_reads_onnx_from_disk(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = OnnxOptions(cache_dir=tmp_path / "new" / "cache")
    first = onnx_engine(graph, "key", options).run(arrays())
    monkeypatch.setattr(onnx_runtime, "export", refuse)
    again = onnx_engine(graph, "key", options).run(arrays())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    with pytest.raises(AssertionError, match="made anew"):
        onnx_engine(graph, "other weights", options).run(arrays())


def test_tensorrt_is_refused_where_onnx_runtime_lacks_it(graph: Graph) -> None:
    options = OnnxOptions("f16", device="cuda:1", cache_dir=Path("somewhere"))
    assert [name for name, _ in options.providers] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert options.providers[0][1]["device_id"] == 1
    assert options.providers[0][1]["trt_fp16_enable"] is True
    with pytest.raises(RuntimeError, match=r"lacks .*TensorrtExecutionProvider"):
        onnx_engine(graph, "key", options)


def test_batch_sizes_are_powers_of_two_and_the_limit() -> None:
    assert [batch_sizes(limit) for limit in (1, 2, 6, 8)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8)]
    assert [filled(batch, 6) for batch in range(1, 7)] == [1, 2, 4, 4, 6, 6]
    with pytest.raises(ValueError, match="takes 1 to 6"):
        filled(7, 6)


def test_batches_are_filled_up_and_cut_back() -> None:
    compiled: list[Shapes] = []

    def compile_for(wanted: Shapes) -> Program:
        compiled.append(wanted)

        def program(feeds: Any) -> dict[str, Array]:
            return {"doubled": feeds["values"] * 2}

        return program

    engine = FilledEngine(StaticEngine("tensorrt", compile_for, {"values": np.dtype(np.float32)}, batch_limit=6))
    engine.warm([{"values": (1, 3)}])
    assert [each["values"] for each in compiled] == [(1, 3), (2, 3), (4, 3), (6, 3)]
    for batch in range(1, 7):
        values = np.random.default_rng(batch).normal(size=(batch, 3)).astype(np.float32)
        assert np.array_equal(engine.run({"values": values})["doubled"], values * 2)
    assert len(compiled) == 4, "no other size is ever compiled"


def test_what_is_kept_is_written_once_whole_and_with_what_lies_beside(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.with_suffix(".bin").write_text("weights")
        path.write_text("graph")

    path = kept(tmp_path, ["facts", (("x", (1, 2)),)], ".xml", write)
    assert (path.read_text(), path.with_suffix(".bin").read_text()) == ("graph", "weights")
    assert kept(tmp_path, ["facts", [["x", [1, 2]]]], ".xml", refuse) == path

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        kept(tmp_path, "other", ".xml", fail)
    assert kept(tmp_path, "other", ".xml", write).read_text() == "graph"
    assert kept(None, "facts", ".xml", write).read_text() == "graph"


def test_a_shape_that_runs_eagerly_is_counted_once(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the eager engine has recordings of its own, and counts what it has none of."""
    passes: list[str] = []

    class Recorded(TorchEngine):
        def __init__(self, counting: OnUnforeseen) -> None:
            super().__init__(graph, TorchOptions(CPU))
            self._counting = counting

        def run(self, inputs: Arrays) -> dict[str, Array]:
            self._counting(shapes(inputs))
            return super().run(inputs)

    monkeypatch.setattr(choice, "choose", lambda *_: ("compile", "cpu"))
    monkeypatch.setattr(choice, "_eager", lambda _, options, __: Recorded(counted(options.on_unforeseen_shape)))
    monkeypatch.setattr(choice, "_compiled", lambda *_: TorchEngine(graph, TorchOptions(CPU)))
    options = LoadOptions(("semantic",), on_unforeseen_shape=lambda: passes.append("one"))
    engine = choice.engine_for(graph, find_card("street"), options, "0" * 64)
    engine.run(arrays())
    assert passes == ["one"]
