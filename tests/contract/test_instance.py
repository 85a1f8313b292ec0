"""The contract for instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from shared.catalog.card import Card
from shared.labels import label_space
from shared.protocols import Model
from shared.types import DenseInput, Instance, InstanceOutput, Region, Role
from tests.contract.contract import Contract, picture, pictures


class TestInstance(Contract):
    role: ClassVar[Role] = "instance"

    def items(self, card: Card) -> Sequence[DenseInput]:
        return [DenseInput(pixels, score_threshold=0.0, whole=whole) for pixels, whole in pictures()]

    def check(self, card: Card, item: DenseInput, output: InstanceOutput) -> None:
        things = label_space(card.label_space).things
        height, width = item.size
        assert output.size == (height, width)
        scores = [instance.score for instance in output.instances]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) <= card.thresholds.max_instances
        for instance in output.instances:
            assert 0 <= instance.score <= 1
            assert instance.label_id in things
            assert_tight(instance.region, (height, width))
            if instance.detection_box is not None:
                x0, y0, x1, y1 = instance.detection_box
                assert 0 <= x0 <= x1 <= width + 1e-3
                assert 0 <= y0 <= y1 <= height + 1e-3

    def same(self, one: InstanceOutput, other: InstanceOutput) -> bool:
        return one.size == other.size and [key(each) for each in one.instances] == [
            key(each) for each in other.instances
        ]

    def agree(self, one: InstanceOutput, other: InstanceOutput) -> bool:
        """All but one instance are found again, and half of them or more with the same mask: random weights leave masks
        so near the threshold that the last bit of f32 decides."""
        found = [
            [overlap(each, candidate) for candidate in other.instances if akin(each, candidate)]
            for each in one.instances
        ]
        again, same_masks = sum(map(bool, found)), sum(max(overlaps, default=0) >= 0.99 for overlaps in found)
        near = abs(len(one.instances) - len(other.instances)) <= 1
        return near and again >= len(found) - 1 and same_masks >= len(found) / 2

    def test_something_is_found_and_limits_hold(self, card: Card, model: Model[DenseInput, InstanceOutput]) -> None:
        pixels = picture(64, 96, seed=7)
        everything = model.predict([DenseInput(pixels, score_threshold=0.0)])[0].instances
        assert len(everything) >= 2, "the tiny card must find something, or its tests test nothing"
        first = model.predict([DenseInput(pixels, score_threshold=0.0, max_instances=1)])[0].instances
        assert [key(each) for each in first] == [key(everything[0])]
        lowest = (everything[0].score + everything[-1].score) / 2
        sure = model.predict([DenseInput(pixels, score_threshold=lowest)])[0].instances
        assert [key(each) for each in sure] == [key(each) for each in everything if each.score >= lowest]


def key(instance: Instance) -> tuple[object, ...]:
    """All of an instance, comparable."""
    region = instance.region
    return instance.label_id, instance.score, instance.detection_box, region.box, region.bits.tobytes()


def akin(one: Instance, other: Instance) -> bool:
    """Same label, nearly the same score, and box where the network has boxes."""
    if one.label_id != other.label_id or abs(one.score - other.score) > 1e-2:
        return False
    if one.detection_box is None or other.detection_box is None:
        return one.detection_box is other.detection_box
    return float(np.abs(np.subtract(one.detection_box, other.detection_box)).max()) < 1


def overlap(one: Instance, other: Instance) -> float:
    """IoU of the masks."""
    a, b = one.region.full(), other.region.full()
    return float((a & b).sum() / (a | b).sum())


def assert_tight(region: Region, size: tuple[int, int]) -> None:
    """The crop lies in the image and touches all four sides of its box."""
    x0, y0, x1, y1 = region.box
    assert region.size == size
    assert region.bits.dtype == np.bool_
    assert 0 <= x0 < x1 <= size[1]
    assert 0 <= y0 < y1 <= size[0]
    assert region.bits[0].any()
    assert region.bits[-1].any()
    assert region.bits[:, 0].any()
    assert region.bits[:, -1].any()
