"""What runs on a GPU: Triton's kernel in its interpreter on any machine, and the rest where there is a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.models.engines.engine import Shapes
from shared.models.engines.torch_eager import TorchEngine, TorchOptions
from shared.models.postprocess import semantic
from shared.models.postprocess.semantic import label_map
from shared.models.postprocess.upsample import Grid
from tests.unit.models.test_engines import CPU, arrays, shapes, small_graph
from tests.unit.models.test_semantic_labels import smooth

ROOT = Path(__file__).parents[3]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here: never run on this machine")

INTERPRETED = """
import sys
from unittest.mock import patch
import numpy as np, torch
from shared.models.postprocess.upsample import Grid, axes
from shared.models.postprocess.upsample_cuda import labels_on
given = np.load(sys.argv[1])
for name, extent, mirrored in (("plain", (1.0, 1.0), False), ("padded", (0.7, 0.9), True)):
    grid = Grid(torch.from_numpy(given["logits"]), extent, mirrored)
    labels, confidence = labels_on(grid.logits, *axes(grid, (37, 51)), 1.3)
    np.savez(f"{sys.argv[1]}.{name}.npz", labels=labels.numpy(), confidence=confidence.numpy())
"""


def test_the_kernel_is_the_slow_way_on_every_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    logits, path = smooth(23, 9, 12), tmp_path / "logits.npz"
    np.savez(path, logits=logits.numpy())
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", INTERPRETED, str(path)], check=True, cwd=ROOT, env=environment, timeout=400)
    monkeypatch.setattr(semantic, "_plain", lambda grid: False)
    for name, extent, mirrored in (("plain", (1.0, 1.0), False), ("padded", (0.7, 0.9), True)):
        slow = label_map([Grid(logits, extent, mirrored)], (37, 51), 23, temperature=1.3)
        fast = np.load(f"{path}.{name}.npz")
        assert np.mean(fast["labels"] == slow.labels) > 0.999
        np.testing.assert_allclose(fast["confidence"].astype(np.float32), slow.confidence.astype(np.float32), atol=1e-3)


@needs_gpu
def test_labels_on_a_gpu_are_those_of_the_cpu() -> None:
    logits = smooth(150, 32, 48)
    ours = label_map([Grid(logits.cuda())], (256, 384), 150)
    theirs = label_map([Grid(logits)], (256, 384), 150)
    assert np.mean(ours.labels == theirs.labels) > 0.999
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=2e-3)


@needs_gpu
def test_recorded_passes_are_the_eager_ones_from_two_threads() -> None:
    from shared.models.engines.cuda_graphs import CudaGraphEngine

    device = torch.device("cuda")
    unforeseen: list[Shapes] = []
    reference = TorchEngine(small_graph(), TorchOptions(CPU))
    graph = small_graph()
    eager = TorchEngine(graph, TorchOptions(device, channels_last=True, batch_limit=4))
    engine = CudaGraphEngine(eager, graph, device, 2, unforeseen.append)
    engine.warm([shapes(arrays())])
    many = [arrays(batch=1 + turn % 4) for turn in range(32)]
    with ThreadPoolExecutor(2) as pool:
        for inputs, outputs in zip(many, pool.map(engine.run, many), strict=True):
            np.testing.assert_allclose(outputs["logits"], reference.run(inputs)["logits"], atol=1e-3)
    assert not unforeseen
    np.testing.assert_allclose(engine.run(arrays(8, 8))["logits"], reference.run(arrays(8, 8))["logits"], atol=1e-3)
    assert len(unforeseen) == 1
