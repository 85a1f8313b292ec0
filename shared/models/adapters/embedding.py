"""The half of a promptable network that sees images: pixels to the tensors of an embedding, and back into a decoder.

`Embedder` is what a network's family says of that half; `ImageEncoder` is the model that a replica runs.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from shared.catalog.card import Card, Preprocess
from shared.models.engines.engine import Array, Engine
from shared.models.engines.graph import Graph, tensors
from shared.models.engines.host import on_host
from shared.models.geometry import Placement, place, seen, shown
from shared.models.inputs import arrange
from shared.models.normalise import PIXELS, VALID, pixel_graph
from shared.models.postprocess.prompt_masks import FLOAT16_MAX
from shared.types import DecoderInput, Embedding, EncoderInput, Role

ENCODER = "encoder"
OWNER = "owner"
BESIDE_THE_POINT = frozenset(
    (
        "_name_or_path",
        "architectures",
        "dtype",
        "id2label",
        "initializer_factor",
        "initializer_range",
        "label2id",
        "label_names",
        "num_classes",
        "problem_type",
        "transformers_version",
    )
)
"""Entries of transformers' configurations that change no embedding."""
FLOAT16, INT64 = np.dtype(np.float16), np.dtype(np.int64)
EngineOf = Callable[[Graph, str], Engine]
"""The engine for a graph of this part of the network."""


class Embedder(ABC):
    """A promptable network's image side. `resize`: how its images reach the square input. `encoder`: how the names of
    the tensors begin on which `encode` depends."""

    resize: ClassVar[Literal["fit", "squash"]] = "squash"
    encoder: ClassVar[tuple[str, ...]] = ("vision_encoder.",)

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    @abstractmethod
    def side(self) -> int:
        """Side of the square input in pixels."""

    @property
    @abstractmethod
    def logits_side(self) -> int:
        """Side of the mask logits over that square."""

    @property
    @abstractmethod
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each tensor of an embedding."""

    @property
    def settings(self) -> dict[str, Any]:
        """What besides its weights makes the encoder."""
        found: dict[str, Any] = self.model.config.vision_config.to_dict()
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """What the graphs call the tensors of an embedding."""
        return tuple(f"embedding{i}" for i in range(len(self.shapes)))

    @abstractmethod
    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Normalised input [n,3,side,side] to the tensors of the embedding, each [n,...]."""

    def for_openvino(self) -> None:  # noqa: B027 (most families need nothing)
        """Make the model fit to be converted."""

    def without_encoder(self) -> None:
        """Let go of the image encoder's weights: a replica that only decodes needs a twentieth of the memory."""
        self.model.vision_encoder = None

    def empty(self) -> Embedding:
        """An embedding of zeros, of an image as large as the input: what engines are warmed on."""
        return Embedding((self.side, self.side), tuple(np.zeros(shape, dtype=np.float16) for shape in self.shapes))

    def gathered(self, items: Sequence[DecoderInput]) -> dict[str, Array]:
        """The embeddings of the items, each once, by name, and in `owner` [n] which of them is each item's."""
        distinct = {id(item.embedding): item.embedding for item in items}
        places = {key: position for position, key in enumerate(distinct)}
        arrays: dict[str, Array] = {OWNER: np.array([places[id(item.embedding)] for item in items], dtype=np.int64)}
        for i, name in enumerate(self.names):
            arrays[name] = np.stack([embedding.tensors[i] for embedding in distinct.values()])
        return arrays

    @property
    def gathered_types(self) -> dict[str, np.dtype[Any]]:
        """Names and types of what `gathered` returns."""
        return {OWNER: INT64} | dict.fromkeys(self.names, FLOAT16)


