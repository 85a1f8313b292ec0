"""The architecture on one page: models take and give batches; services take calls and give encoded answers.

A model never sees a request, a status code or a cache; a service never sees HTTP; the gateway never sees a tensor.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from shared.calls import (
    Answer,
    DenseCall,
    EmbedAnswer,
    EmbedCall,
    EverythingCall,
    ModelInfo,
    PromptCall,
    StreamEvent,
)
from shared.types import Embedding, Role

In_contra = TypeVar("In_contra", contravariant=True)
Out = TypeVar("Out")


class Model(Protocol[In_contra, Out]):
    """A network with its own pre- and postprocessing, on one engine. Blocking; called from as many threads at a
    time as the replica has slots, each with a batch of its own."""

    def predict(self, batch: Sequence[In_contra]) -> list[Out]:
        """As many outputs as inputs, in the same order. An item's answer does not depend on its neighbours."""
        ...

    def cost(self, item: In_contra) -> int:
        """Pixels that the network will see for this item: what batch caps are counted in."""
        ...

    def warm(self) -> None:
        """Run every shape bucket once, so that the first request is as fast as the tenth. Raises when it cannot."""
        ...


class SizeSeen(Protocol):
    """How an image model says what it sees of images."""

    def __call__(self, size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        """(height, width) at which the network sees an image of `size` (H, W), the largest where it averages views.
        The image's own says that all of its pixels count."""
        ...


@runtime_checkable
class ImageModel(Model[In_contra, Out], Protocol):
    """A model that takes images, and shrinks them itself: of a large photo it needs a part of the pixels."""

    def seen(self, size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        """See `SizeSeen`."""
        ...


@runtime_checkable
class PaddedModel(ImageModel[In_contra, Out], Protocol):
    """An image model that says how much of what its network sees is padding."""

    def shown(self, item: In_contra) -> tuple[int, int]:
        """Pixels that the network sees for this item, all views of it, and how many of them are the image's."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """What a card's loader returns: a model per role asked for, and what is known of them after loading."""

    roles: Mapping[Role, Model[Any, Any]]
    weights_sha256: str
    engine: str
    encoder_fingerprint: str
    """Encoder weights and settings + preprocessing + dtype + engine; keys the embedding cache, which models with one
    encoder share. Empty where there is no encoder."""
    parameters: int
    crf: bool = False
    """Whether the semantic model answers `DenseInput.crf`."""


class DenseService(Protocol):
    """Semantic, instance or panoptic: encoded image in, encoded masks out."""

    def describe(self) -> ModelInfo:
        """What this service serves."""
        ...

    async def segment(self, call: DenseCall) -> Answer:
        """Decode, predict, encode. Raises `shared.errors` only."""
        ...


class EverythingService(Protocol):
    """The automatic mask generator of a promptable model."""

    def everything(self, call: EverythingCall) -> AsyncGenerator[StreamEvent | Answer, None]:
        """All masks of an image: the last item is the answer.

        With `call.live` there come before it `progress` {"done", "total", "masks"}, `mask` (one that stands for now,
        with an "id"; the same id again replaces it) and `dropped` {"ids"} (masks that better ones have displaced).
        """
        ...


class PromptableService(EverythingService, Protocol):
    """Prompts on an image or on its cached embedding, and all masks of an image."""

    def describe(self) -> ModelInfo:
        """What this service serves."""
        ...

    async def segment(self, call: PromptCall) -> Answer:
        """Embedding (memory, Redis or computed), decode the prompts, encode the masks."""
        ...

    async def embed(self, call: EmbedCall) -> EmbedAnswer:
        """Make sure the embedding of this image is cached, and say where it was found."""
        ...


class EncoderService(Protocol):
    """The dear half of promptable, as its cheap half sees it."""

    async def encode(self, image: bytes) -> Embedding:
        """Decode the image and run the encoder."""
        ...


class Sink(Protocol):
    """Where metrics go: Ray's metrics inside replicas, prometheus_client elsewhere, a list in tests.

    `name` is one declared in `shared.telemetry.metrics`; labels are exactly those declared for it.
    """

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...
