"""What every model promises, whatever its role: as many answers as questions, in order, each for itself, repeatably."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch

from shared.catalog.card import Card
from shared.imaging.sample import street_scene
from shared.models.engines import choice
from shared.protocols import LoadedModels
from shared.types import Role, UInt8Array
from tests.contract.tiny import load_tiny, tiny

SIZES = ((64, 96), (1, 1), (7, 513), (65, 47), (64, 96))
"""Height and width of the pixels: equal ones share a batch, odd ones do not."""
WHOLE = (None, None, None, (130, 93), None)
"""Height and width of the images where these are not all of their pixels."""


def picture(height: int, width: int, seed: int) -> UInt8Array:
    """A drawn street, HxWx3: something for any network to disagree about, and for a trained one to find."""
    return street_scene(width, height, seed)[0]


def pictures() -> Iterator[tuple[UInt8Array, tuple[int, int] | None]]:
    """Pixels, and the size of their image where they are not all of them."""
    for seed, (size, whole) in enumerate(zip(SIZES, WHOLE, strict=True)):
        yield picture(*size, seed=seed), whole


class Contract(ABC):
    """Inherited once a role. `items` are questions, `check` looks at one answer, `agree` compares two."""

    role: ClassVar[Role]

    @abstractmethod
    def items(self, card: Card) -> Sequence[Any]:
        """Questions of several sizes, equal sizes apart."""

    @abstractmethod
    def check(self, card: Card, item: Any, output: Any) -> None:
        """Shapes, types, ranges of one answer."""

    @abstractmethod
    def same(self, one: Any, other: Any) -> bool:
        """Whether two answers are equal to the last bit."""

    @abstractmethod
    def agree(self, one: Any, other: Any) -> bool:
        """Whether two answers differ only as other batch sizes and engines may (DESIGN.md, Equality)."""

    def test_answers_are_sound(self, card: Card, answers: list[Any]) -> None:
        items = self.items(card)
        assert len(answers) == len(items)
        for item, output in zip(items, answers, strict=True):
            self.check(tiny(card), item, output)

    def test_order_and_neighbours_change_nothing(self, card: Card, model: Any, answers: list[Any]) -> None:
        items = self.items(card)
        for item, batched in zip(items, answers, strict=True):
            assert self.same(model.predict([item])[0], batched)
        last, first = model.predict([items[-1], items[0]])
        assert self.same(first, answers[0])
        assert self.same(last, answers[-1])
        assert not self.same(first, last), "two pictures of one size must have different answers"
        assert model.predict([]) == []

    def test_batches_agree_with_single_runs(
        self, card: Card, answers: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(choice, "CPU_BATCH", 4)
        batched = load_tiny(card, self.role).roles[self.role].predict(self.items(card))
        for one, other in zip(answers, batched, strict=True):
            assert self.agree(one, other)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
    def test_a_gpu_agrees(self, card: Card, answers: list[Any]) -> None:
        if "torch" not in card.engines:
            pytest.skip("does not run in torch")
        model = load_tiny(card, self.role, device="cuda").roles[self.role]
        model.warm()
        items = self.items(card)
        for one, other, alone in zip(answers, model.predict(items), map(model.predict, zip(items)), strict=True):
            assert self.agree(one, other), "in a batch"
            assert self.agree(one, alone[0]), "by itself"

    def test_loading_again_gives_the_same_model(self, card: Card, loaded: LoadedModels, answers: list[Any]) -> None:
        again = load_tiny(card, self.role)
        assert again.weights_sha256 == loaded.weights_sha256
        assert len(loaded.weights_sha256) == 64
        assert again.parameters == loaded.parameters > 0
        assert again.encoder_fingerprint == loaded.encoder_fingerprint
        assert self.same(again.roles[self.role].predict(self.items(card)[:1])[0], answers[0])

    def test_warms_and_knows_its_cost(self, card: Card, model: Any) -> None:
        model.warm()
        assert all(model.cost(item) >= 1 for item in self.items(card))
