"""Pixels of answered images: as sent, as the network sees them, and without padding; riding or not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from shared.protocols import Model
from shared.serving.pixels import counted
from shared.serving.ride import Ride, with_rides
from shared.telemetry.recording import RecordingSink
from shared.types import DenseInput

LABELS = {"model": "squares", "role": "semantic"}


class Squares:
    """Sees every image in 10x10 pixels, its shorter side padded, twice where two views are asked for."""

    def predict(self, batch: Sequence[DenseInput]) -> list[int]:
        if any(item.crf for item in batch):
            raise ArithmeticError("broken on purpose")
        return [0] * len(batch)

    def cost(self, item: DenseInput) -> int:
        return 100

    def seen(self, size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        return size

    def shown(self, item: DenseInput) -> tuple[int, int]:
        views = 2 if item.tta else 1
        height, width = item.size
        return 100 * views, 100 * views * min(height, width) // max(height, width)

    def warm(self) -> None:
        self.predict([photo(10, 10)])


class Plain:
    """A model that says nothing of its pixels."""

    predict, cost, warm = Squares.predict, Squares.cost, Squares.warm


def photo(height: int, width: int, tta: bool = False, crf: bool = False) -> DenseInput:
    return DenseInput(np.zeros((1, 1, 3), np.uint8), tta=tta, crf=crf, whole=(height, width))


def fetched(item: DenseInput) -> DenseInput:
    return item


def finished(_: DenseInput, output: int) -> int:
    return output


def totals(sink: RecordingSink) -> tuple[float, float, float]:
    """As sent, as seen, without padding."""
    source, network, content = (f"segserve_{which}_pixels_total" for which in ("source", "network", "content"))
    return sink.total(source, **LABELS), sink.total(network, **LABELS), sink.total(content, **LABELS)


@pytest.mark.parametrize("riding", [False, True])
def test_pixels_of_answered_images_are_counted(riding: bool, sink: RecordingSink) -> None:
    model: Model[DenseInput, int] = counted(Squares(), "squares", "semantic", sink)
    run = with_rides(model.predict)
    batch = [photo(20, 40), photo(30, 30, tta=True)]
    run([Ride(partial(fetched, item), finished) for item in batch] if riding else batch)
    assert totals(sink) == (800 + 900, 100 + 200, 50 + 200)


def test_a_pass_that_fails_and_the_warm_up_count_nothing(sink: RecordingSink) -> None:
    model: Model[DenseInput, int] = counted(Squares(), "squares", "semantic", sink)
    model.warm()
    with pytest.raises(ArithmeticError):
        model.predict([photo(9, 9), photo(9, 9, crf=True)])
    assert totals(sink) == (0, 0, 0)


def test_a_model_that_does_not_say_is_left_alone(sink: RecordingSink) -> None:
    model = Plain()
    assert counted(model, "squares", "semantic", sink) is model
