"""A gateway on a loopback port whose models read their answers off the photo: red is the label, green the object.

So a test paints what the server will answer, and writes beside it what is true.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from services.instance.pipeline import InstancePipeline
from services.panoptic.pipeline import PanopticPipeline
from services.promptable.assembly import PromptableModel
from services.promptable.pipeline import EncoderPipeline, PromptablePipeline
from services.semantic.pipeline import SemanticPipeline
from shared.calls import ModelInfo
from shared.catalog.card import Card, Preprocess, RandomWeights
from shared.labels import label_space
from shared.serving.batcher import Batcher
from shared.serving.dense import DensePipeline
from shared.settings import Settings
from shared.store.embeddings import EmbeddingStore, MemoryEmbeddings
from shared.store.images_memory import MemoryImageStore
from shared.telemetry.recording import RecordingSink
from shared.types import (
    BoolArray,
    DecoderInput,
    DecoderOutput,
    DenseInput,
    DenseTask,
    Embedding,
    EncoderInput,
    Instance,
    InstanceOutput,
    PanopticOutput,
    PanopticSegment,
    PromptMask,
    Region,
    SemanticOutput,
    UInt8Array,
)

CARD = Card(
    name="wand",
    summary="Selects equal colours.",
    tasks=("promptable",),
    loader="tests.unit.evaluation.painted:served",
    weights=RandomWeights(),
    preprocess=Preprocess(resize="none"),
    parameters=0,
    licence="none",
)
CODE = 256
"""A pixel's object number times this, plus its label: below 2048, which float16 holds exactly."""


def semantic(batch: Sequence[DenseInput]) -> list[SemanticOutput]:
    """Red, with full confidence."""
    return [SemanticOutput(item.pixels[..., 0].copy(), np.ones(item.pixels.shape[:2], np.float16)) for item in batch]


def instance(batch: Sequence[DenseInput]) -> list[InstanceOutput]:
    """One object for each green value n, with score 1 / n."""
    return [
        InstanceOutput(
            _size(item.pixels), tuple(Instance(label, 1 / n, Region.from_mask(mask)) for n, label, mask in found)
        )
        for item in batch
        for found in [_objects(item.pixels)]
    ]


def panoptic(batch: Sequence[DenseInput]) -> list[PanopticOutput]:
    """The objects, and each label's other pixels as one segment; labels beyond all spaces are void."""
    outputs = []
    for item in batch:
        ids = item.pixels[..., 1].astype(np.int32)
        segments = [PanopticSegment(n, label, True, 1 / n) for n, label, _ in _objects(item.pixels)]
        rest = item.pixels[..., 0]
        for label in (int(value) for value in np.unique(rest[ids == 0]) if value < 255):
            ids[(ids == 0) & (rest == label)] = 100 + label
            segments.append(PanopticSegment(100 + label, label, False, 1.0))
        outputs.append(PanopticOutput(ids, tuple(segments)))
    return outputs


class Encoder:
    """Keeps each pixel's colour."""

    def predict(self, batch: Sequence[EncoderInput]) -> list[Embedding]:
        codes = [item.pixels[..., 0] + CODE * item.pixels[..., 1].astype(np.int32) for item in batch]
        return [Embedding((code.shape[0], code.shape[1]), (code[None].astype(np.float16),)) for code in codes]

    def cost(self, item: EncoderInput) -> int:
        return item.pixels.size


class Decoder:
    """A click selects the pixels of its colour: alone at first, later added to (or taken from) the mask sent with it.

    The other two candidates of a first click are all pixels of that label, rated lower, and nothing.
    """

    def predict(self, batch: Sequence[DecoderInput]) -> list[DecoderOutput]:
        return [self._decoded(item) for item in batch]

    def cost(self, item: DecoderInput) -> int:
        return item.embedding.size[0] * item.embedding.size[1]

    def _decoded(self, item: DecoderInput) -> DecoderOutput:
        codes = item.embedding.tensors[0][0].astype(np.int32)
        x, y = (int(value) for value in item.prompt.points[-1])
        clicked: BoolArray = codes == codes[y, x]
        if item.prompt.mask is not None:
            before = item.prompt.mask > 0
            clicked = before | clicked if item.prompt.labels[-1] else before & ~clicked
        masks = [_candidate(clicked, 0.9)]
        if item.multimask:
            masks.append(_candidate(codes % CODE == codes[y, x] % CODE, 0.6))
            masks.append(_candidate(np.zeros_like(clicked), 0.1))
        return DecoderOutput(tuple(masks))


