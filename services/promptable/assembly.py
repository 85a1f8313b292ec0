"""A loaded card in, its whole promptable service in this process out: for the fused layout (`shared.serving.whole`).

On Serve the encoder is a deployment of its own (`deployment.py`); here it is called directly.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from concurrent.futures import Executor

from services.promptable.everything import EverythingPipeline
from services.promptable.pipeline import EncoderPipeline, PromptablePipeline
from shared.calls import Answer, EmbedAnswer, EmbedCall, EverythingCall, ModelInfo, PromptCall, StreamEvent
from shared.protocols import Sink
from shared.serving.assembly import LoadedCard
from shared.settings import Settings
from shared.store.opening import Stores


class PromptableModel:
    """Prompts and everything mode of one model. Implements `protocols.PromptableService`."""

    def __init__(self, prompts: PromptablePipeline) -> None:
        self._prompts = prompts
        self._everything = EverythingPipeline(prompts)

    def describe(self) -> ModelInfo:
        """What this service serves."""
        return self._prompts.describe()

    async def segment(self, call: PromptCall) -> Answer:
        """See `PromptablePipeline.segment`."""
        return await self._prompts.segment(call)

    async def embed(self, call: EmbedCall) -> EmbedAnswer:
        """See `PromptablePipeline.embed`."""
        return await self._prompts.embed(call)

    def everything(self, call: EverythingCall) -> AsyncGenerator[StreamEvent | Answer, None]:
        """See `EverythingPipeline.everything`."""
        return self._everything.everything(call)


def in_one_process(
    loaded: LoadedCard, stores: Stores, settings: Settings, sink: Sink, executor: Executor
) -> PromptableModel:
    """The service of a card loaded with the roles `encoder` and `decoder`, over these stores; `executor` decodes and
    encodes."""
    card, info, batchers = loaded.card, loaded.info, loaded.batchers
    encoder = EncoderPipeline(card, batchers["encoder"], settings, sink, executor, loaded.sights.get("encoder"))
    prompts = PromptablePipeline(
        card, info, encoder, batchers["decoder"], stores.images, stores.embeddings, settings, sink, executor
    )
    return PromptableModel(prompts)