def encoder_digest(embedder: Embedder, digests: Mapping[str, str]) -> str:
    """Of all that makes an embedding before preprocessing and arithmetic: the encoder's tensors out of those of the
    whole network (`Weighted.digests`), its settings, and what it keeps of an image."""
    tensors = {name: digest for name, digest in digests.items() if name.startswith(embedder.encoder)}
    facts = [tensors, _plain(embedder.settings), embedder.shapes]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a library's configuration says of itself, of training and of labels."""
    return {
        name: _plain(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if name not in BESIDE_THE_POINT
    }


def fitted(card: Card, embedder: Embedder, digests: Mapping[str, str], roles: Sequence[Role]) -> str:
    """`encoder_digest`, taken before the encoder is let go of where `roles` need none. Raises `ValueError` for
    preprocessing that does not fit the network."""
    require_geometry(card, embedder)
    digest = encoder_digest(embedder, digests)
    if "encoder" not in roles:
        embedder.without_encoder()
    return digest


def require_geometry(card: Card, embedder: Embedder) -> None:
    """Raises `ValueError` for preprocessing that does not fit the network."""
    found = (card.preprocess.resize, place(card.preprocess, 1, 1).canvas)
    wanted = (embedder.resize, (embedder.side, embedder.side))
    if found != wanted:
        raise ValueError(f"card {card.name}: preprocess is {found}, the network takes {wanted}")


class EncoderModule(nn.Module):
    """Normalised, padded input [n,3,side,side] -> embedding tensors [n,...]."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.model = embedder.model
        self._embedder = embedder

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """[n,3,side,side] to one tensor [n,...] for each of the embedder's `names`."""
        return self._embedder.encode(pixels)


class ImageEncoder:
    """Images to embeddings, rounded to float16 whether they are kept or not."""

    def __init__(self, embedder: Embedder, preprocess: Preprocess, engine_of: EngineOf) -> None:
        self._side = embedder.side
        self._preprocess = preprocess
        self._outputs = embedder.names
        graph = pixel_graph(preprocess, EncoderModule(embedder), embedder.names)
        self._asks_valid = VALID in graph.inputs
        self.engine = engine_of(graph, ENCODER)

    def predict(self, batch: Sequence[EncoderInput]) -> list[Embedding]:
        """One embedding an image."""
        embeddings: list[Embedding] = []
        for start in range(0, len(batch), self.engine.batch_limit):
            embeddings += self._embed(batch[start : start + self.engine.batch_limit])
        return embeddings

    def cost(self, item: EncoderInput) -> int:
        """The whole square, whatever the image."""
        return self._side**2

    def seen(self, size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        """See `ImageModel.seen`."""
        return seen(self._preprocess, [place(self._preprocess, *size)])

    def shown(self, item: EncoderInput) -> tuple[int, int]:
        """See `PaddedModel.shown`."""
        return shown([place(self._preprocess, *item.size)])

    def warm(self) -> None:
        """One black image."""
        shapes: dict[str, tuple[int, ...]] = {PIXELS: (1, self._side, self._side, 3)}
        self.engine.warm([shapes | {VALID: (1, 2)} if self._asks_valid else shapes])

    def arranged(self, batch: Sequence[EncoderInput]) -> dict[str, Array]:
        """What the engine is given of these images."""
        placements = self._placements(batch)
        pairs = zip(batch, placements, strict=True)
        inputs: dict[str, Array] = {
            PIXELS: np.stack([arrange(item.pixels, placement, self._preprocess) for item, placement in pairs])
        }
        if self._asks_valid:
            inputs[VALID] = np.array([placement.valid for placement in placements], dtype=np.int64)
        return inputs

    def _placements(self, batch: Sequence[EncoderInput]) -> list[Placement]:
        return [place(self._preprocess, *item.size) for item in batch]

    def _embed(self, batch: Sequence[EncoderInput]) -> list[Embedding]:
        with torch.inference_mode():
            found = tensors(self.engine, self.arranged(batch))
            kept = on_host({name: _rounded(found[name]) for name in self._outputs})
        return [
            Embedding((placement.image.height, placement.image.width), tuple(kept[name][i] for name in self._outputs))
            for i, placement in enumerate(self._placements(batch))
        ]


def _rounded(tensor: Tensor) -> Tensor:
    """To float16, where it lies: what is beyond its range becomes its largest value, not infinity."""
    return tensor.clamp(-FLOAT16_MAX, FLOAT16_MAX).half()