def _candidate(mask: BoolArray, rating: float) -> PromptMask:
    return PromptMask(Region.from_mask(mask), rating, 1.0, np.where(mask, 4, -4).astype(np.float16))


def _objects(pixels: UInt8Array) -> list[tuple[int, int, BoolArray]]:
    """(number, label, mask) by green value."""
    found = []
    for number in (int(value) for value in np.unique(pixels[..., 1]) if value):
        mask: BoolArray = pixels[..., 1] == number
        found.append((number, int(pixels[..., 0][mask][0]), mask))
    return found


def _size(pixels: UInt8Array) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def dense(task: DenseTask, kind: type[DensePipeline[Any]], model: Any, space: str, executor: Executor) -> Any:
    """One dense service; it is the default of its task in the space camvid."""
    sink = RecordingSink()
    batcher: Batcher[DenseInput, Any] = Batcher(
        model, max_batch=4, max_cost=10**8, cost=lambda item: int(item.pixels.size), max_queue=64, sink=sink,
        model="painted", role=task,
    )  # fmt: skip
    default: tuple[DenseTask, ...] = (task,) if space == "camvid" else ()
    name = "painted" if space == "camvid" else f"painted-{space}"
    info = ModelInfo(name, "1", (task,), space, "ab" * 32, "numpy", 0, "none", "a test", default_for=default)
    return kind(info, batcher, Settings(), sink, executor)


def wand(images: MemoryImageStore, executor: Executor) -> PromptableModel:
    """The promptable service."""
    sink, settings = RecordingSink(), Settings()
    encoder, decoder = Encoder(), Decoder()
    common: dict[str, Any] = {"max_batch": 8, "max_cost": 10**9, "max_queue": 64, "sink": sink, "model": "wand"}
    encoders = Batcher(encoder.predict, cost=encoder.cost, role="encoder", **common)
    decoders = Batcher(decoder.predict, cost=decoder.cost, role="decoder", **common)
    embeddings = EmbeddingStore(MemoryEmbeddings(10**7, 60, sink), None, sink)
    info = ModelInfo("wand", "1", ("promptable",), "", "cd" * 32, "numpy", 0, "none", "a test", ("promptable",), "f")
    pipeline = EncoderPipeline(CARD, encoders, settings, sink, executor)
    prompts = PromptablePipeline(CARD, info, pipeline, decoders, images, embeddings, settings, sink, executor)
    return PromptableModel(prompts)


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """The address of a gateway over all of them; dense ones also in the space cityscapes."""
    kinds: list[tuple[DenseTask, type[DensePipeline[Any]], Any]] = [
        ("semantic", SemanticPipeline, semantic),
        ("instance", InstancePipeline, instance),
        ("panoptic", PanopticPipeline, panoptic),
    ]
    with ThreadPoolExecutor(2) as executor:
        images = MemoryImageStore(2**22, 60, RecordingSink())
        services = [dense(*kind, space, executor) for kind in kinds for space in ("camvid", "cityscapes")]
        directory = InProcessDirectory(services, [wand(images, executor)])

        async def page() -> bytes:
            return b""

        app = create_app(Settings(**settings), directory, images, RecordingSink(), page)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def paint(labels: UInt8Array, objects: Sequence[tuple[tuple[slice, slice], int]] = ()) -> UInt8Array:
    """A photo that is answered with these labels, and with (place, label) as the objects 1, 2, ..."""
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    pixels[..., 0] = labels
    for number, (place, label) in enumerate(objects, start=1):
        pixels[place] = (label, number, 0)
    return pixels


def space_ids(space: str) -> dict[str, int]:
    """Label ids by name."""
    return {label.name: label.id for label in label_space(space).labels}
