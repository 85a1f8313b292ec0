"""The promptable service on Ray Serve: a dear encoder and a cheap decoder that scale apart.

The encoder is the application's root and the decoder its child, because only a child may choose its router: the
gateway calls the decoder, by the image's hash, so that a replica's memory has the embeddings of its images. On a miss
the decoder asks the encoder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from services.promptable.everything import EverythingPipeline
from services.promptable.pipeline import EncoderPipeline, PromptablePipeline
from shared.calls import Answer, EmbedAnswer, EmbedCall, EverythingCall, PromptCall, StreamEvent
from shared.errors import SegServeError
from shared.serving.args import ServiceArgs
from shared.serving.assembly import load_card
from shared.serving.remote import Superseded, call
from shared.serving.replica import DEPLOYMENT_OPTIONS, ModelReplica, refusal_as_item, refusal_as_value
from shared.serving.straight import Introduced, Introduction
from shared.store.opening import Stores, open_stores
from shared.telemetry import logs
from shared.types import Embedding

BY_IMAGE = {"request_router_class": "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"}


class EncoderReplica(ModelReplica):
    """Image to embedding."""

    def __init__(self, args: ServiceArgs, _: DeploymentHandle[Any]) -> None:
        super().__init__(args)
        self.loaded = load_card(args, ("encoder",), self.settings, self.sink)
        self._pipeline = EncoderPipeline(
            self.loaded.card,
            self.loaded.batchers["encoder"],
            self.settings,
            self.sink,
            ThreadPoolExecutor(args.codec_threads, "codec"),
            self.loaded.sights.get("encoder"),
        )

    async def encode(self, image: bytes, fingerprint: str, request_id: str) -> Embedding | SegServeError:
        """The embedding, by the encoder of this fingerprint only: while a new version replaces an old one, neither's
        decoder may take (and keep) the other's embeddings."""
        if fingerprint != self.loaded.info.encoder_fingerprint:
            return Superseded()
        return await refusal_as_value(request_id, self._pipeline.encode(image))


class RemoteEncoder:
    """`EncoderService` of the application's other deployment."""

    def __init__(self, application: str, fingerprint: str, timeout_s: float) -> None:
        self._application, self._fingerprint, self._timeout_s = application, fingerprint, timeout_s
        self._handle: DeploymentHandle[Any] | None = None

    async def encode(self, image: bytes) -> Embedding:
        """Raises `shared.errors` only."""
        if self._handle is None:
            self._handle = await asyncio.to_thread(serve.get_deployment_handle, "Encoder", self._application)
        arguments = (image, self._fingerprint, logs.request_id.get())
        # Where only encoders of the next version are left, the gateway must find a decoder of that version.
        deadline = time.time() + self._timeout_s
        embedding: Embedding = await call(self._handle, "encode", *arguments, deadline=deadline, patient=False)
        return embedding


class DecoderReplica(ModelReplica):
    """Embedding and prompts to masks, with the embeddings of its images in memory."""

    _introduction: Introduction
    _stores: Stores | None = None

    def __init__(self, args: ServiceArgs) -> None:
        super().__init__(args)
        self.loaded = load_card(args, ("decoder",), self.settings, self.sink)
        info, stores = self.loaded.info, open_stores(self.settings, self.sink, packed=args.packed)
        self._stores = stores
        self._pipeline = PromptablePipeline(
            self.loaded.card,
            info,
            RemoteEncoder(
                serve.get_replica_context().app_name, info.encoder_fingerprint, self.settings.request_timeout_s
            ),
            self.loaded.batchers["decoder"],
            stores.images,
            stores.embeddings,
            self.settings,
            self.sink,
            ThreadPoolExecutor(args.codec_threads, "codec"),
        )
        self._everything = EverythingPipeline(self._pipeline)
        self._introduction = Introduction("segment", self.segment)

    async def segment(self, request: PromptCall) -> Answer | SegServeError:
        """An encoded answer, or the refusal."""
        return await refusal_as_value(request.caller.request_id, self._pipeline.segment(request))

    async def introduced(self, request: PromptCall) -> Introduced | SegServeError:
        """`segment`, and where the next call on this image may come straight to."""
        return await self._introduction.answer(request)

    async def everything(self, request: EverythingCall) -> AsyncIterator[StreamEvent | Answer | SegServeError]:
        """Events and the encoded answer, or the refusal."""
        async for item in refusal_as_item(request.caller.request_id, self._everything.everything(request)):
            yield item

    async def embed(self, request: EmbedCall) -> EmbedAnswer | SegServeError:
        """Where the embedding was found, or the refusal."""
        return await refusal_as_value(request.caller.request_id, self._pipeline.embed(request))

    def __del__(self) -> Awaitable[None] | None:
        """Called by Serve at the end: embeddings that still wait for the store are written first."""
        super().__del__()
        stores, self._stores = self._stores, None
        return None if stores is None else stores.close()


def build(args: dict[str, Any]) -> Application:
    """What `import_path: services.promptable.deployment:build` runs; its deployments are named `Encoder` and
    `Decoder`. Raises `ValidationError` naming the argument that is not valid."""
    chosen = ServiceArgs.model_validate({"tasks": ("promptable",), **args})
    if chosen.tasks != ("promptable",):
        raise ValueError(f"args.tasks: this service is promptable only, not {', '.join(chosen.tasks)}")
    decoder = serve.deployment(name="Decoder", request_router_config=BY_IMAGE, **DEPLOYMENT_OPTIONS)(DecoderReplica)
    encoder = serve.deployment(name="Encoder", **DEPLOYMENT_OPTIONS)(EncoderReplica)
    return encoder.bind(chosen, decoder.bind(chosen))
