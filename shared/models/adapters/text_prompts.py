"""Networks that find what a phrase names: one image to an embedding, phrases on embeddings to scored masks.

A card's `network.class` chooses the family (`text_families.py`). An image is embedded once, a phrase encoded once, and
the decoder runs for each pair of them; pairs of one make-up run together, across images and callers. Masks below the
card's `thresholds.score` are left out, so that a phrase which names nothing in the image has no masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.errors import InvalidOption
from shared.models.adapters.decoding import by_kind
from shared.models.adapters.embedding import EngineOf, ImageEncoder, fitted
from shared.models.adapters.phrases import Phrases
from shared.models.adapters.text_families import family_of
from shared.models.adapters.text_network import BOXES, LOGITS, SCORES, TextFamily, decoder_graph, phrase_graph
from shared.models.device import choose
from shared.models.engines.choice import engine_for
from shared.models.engines.engine import Array, Engine, shapes_of
from shared.models.engines.graph import Graph
from shared.models.fingerprint import encoder_fingerprint
from shared.models.geometry import place
from shared.models.hub import tokenizer_of
from shared.models.postprocess.prompt_masks import candidates, stretched
from shared.models.weights import TRANSFORMERS, load_network
from shared.protocols import LoadedModels, Model
from shared.types import DecoderInput, DecoderOutput, Prompt, PromptMask, Role

ANYTHING = "visual"
"""The phrase that stands for none, beside a box whose content is to be found again."""


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """Encoder, decoder or both. Raises `WeightsError`, `EngineError`, or `ValueError` for preprocessing that does not
    fit the network."""
    weighted = load_network(card, TRANSFORMERS, options.weights_dir)
    family = family_of(card, weighted.module)
    encoder = fitted(card, family, weighted.digests, options.roles)

    def engine_of(graph: Graph, part: str) -> Engine:
        return engine_for(graph, card, options, weighted.sha256, part)

    roles: dict[Role, Model[Any, Any]] = {}
    if "encoder" in options.roles:
        roles["encoder"] = ImageEncoder(family, card.preprocess, engine_of)
    if "decoder" in options.roles:
        reader = engine_of(phrase_graph(family), "phrases")
        tokenizer = tokenizer_of(card, family.vocabulary, options.weights_dir)
        phrases = Phrases(tokenizer, reader, family.length, family.padded)
        roles["decoder"] = TextDecoder(card, family, phrases, engine_of)
    name, _ = choose(card, options)
    fingerprint = encoder_fingerprint(encoder, card.preprocess, options.precision, name)
    return LoadedModels(roles, weighted.sha256, name, fingerprint, weighted.parameters)


class TextDecoder:
    """Phrases, and for some families a box around an example, on embeddings to every mask that fits, best first."""

    def __init__(self, card: Card, family: TextFamily, phrases: Phrases, engine_of: EngineOf) -> None:
        self._card = card
        self._family = family
        self._phrases = phrases
        self._engine_of = engine_of
        self._engines: dict[bool, Engine] = {}

    def predict(self, batch: Sequence[DecoderInput]) -> list[DecoderOutput]:
        """One output a prompt. Raises `InvalidOption` for a prompt that this network cannot take."""
        for item in batch:
            self._check(item.prompt)
        return by_kind(batch, lambda item: item.prompt.box is not None, self._engine, self._decode)

    def cost(self, item: DecoderInput) -> int:
        """The pixels of one low-resolution mask."""
        return self._family.logits_side**2

    def warm(self) -> None:
        """A phrase, and a box where this network takes one, on an empty embedding."""
        self._phrases.warm()
        empty = self._family.empty()
        prompts = [Prompt(text=ANYTHING)]
        if self._family.takes_box:
            prompts.append(Prompt(text=ANYTHING, box=(0.0, 0.0, empty.size[1] / 2, empty.size[0] / 2)))
        for prompt in prompts:
            inputs = self._inputs([DecoderInput(empty, prompt)])
            self._engine(prompt.box is not None).warm([shapes_of(inputs)])

    def _check(self, prompt: Prompt) -> None:
        taken = "text, box" if self._family.takes_box else "text"
        if len(prompt.points):
            raise InvalidOption.of("points", len(prompt.points), taken, f"this model takes {taken}, no points")
        if prompt.mask is not None:
            raise InvalidOption.of("mask", None, taken, f"this model takes {taken}, no mask")
        if prompt.box is not None and not self._family.takes_box:
            raise InvalidOption.of("box", list(prompt.box), taken, f"this model takes {taken}, no box")
        if prompt.text is None and prompt.box is None:
            raise InvalidOption.of("text", None, taken, f"this model takes {taken}")

    def _engine(self, boxed: bool) -> Engine:
        if boxed not in self._engines:
            self._engines[boxed] = self._engine_of(decoder_graph(self._family, boxed), f"decoder {boxed}")
        return self._engines[boxed]

    def _inputs(self, items: Sequence[DecoderInput]) -> dict[str, Array]:
        """As the decoder's graph takes them, all with a box or all without."""
        read = [self._phrases.features(item.prompt.text or ANYTHING) for item in items]
        arrays = self._family.gathered(items)
        arrays |= {name: np.stack([features[name] for features in read]) for name in read[0]}
        boxes = [(item.prompt.box, item.embedding.size) for item in items if item.prompt.box is not None]
        if boxes:
            corners = np.array([box for box, _ in boxes], dtype=np.float32)
            sizes = np.array([(size[1], size[0]) * 2 for _, size in boxes], dtype=np.float32)
            arrays[BOXES] = corners / sizes
        return arrays

    def _decode(self, engine: Engine, items: Sequence[DecoderInput]) -> list[DecoderOutput]:
        found = engine.run(self._inputs(items))
        return [
            DecoderOutput(self._masks(item, logits, scores))
            for item, logits, scores in zip(items, found[LOGITS], found[SCORES], strict=True)
        ]

    def _masks(self, item: DecoderInput, logits: Array, scores: Array) -> tuple[PromptMask, ...]:
        best = np.argsort(-scores, kind="stable")[: self._card.thresholds.max_instances]
        lowest = max(self._card.thresholds.score, item.lowest_iou or 0.0)
        image = place(self._card.preprocess, *item.embedding.size).image
        frame = stretched((self._family.logits_side, self._family.logits_side), (image.height, image.width))
        masks = candidates(logits[best], scores[best], frame, lowest, item.stability_offset)
        return tuple(replace(mask, score=mask.predicted_iou) for mask in masks if not mask.region.empty)
