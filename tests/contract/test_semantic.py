"""The contract for label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from shared.catalog.card import Card
from shared.labels import label_space
from shared.protocols import LoadedModels, Model
from shared.types import DenseInput, Role, SemanticOutput
from tests.contract.contract import Contract, picture, pictures


class TestSemantic(Contract):
    role: ClassVar[Role] = "semantic"

    def items(self, card: Card) -> Sequence[DenseInput]:
        return [DenseInput(pixels, whole=whole) for pixels, whole in pictures()]

    def check(self, card: Card, item: DenseInput, output: SemanticOutput) -> None:
        space = label_space(card.label_space)
        assert output.labels.shape == output.confidence.shape == item.size
        assert output.labels.dtype == (np.uint8 if space.void == 255 else np.uint16)
        assert set(np.unique(output.labels).tolist()) <= {*range(len(space.labels)), space.void}
        assert output.confidence.dtype == np.float16
        assert ((output.confidence >= 0) & (output.confidence <= 1)).all()

    def same(self, one: SemanticOutput, other: SemanticOutput) -> bool:
        return np.array_equal(one.labels, other.labels) and np.array_equal(one.confidence, other.confidence)

    def agree(self, one: SemanticOutput, other: SemanticOutput) -> bool:
        close = np.abs(one.confidence.astype(np.float32) - other.confidence).max() < 5e-3
        return bool(close and np.mean(one.labels == other.labels) >= 0.999)

    def test_augmentation_answers_where_the_card_has_scales(
        self, card: Card, model: Model[DenseInput, SemanticOutput]
    ) -> None:
        item = DenseInput(picture(48, 64, seed=5), tta=True)
        plain, augmented = model.predict([DenseInput(item.pixels), item])
        self.check(card, item, augmented)
        if not card.tta_scales:
            assert self.same(plain, augmented)
            assert model.cost(item) == model.cost(DenseInput(item.pixels))
            return
        assert not np.array_equal(plain.confidence, augmented.confidence)
        assert model.cost(item) >= 2 * model.cost(DenseInput(item.pixels))
        mirrored = model.predict([DenseInput(np.ascontiguousarray(item.pixels[:, ::-1]), tta=True)])[0]
        agreement = np.mean(mirrored.labels[:, ::-1] == augmented.labels)
        assert agreement == pytest.approx(1, abs=0.01), "every scale is seen both ways, so mirroring mirrors the answer"

    def test_borders_are_refined_where_the_card_has_a_crf(
        self, card: Card, loaded: LoadedModels, model: Model[DenseInput, SemanticOutput]
    ) -> None:
        item = DenseInput(picture(48, 64, seed=5), crf=True)
        plain, refined = model.predict([DenseInput(item.pixels), item])
        self.check(card, item, refined)
        assert loaded.crf == (card.dense_crf is not None)
        if not loaded.crf:
            assert self.same(plain, refined)
            return
        assert not np.array_equal(plain.confidence, refined.confidence)
        assert model.cost(item) > 10 * model.cost(DenseInput(item.pixels))
        assert self.same(refined, model.predict([item])[0])
