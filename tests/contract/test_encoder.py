"""The contract for embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from shared.catalog.card import Card
from shared.types import Embedding, EncoderInput, Role
from tests.contract.contract import Contract, pictures


class TestEncoder(Contract):
    role: ClassVar[Role] = "encoder"

    def items(self, card: Card) -> Sequence[EncoderInput]:
        return [EncoderInput(pixels, whole=whole) for pixels, whole in pictures()]

    def check(self, card: Card, item: EncoderInput, output: Embedding) -> None:
        assert output.size == item.size
        assert type(output.size) is tuple
        assert output.tensors
        for tensor in output.tensors:
            assert tensor.dtype == np.float16
            assert np.isfinite(tensor).all()
            assert tensor.astype(np.float32).std() > 0

    def same(self, one: Embedding, other: Embedding) -> bool:
        pairs = zip(one.tensors, other.tensors, strict=True)
        return one.size == other.size and all(np.array_equal(left, right) for left, right in pairs)

    def agree(self, one: Embedding, other: Embedding) -> bool:
        pairs = zip(one.tensors, other.tensors, strict=True)
        return all(
            np.allclose(left, right, atol=2e-2 * float(left.astype(np.float32).std()), rtol=2e-2)
            for left, right in pairs
        )
