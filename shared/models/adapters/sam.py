"""Segment Anything and its family from transformers: one image to an embedding, prompts on embeddings to masks.

A card's `network.class` chooses the family (`sam_families.py`). Prompts of one make-up and as many points run together,
across images and callers: padding them to a common number would change the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shared.catalog.card import Card, Preprocess
from shared.catalog.loading import LoadOptions
from shared.errors import InvalidOption
from shared.models.adapters.decoding import by_kind
from shared.models.adapters.embedding import ENCODER, EngineOf, ImageEncoder, fitted
from shared.models.adapters.sam_families import family_of
from shared.models.adapters.sam_network import SamFamily, decoder_graph
from shared.models.adapters.sam_prompts import Makeup, makeup_of, prompt_arrays, warming
from shared.models.device import choose
from shared.models.engines.choice import engine_for
from shared.models.engines.engine import Array, Engine, counted, shapes_of
from shared.models.engines.foreseen import ForeseenEngine
from shared.models.engines.graph import Graph
from shared.models.fingerprint import encoder_fingerprint
from shared.models.geometry import Placement, place
from shared.models.postprocess.prompt_masks import LogitFrame, candidates, padded, stretched
from shared.models.weights import TRANSFORMERS, Library, load_network
from shared.protocols import LoadedModels, Model
from shared.types import DecoderInput, DecoderOutput, Role


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """A network of transformers; see `load_from`."""
    return load_from(card, options, TRANSFORMERS)


def load_from(card: Card, options: LoadOptions, library: Library) -> LoadedModels:
    """Encoder, decoder or both. Raises `WeightsError`, `EngineError`, or `ValueError` for preprocessing that does not
    fit the network."""
    name, _ = choose(card, options)
    weighted = load_network(card, library, options.weights_dir)
    family = family_of(card, weighted.module)
    encoder = fitted(card, family, weighted.digests, options.roles)
    if name == "openvino":
        family.for_openvino()

    def engine_of(graph: Graph, part: str) -> Engine:
        engine = engine_for(graph, card, options, weighted.sha256, part)
        if name != "openvino" or part == ENCODER:
            return engine
        plain = replace(options, engine="torch", device="cpu", precision="f32")
        eager = engine_for(graph, card, plain, weighted.sha256, part)
        return ForeseenEngine(engine, eager, counted(options.on_unforeseen_shape))

    roles: dict[Role, Model[Any, Any]] = {}
    if "encoder" in options.roles:
        roles["encoder"] = ImageEncoder(family, card.preprocess, engine_of)
    if "decoder" in options.roles:
        roles["decoder"] = SamDecoder(family, card.preprocess, engine_of)
    fingerprint = encoder_fingerprint(encoder, card.preprocess, options.precision, name)
    return LoadedModels(roles, weighted.sha256, name, fingerprint, weighted.parameters)


class SamDecoder:
    """Prompts on embeddings to candidate masks."""

    def __init__(self, family: SamFamily, preprocess: Preprocess, engine_of: EngineOf) -> None:
        self._family = family
        self._preprocess = preprocess
        self._engine_of = engine_of
        self._engines: dict[Makeup, Engine] = {}
        self._logits_shape = (family.logits_side, family.logits_side)

    def predict(self, batch: Sequence[DecoderInput]) -> list[DecoderOutput]:
        """One output a prompt. Raises `InvalidOption` for a prompt that this network cannot take."""
        for item in batch:
            self._check(item)
        return by_kind(batch, _kind_of, lambda kind: self._engine(kind[0]), self._decode)

    def cost(self, item: DecoderInput) -> int:
        """The pixels of one low-resolution mask."""
        return self._family.logits_side**2

    def warm(self) -> None:
        """The kinds of prompt that people send, on an empty embedding."""
        for item in warming(self._family.empty(), self._logits_shape):
            self._engine(makeup_of(item)).warm([shapes_of(self._inputs([item]))])

    def _check(self, item: DecoderInput) -> None:
        prompt = item.prompt
        if prompt.text is not None:
            raise InvalidOption.of("text", prompt.text, None, "this model takes points, boxes and masks, no text")
        if prompt.mask is not None and prompt.mask.shape != self._logits_shape:
            shown, wanted = ("x".join(map(str, shape)) for shape in (prompt.mask.shape, self._logits_shape))
            raise InvalidOption.of("mask", shown, wanted, "no logits of an earlier answer of this model")

    def _engine(self, makeup: Makeup) -> Engine:
        if makeup not in self._engines:
            self._engines[makeup] = self._engine_of(decoder_graph(self._family, makeup), f"decoder {makeup}")
        return self._engines[makeup]

    def _decode(self, engine: Engine, items: Sequence[DecoderInput]) -> list[DecoderOutput]:
        """Prompts of one make-up and as many points."""
        found = engine.run(self._inputs(items))
        return [
            DecoderOutput(candidates(masks, iou, self._frame(item), item.lowest_iou, item.stability_offset))
            for masks, iou, item in zip(found["masks"], found["iou"], items, strict=True)
        ]

    def _inputs(self, items: Sequence[DecoderInput]) -> dict[str, Array]:
        """As the decoder's graph takes them; prompts on one image share its embedding."""
        placements = [self._placement(item) for item in items]
        return self._family.gathered(items) | prompt_arrays(items, makeup_of(items[0]), placements)

    def _placement(self, item: DecoderInput) -> Placement:
        return place(self._preprocess, *item.embedding.size)

    def _frame(self, item: DecoderInput) -> LogitFrame:
        placement = self._placement(item)
        size = (placement.image.height, placement.image.width)
        if self._family.resize == "squash":
            return stretched(self._logits_shape, size)
        return padded(self._logits_shape, placement.canvas, placement.valid, size)


def _kind_of(item: DecoderInput) -> tuple[Makeup, int]:
    """Prompts of one make-up and as many points share a run."""
    return makeup_of(item), len(item.prompt.points)
