"""A promptable service over the grey model, with real stores in memory and real batchers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest

from services.promptable.pipeline import EncoderPipeline, PromptablePipeline
from shared.calls import Answer, Caller, EmbedCall, ModelInfo, PromptCall, PromptOptions
from shared.catalog.card import Card, Preprocess, RandomWeights
from shared.protocols import Model
from shared.serving.batcher import Batcher
from shared.settings import Settings
from shared.store.embeddings import EmbeddingStore, MemoryEmbeddings
from shared.store.images_memory import MemoryImageStore
from shared.store.keys import image_id
from shared.telemetry.recording import RecordingSink
from shared.types import Prompt
from tests.unit.promptable.intensity import GreyDecoder, GreyEncoder

CARD = Card(
    name="grey",
    summary="Finds equal greys.",
    tasks=("promptable",),
    loader="tests.unit.promptable.intensity:load",
    weights=RandomWeights(),
    preprocess=Preprocess(resize="none"),
    parameters=0,
    licence="none",
)


def click(x: float, y: float, label: int = 1) -> Prompt:
    return Prompt(np.array([[x, y]], dtype=np.float32), np.array([label], dtype=np.int32))


@dataclass
class Service:
    """The pipeline and everything around it that a test looks at."""

    pipeline: PromptablePipeline
    encoder: GreyEncoder
    decoder: GreyDecoder
    images: MemoryImageStore
    embeddings: EmbeddingStore
    sink: RecordingSink
    tenant: str = "a"
    options: PromptOptions = field(default_factory=PromptOptions)

    def call(self, image: bytes | None, *prompts: Prompt, identifier: str | None = None, **options: Any) -> PromptCall:
        """A call of `tenant`, with the image or, without it, with its id alone."""
        caller = Caller(self.tenant, "request", time.time() + 30)
        known = identifier or image_id(image or b"")
        return PromptCall(known, prompts, caller, image, PromptOptions(**options))

    async def ask(
        self, image: bytes | None, *prompts: Prompt, identifier: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """The JSON of an answer."""
        answer = await self.answer(image, *prompts, identifier=identifier, **options)
        body: dict[str, Any] = orjson.loads(answer.body)
        return body

    async def answer(
        self, image: bytes | None, *prompts: Prompt, identifier: str | None = None, **options: Any
    ) -> Answer:
        return await self.pipeline.segment(self.call(image, *prompts, identifier=identifier, **options))

    async def embed(self, image: bytes) -> str:
        """Where the embedding was found."""
        caller = Caller(self.tenant, "request", time.time() + 30)
        return (await self.pipeline.embed(EmbedCall(image_id(image), image, caller))).tier


Parts = tuple[PromptablePipeline, MemoryImageStore, EmbeddingStore, RecordingSink]


@asynccontextmanager
async def assembled(
    encoder: Model[Any, Any], decoder: Model[Any, Any], batches: tuple[int, int], max_queue: int
) -> AsyncIterator[Parts]:
    """The pipeline over these models, with stores in memory; `batches`: the largest of the encoder and the decoder."""
    settings, sink = Settings(), RecordingSink()
    common: dict[str, Any] = {"max_cost": 10**9, "max_queue": max_queue, "sink": sink, "model": "grey"}
    encoders = Batcher(encoder.predict, max_batch=batches[0], cost=encoder.cost, role="encoder", **common)
    decoders = Batcher(decoder.predict, max_batch=batches[1], cost=decoder.cost, role="decoder", **common)
    images = MemoryImageStore(10**7, 60, sink)
    embeddings = EmbeddingStore(MemoryEmbeddings(10**7, 60, sink), None, sink)
    info = ModelInfo(
        "grey", "1", ("promptable",), "", "0" * 64, "numpy", 0, "none", "Finds equal greys.", encoder_fingerprint="f"
    )
    with ThreadPoolExecutor(2) as executor:
        encoding = EncoderPipeline(CARD, encoders, settings, sink, executor)
        pipeline = PromptablePipeline(CARD, info, encoding, decoders, images, embeddings, settings, sink, executor)
        yield pipeline, images, embeddings, sink
        await decoders.close()
        await encoders.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    encoder, decoder = GreyEncoder(), GreyDecoder()
    async with assembled(encoder, decoder, (4, 4), max_queue=8) as (pipeline, images, embeddings, sink):
        yield Service(pipeline, encoder, decoder, images, embeddings, sink)
