"""The way of prompts through the promptable service: image id or bytes -> embedding -> candidate masks -> encoded body.

Ordinary async Python: no Ray, no torch. A hit on the embedding needs no upload, no decoding and no encoder. Blocking
work runs in a small thread pool, never on the event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from services.promptable.answers import (
    CANDIDATES,
    WHOLE_FORMATS,
    Encoded,
    check_format,
    check_masks,
    encode_candidates,
    part_of,
    text_answer,
    whole_answer,
)
from services.promptable.prompts import check, decoder_items
from shared.calls import Answer, EmbedAnswer, EmbedCall, EverythingCall, ModelInfo, PromptCall
from shared.catalog.card import Card
from shared.errors import DeadlineExceeded, Detail, ImageStoreUnavailable, InvalidOption
from shared.imaging.decode import decode, decode_for
from shared.imaging.georeference import georeference
from shared.protocols import EncoderService, Sink
from shared.serving.answers import common_fields
from shared.serving.batcher import Batcher
from shared.serving.prompts import Bounds
from shared.settings import Settings
from shared.store.embeddings import EmbeddingStore
from shared.store.images import ImageStore, Known, Unknown
from shared.store.keys import parse_image_id
from shared.telemetry.stages import Stages
from shared.types import DecoderInput, DecoderOutput, Embedding, EncoderInput, Sight, Tier, UInt8Array

TASK = "promptable"
SMALL_PIXELS = 2**18
"""The masks of one click on an image of at most so many pixels are encoded at once, in under a millisecond."""
HELD_PIXELS = 2**27
"""Pixels of masks that one request has in work at once, a byte each, unless a single batch of its prompts has more."""
Result = TypeVar("Result")


class EncoderPipeline:
    """The dear half: encoded image in, embedding out. Implements `protocols.EncoderService`."""

    def __init__(
        self,
        card: Card,
        batcher: Batcher[EncoderInput, Embedding],
        settings: Settings,
        sink: Sink,
        executor: Executor,
        sight: Sight | None = None,
    ) -> None:
        """`sight`: at what size the encoder sees an image; without it all pixels are decoded of each."""
        self._card = card
        self._batcher = batcher
        self._settings = settings
        self._sink = sink
        self._executor = executor
        self._sight = sight

    async def encode(self, image: bytes) -> Embedding:
        """Decode the image and run the encoder. Raises `Malformed`, `Overloaded`, `DeadlineExceeded`, ..."""
        stages = Stages(self._sink, TASK)
        deadline = time.time() + self._settings.request_timeout_s
        with stages.stage("decode"):
            item = await asyncio.get_running_loop().run_in_executor(self._executor, self._item, image)
        with stages.stage("encoder"):
            embedding = await self._batcher.submit(item, deadline)
        self._sink.count("segserve_encoder_runs_total", model=self._card.name)
        return embedding

    def _item(self, image: bytes) -> EncoderInput:
        most, longest = self._settings.max_pixels, self._settings.max_side
        photo = decode_for(image, self._sight, max_pixels=most, max_side=longest)
        return EncoderInput(photo.pixels, photo.size)


class PromptablePipeline:
    """The cheap half, with the embeddings: `protocols.PromptableService` but for everything mode."""

    def __init__(
        self,
        card: Card,
        info: ModelInfo,
        encoder: EncoderService,
        decoder_batcher: Batcher[DecoderInput, DecoderOutput],
        images: ImageStore,
        embeddings: EmbeddingStore,
        settings: Settings,
        sink: Sink,
        executor: Executor,
    ) -> None:
        self.card = card
        self.info = info
        self.encoder = encoder
        self._batcher = decoder_batcher
        self._images = images
        self._embeddings = embeddings
        self.settings = settings
        self.sink = sink
        self._executor = executor

    def describe(self) -> ModelInfo:
        """What this service serves."""
        return self.info

    async def embed(self, call: EmbedCall) -> EmbedAnswer:
        """Make sure that the embedding of this image is cached, and say where it was found."""
        async with until(call.caller.deadline):
            embedding, tier = await self._lookup(call.caller.tenant, call.image_id, partial(_given, call.image), True)
        return EmbedAnswer(tier, embedding.size[1], embedding.size[0])

    async def segment(self, call: PromptCall) -> Answer:
        """Masks for each prompt. Raises `ImageNotFound`, `ImageStoreUnavailable`, `InvalidOption`, `Overloaded`,
        `DeadlineExceeded`, ..."""
        stages = Stages(self.sink, TASK)
        async with until(call.caller.deadline):
            with stages.stage("embedding"):
                embedding, tier = await self.embedding(call)
            check(call.prompts, Bounds((embedding.size[1], embedding.size[0]), self.info.text_prompts))
            items = decoder_items(call.prompts, embedding, call.options.multimask)
            check_format(call.options, items)
            self.sink.count("segserve_decoder_prompts_total", len(items), model=self.info.name)
            if call.options.format in WHOLE_FORMATS:
                answer = await self._whole(call, items, stages)
            else:
                answer = await self._text(call, items, embedding.size, tier, stages)
        return replace(answer, timings=stages.timings())

    async def embedding(self, call: PromptCall) -> tuple[Embedding, Tier]:
        """The embedding of the call's image, and where it was found. With only an image id the image store decides
        whether there is such an image; where it is out of reach, what lies in memory is taken."""
        tenant = call.caller.tenant
        image = call.image
        if image is not None:
            return await self._lookup(tenant, call.image_id, partial(_given, image), call.options.store)
        if not await self._stored(call):
            found = self._embeddings.peek(tenant, parse_image_id(call.image_id), self.info.encoder_fingerprint)
            if found is None:
                raise ImageStoreUnavailable
            return found, "memory"
        fetch = partial(self._images.get, tenant, call.image_id)
        return await self._lookup(tenant, call.image_id, fetch, call.options.store)

    async def _stored(self, call: PromptCall) -> bool:
        """Whether the store has the call's image; not, where it is out of reach. Raises `ImageNotFound`."""
        if call.stored is not None:
            return call.stored
        resolution = await self._images.resolve(call.caller.tenant, call.image_id)
        if isinstance(resolution, Unknown):
            raise resolution.error
        return isinstance(resolution, Known)

    async def _lookup(
        self, tenant: str, image_id: str, fetch: Callable[[], Awaitable[bytes]], keep: bool
    ) -> tuple[Embedding, Tier]:
        async def compute() -> Embedding:
            return await self.encoder.encode(await fetch())

        fingerprint = self.info.encoder_fingerprint
        return await self._embeddings.get_or_compute(tenant, parse_image_id(image_id), fingerprint, compute, keep)

    async def _text(
        self, call: PromptCall, items: Sequence[DecoderInput], size: tuple[int, int], tier: Tier, stages: Stages
    ) -> Answer:
        place = georeference(await self.uploaded(call)) if call.options.format == "geojson" else None
        encoding = [0.0] * len(items)
        away = self._here if len(items) == 1 and math.prod(size) <= SMALL_PIXELS else self.off_loop

        async def answered(index: int, item: DecoderInput) -> Encoded:
            output = await self.decoded(index, item, call.caller.deadline)
            begun = time.perf_counter()
            encoded = await away(lambda: encode_candidates(output, index, call.options, place))
            encoding[index] = time.perf_counter() - begun
            return encoded

        begun = time.perf_counter()
        encoded = await self.each(items, answered)
        elapsed = time.perf_counter() - begun
        stages.add("predict", max(0.0, elapsed - sum(encoding)))
        stages.add("encode", sum(encoding))
        common = self.common(call, size, tier)
        with stages.stage("encode"):
            return await away(lambda: text_answer(common, encoded, call.options, place))

    async def _whole(self, call: PromptCall, items: Sequence[DecoderInput], stages: Stages) -> Answer:
        size, masks = items[0].embedding.size, 0

        async def needed(index: int, item: DecoderInput) -> DecoderOutput:
            nonlocal masks
            output = part_of(await self.decoded(index, item, call.caller.deadline), call.options)
            masks += len(output.masks)
            check_masks(masks, size, call.options)
            return output

        with stages.stage("predict"):
            outputs = await self.each(items, needed)
        pixels = None
        if call.options.format != "npz":
            with stages.stage("decode"):
                pixels = await self.pixels(call)
        with stages.stage("encode"):
            return await self.off_loop(lambda: whole_answer(outputs, size, call.options, pixels, self.decode))

    def common(self, call: PromptCall | EverythingCall, size: tuple[int, int], tier: Tier) -> dict[str, Any]:
        """What every JSON answer on an image of `size` (H, W) says; `tier`: where its embedding was found."""
        shared = common_fields(self.info, call.caller, size)
        return {"task": TASK, **shared, "image_id": call.image_id, "embedding": tier}

    async def pixels(self, call: PromptCall) -> UInt8Array:
        """The image itself. Raises as `uploaded`, and `Malformed`."""
        image = await self.uploaded(call)
        return await self.off_loop(partial(self.decode, image))

    async def uploaded(self, call: PromptCall) -> bytes:
        """The image as uploaded, from the call or from the store. Raises `ImageNotFound`, `ImageStoreUnavailable`."""
        if call.image is not None:
            return call.image
        return await self._images.get(call.caller.tenant, call.image_id)

    def decode(self, image: bytes) -> UInt8Array:
        """The pixels of an encoded image, within the limits. Blocking."""
        return _pixels(image, self.settings)

    async def decoded(self, index: int, item: DecoderInput, deadline: float) -> DecoderOutput:
        """What the decoder says of one prompt. A refusal of the model names that prompt."""
        try:
            return await self._batcher.submit(item, deadline)
        except InvalidOption as error:
            details = tuple(_inside(f"prompts[{index}]", each) for each in error.details)
            raise InvalidOption(f"prompts[{index}].{error.message}", details) from None

    async def each(
        self, items: Sequence[DecoderInput], work: Callable[[int, DecoderInput], Awaitable[Result]]
    ) -> list[Result]:
        """The results of all items, in order. So many are in work at once that the next batch is there when one ends
        (on a large image one batch alone), and that the queue is never full of one request. The first error ends the
        rest and is raised."""
        if len(items) == 1:
            return [await work(0, items[0])]
        caps = self._batcher.caps
        room = max(caps.max_batch, HELD_PIXELS // (CANDIDATES * math.prod(items[0].embedding.size)))
        places = asyncio.Semaphore(max(1, min((self._batcher.slots + 1) * caps.max_batch, caps.max_queue, room)))

        async def placed(index: int, item: DecoderInput) -> Result:
            async with places:
                return await work(index, item)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(placed(index, item)) for index, item in enumerate(items)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    @staticmethod
    async def _here(work: Callable[[], Result]) -> Result:
        """Work that takes less than handing it to a thread would."""
        return work()

    async def off_loop(self, work: Callable[[], Result]) -> Result:
        """Run blocking work in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _inside(place: str, problem: Detail) -> Detail:
    return replace(problem, field=f"{place}.{problem.field}")


def _pixels(image: bytes, settings: Settings) -> UInt8Array:
    return decode(image, max_pixels=settings.max_pixels, max_side=settings.max_side)


async def _given(image: bytes) -> bytes:
    return image


@asynccontextmanager
async def until(deadline: float) -> AsyncIterator[None]:
    """Raises `DeadlineExceeded` when the block is not done by `deadline` (Unix seconds)."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.time())):
            yield
    except TimeoutError:
        raise DeadlineExceeded from None
