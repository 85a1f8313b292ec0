"""The contract for masks of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from shared.catalog.card import Card
from shared.types import DecoderInput, DecoderOutput, EncoderInput, Prompt, Role
from tests.contract.contract import Contract, picture
from tests.contract.tiny import load_tiny


def clicks(*points: tuple[float, float]) -> Prompt:
    labels = [1] + [0] * (len(points) - 1)
    return Prompt(np.array(points, dtype=np.float32), np.array(labels, dtype=np.int32))


class TestDecoder(Contract):
    role: ClassVar[Role] = "decoder"

    def items(self, card: Card) -> Sequence[DecoderInput]:
        encoder = load_tiny(card, "encoder").roles["encoder"]
        images = [EncoderInput(picture(48, 64, 1)), EncoderInput(picture(130, 71, 2))]
        first, second = encoder.predict(images)
        if card.text_prompts:
            words = ((first, "a car"), (second, "a car"), (first, "the road"), (second, "a very old tree"))
            return [DecoderInput(embedding, Prompt(text=text)) for embedding, text in words]
        return [
            DecoderInput(first, clicks((10, 20)), multimask=True),
            DecoderInput(second, clicks((0, 0), (71, 130))),
            DecoderInput(first, Prompt(box=(5, 5, 60, 40))),
            DecoderInput(second, clicks((30, 99)), multimask=True),
            DecoderInput(first, Prompt(clicks((1, 1)).points, clicks((1, 1)).labels, box=(0, 0, 64, 48))),
        ]

    def check(self, card: Card, item: DecoderInput, output: DecoderOutput) -> None:
        if card.text_prompts:
            assert 1 <= len(output.masks) <= card.thresholds.max_instances, "the tiny card must find something"
            assert all(mask.score == mask.predicted_iou >= card.thresholds.score for mask in output.masks)
        else:
            assert len(output.masks) == (3 if item.multimask else 1)
            assert all(mask.score is None for mask in output.masks)
        ious = [mask.predicted_iou for mask in output.masks]
        assert ious == sorted(ious, reverse=True)
        for mask in output.masks:
            assert mask.region.size == item.embedding.size
            assert 0 <= mask.stability_score <= 1
            assert mask.logits.dtype == np.float16
            x0, y0, x1, y1 = mask.region.box
            assert 0 <= x0 <= x1 <= item.embedding.size[1]
            assert 0 <= y0 <= y1 <= item.embedding.size[0]

    def same(self, one: DecoderOutput, other: DecoderOutput) -> bool:
        return len(one.masks) == len(other.masks) and all(
            left.predicted_iou == right.predicted_iou
            and np.array_equal(left.logits, right.logits)
            and np.array_equal(left.region.full(), right.region.full())
            for left, right in zip(one.masks, other.masks, strict=True)
        )

    def agree(self, one: DecoderOutput, other: DecoderOutput) -> bool:
        return len(one.masks) == len(other.masks) and all(
            abs(left.predicted_iou - right.predicted_iou) < 1e-3
            and np.mean(left.region.full() == right.region.full()) >= 0.999
            for left, right in zip(one.masks, other.masks, strict=True)
        )

    def test_logits_of_an_answer_are_a_prompt(self, card: Card) -> None:
        if card.text_prompts:
            pytest.skip("takes phrases, no masks")
        models = load_tiny(card, "encoder", "decoder").roles
        embedding = models["encoder"].predict([EncoderInput(picture(48, 64, 1))])[0]
        first = models["decoder"].predict([DecoderInput(embedding, clicks((30, 20)), multimask=True)])[0]
        mask = first.masks[0].logits.astype(np.float32)
        again = models["decoder"].predict([DecoderInput(embedding, Prompt(mask=mask))])[0]
        assert again.masks[0].logits.shape == mask.shape
