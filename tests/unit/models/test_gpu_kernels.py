"""Triton's kernel equals the slow way: in its interpreter on any machine, compiled where there is a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.models.postprocess import semantic
from shared.models.postprocess.semantic import label_map
from shared.models.postprocess.upsample import Grid, tiles
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
COMPILED = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from shared.models.postprocess.upsample_cuda import _kernel
kinds = {"cells": "*fp32", "down": "*fp32", "across": "*fp32", "labels": "*i32", "confidence": "*fp16"}
kinds |= dict.fromkeys(("top", "bottom", "left", "right"), "*i64")
kinds |= dict.fromkeys(("width", "out_height", "out_width"), "i32") | {"sharpness": "fp32"}
fixed = {"classes": 150, "BLOCK": 256}
signature = {name: kinds.get(name, "constexpr") for name in _kernel.arg_names}
assert compile(ASTSource(_kernel, signature, fixed), target=GPUTarget("cuda", 90, 32)).asm["ptx"]
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


def test_the_kernel_compiles_for_a_gpu() -> None:
    """The interpreter takes more of Python than the compiler does; which needs no GPU."""
    pytest.importorskip("triton")
    subprocess.run([sys.executable, "-c", COMPILED], check=True, cwd=ROOT, timeout=400)


@needs_gpu
@pytest.mark.parametrize(("extent", "mirrored"), [((1.0, 1.0), False), ((0.7, 0.9), True)])
def test_labels_on_a_gpu_are_the_slow_way_but_ties(extent: tuple[float, float], mirrored: bool) -> None:
    logits = smooth(150, 32, 48).cuda()
    fast = label_map([Grid(logits, extent, mirrored)], (256, 384), 150, temperature=1.3)
    tiled = torch.cat([tile for _, tile in tiles(Grid(logits, extent, mirrored), (256, 384), 64)])
    best = tiled.gather(-1, torch.from_numpy(fast.labels.astype(np.int64)).cuda()[..., None])[..., 0]
    assert float((tiled.amax(dim=-1) - best).max()) < 1e-4, "another label is larger by more than rounding"
    slow = (tiled / 1.3).softmax(dim=-1).amax(dim=-1)
    np.testing.assert_allclose(fast.confidence.astype(np.float32), slow.cpu().numpy(), atol=1e-3)
