"""The contract for panoptic answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from shared.catalog.card import Card
from shared.labels import label_space
from shared.protocols import Model
from shared.types import DenseInput, PanopticOutput, Role
from tests.contract.contract import Contract, picture, pictures


class TestPanoptic(Contract):
    role: ClassVar[Role] = "panoptic"

    def items(self, card: Card) -> Sequence[DenseInput]:
        return [DenseInput(pixels, whole=whole) for pixels, whole in pictures()]

    def check(self, card: Card, item: DenseInput, output: PanopticOutput) -> None:
        space = label_space(card.label_space)
        assert output.ids.shape == item.size
        assert output.ids.dtype in (np.int32, np.uint8)
        ids = [segment.id for segment in output.segments]
        assert set(np.unique(output.ids).tolist()) - {0} == set(ids), "segments describe exactly the ids that occur"
        assert len(set(ids)) == len(ids)
        assert all(number > 0 for number in ids)
        for segment in output.segments:
            assert 0 <= segment.score <= 1
            assert 0 <= segment.label_id < len(space.labels)
            assert segment.isthing == (segment.label_id in space.things)
        stuff = [segment.label_id for segment in output.segments if not segment.isthing]
        assert len(set(stuff)) == len(stuff), "stuff of one class is one segment"

    def same(self, one: PanopticOutput, other: PanopticOutput) -> bool:
        return np.array_equal(one.ids, other.ids) and one.segments == other.segments

    def agree(self, one: PanopticOutput, other: PanopticOutput) -> bool:
        labels = [_labels(output) for output in (one, other)]
        return bool(np.mean(labels[0] == labels[1]) >= 0.999)

    def test_something_is_found(self, card: Card, model: Model[DenseInput, PanopticOutput]) -> None:
        outputs = model.predict(self.items(card))
        assert any(output.segments for output in outputs), "the tiny card must find something"
        nothing = model.predict([DenseInput(picture(48, 64, seed=1), score_threshold=1.0)])[0]
        assert nothing.segments == ()
        assert not nothing.ids.any()


def _labels(output: PanopticOutput) -> np.ndarray:
    table = np.full(int(output.ids.max(initial=0)) + 1, -1)
    for segment in output.segments:
        table[segment.id] = segment.label_id
    return table[output.ids]
