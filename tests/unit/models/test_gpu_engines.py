"""Recorded passes on a GPU equal the eager ones, whatever the shape, the batch and the thread."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.catalog.card import ROLES_OF_TASK
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.imaging.sample import street_scene
from shared.models.answer_maps import MAPS
from shared.models.engines.cuda_graphs import CudaGraphEngine
from shared.models.engines.engine import Shapes, ignore_unforeseen
from shared.models.engines.graph import Graph
from shared.models.engines.host import on_host
from shared.models.engines.torch_eager import TorchEngine, TorchOptions
from shared.types import DecoderInput, EncoderInput, Prompt, Task
from tests.unit.models.small import CPU, arrays, shapes, small_graph

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")


def recorded(graph: Graph, unforeseen: list[Shapes] | None = None, limit: int = 6) -> CudaGraphEngine:
    """An engine on the GPU for batches of at most `limit`, that notes the shapes which it has no recording of."""
    device = torch.device("cuda")
    eager = TorchEngine(graph, TorchOptions(device, channels_last=True, batch_limit=limit))
    return CudaGraphEngine(eager, graph, device, ignore_unforeseen if unforeseen is None else unforeseen.append)


def test_recorded_passes_are_the_eager_ones_from_several_threads() -> None:
    unforeseen: list[Shapes] = []
    reference, engine = TorchEngine(small_graph(), TorchOptions(CPU)), recorded(small_graph(), unforeseen)
    sizes = ((16, 24), (40, 8), (64, 64))
    engine.warm([shapes(arrays(*size)) for size in sizes])
    many = [arrays(*sizes[turn % 3], batch=1 + turn % 6) for turn in range(96)]
    with ThreadPoolExecutor(4) as pool:
        for inputs, outputs in zip(many, pool.map(engine.run, many), strict=True):
            wanted = reference.run(inputs)
            np.testing.assert_allclose(outputs["logits"], wanted["logits"], atol=1e-3)
            assert np.mean(outputs["labels"] == wanted["labels"]) > 0.99
    assert not unforeseen
    np.testing.assert_allclose(engine.run(arrays(8, 8))["logits"], reference.run(arrays(8, 8))["logits"], atol=1e-3)
    assert len(unforeseen) == 1


def test_outputs_are_the_callers_own() -> None:
    engine = recorded(small_graph())
    engine.warm([shapes(arrays())])
    first = engine.run_tensors(arrays(batch=2))
    kept = on_host(first)
    engine.run_tensors({"pixels": arrays(batch=2)["pixels"][::-1].copy(), "bias": np.ones((2, 8), np.float32)})
    assert torch.equal(first["logits"].cpu(), torch.from_numpy(kept["logits"]))


def test_who_waits_for_the_gpu_leaves_its_core_to_others() -> None:
    big = torch.randn(8192, 8192, device="cuda")
    (big @ big)[0, 0].item()
    begun, busy = time.perf_counter(), time.thread_time()
    on_host({"corner": torch.linalg.multi_dot([big] * 9)[:1, :1]})
    asleep = 1 - (time.thread_time() - busy) / (time.perf_counter() - begun)
    assert asleep > 0.5


class Owned(nn.Module):
    """Rows of a table, chosen by `owner`, plus something that all items share."""

    def forward(self, table: Tensor, owner: Tensor, everyones: Tensor) -> tuple[Tensor]:
        return (table[owner] + everyones,)


def test_inputs_need_not_be_as_many_as_the_batch() -> None:
    unforeseen: list[Shapes] = []
    kinds: dict[str, np.dtype[Any]] = {
        "table": np.dtype(np.float32),
        "owner": np.dtype(np.int64),
        "everyones": np.dtype(np.float16),
    }
    engine = recorded(Graph(Owned(), kinds, ("sum",), frozenset(("everyones",))), unforeseen)
    engine.warm([{"table": (1, 3), "owner": (1,), "everyones": (1, 3)}])
    table, everyones = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((1, 3), 0.5, np.float16)
    for owner in ([0], [0, 1, 1], [1, 0, 1, 0, 1, 1]):
        found = engine.run({"table": table[: max(owner) + 1], "owner": np.array(owner), "everyones": everyones})
        assert np.array_equal(found["sum"], table[owner] + 0.5)
    assert not unforeseen


class Asking(nn.Module):
    """Asks the host in the middle of a pass."""

    def forward(self, values: Tensor) -> tuple[Tensor]:
        return (values * (2 if float(values.sum()) > 0 else 3),)


def test_what_cannot_be_recorded_runs_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    unforeseen: list[Shapes] = []
    engine = recorded(Graph(Asking(), {"values": np.dtype(np.float32)}, ("scaled",)), unforeseen)
    with caplog.at_level(logging.WARNING):
        engine.warm([{"values": (1, 4)}])
    assert "cannot be recorded" in caplog.text
    for sign in (1, -1):
        values = np.full((3, 4), sign, np.float32)
        assert np.array_equal(engine.run({"values": values})["scaled"], values * (2 if sign > 0 else 3))
    assert len(unforeseen) == 2
    good = recorded(small_graph())
    good.warm([shapes(arrays())])  # and nothing is left behind that would disturb another recording
    assert good.run(arrays())["logits"].shape == (1, 8, 8, 12)


@pytest.fixture(scope="module")
def streets() -> dict[str, Any]:
    """The bundled network for all tasks, on the CPU and on the GPU."""
    card = find_card("street")
    roles = tuple(dict.fromkeys(role for task in card.tasks for role in ROLES_OF_TASK[task]))
    found = {}
    for device in ("cpu", "cuda"):
        found[device] = load(card, LoadOptions(roles, engine="torch", device=device, max_batch=4)).roles
        for model in found[device].values():
            model.warm()
    return found


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic", "promptable"])
def test_street_answers_alike_on_both_devices(streets: dict[str, Any], task: Task) -> None:
    agreements = []
    for seed, size in enumerate(((480, 360), (333, 500), (640, 640))):
        pixels = street_scene(*size, seed)[0]
        ours, theirs = (MAPS[task](streets[device])(pixels) for device in ("cuda", "cpu"))
        agreements.append(float(np.mean(ours == theirs)))
    assert min(agreements) > 0.999, agreements


def test_many_prompts_on_images_of_many_callers(streets: dict[str, Any]) -> None:
    images = [EncoderInput(street_scene(480, 360, seed)[0]) for seed in range(3)]
    embeddings = streets["cpu"]["encoder"].predict(images)
    prompts = [Prompt(np.array([[20.0 * turn, 200.0]], np.float32), np.ones(1, np.int32)) for turn in range(1, 12)]
    items = [DecoderInput(embeddings[turn % 3], prompt, multimask=True) for turn, prompt in enumerate(prompts)]
    ours, theirs = (streets[device]["decoder"].predict(items) for device in ("cuda", "cpu"))
    for one, other in zip(ours, theirs, strict=True):
        for left, right in zip(one.masks, other.masks, strict=True):
            assert abs(left.predicted_iou - right.predicted_iou) < 1e-3
            assert np.mean(left.region.full() == right.region.full()) > 0.999
