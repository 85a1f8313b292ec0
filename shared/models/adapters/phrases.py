"""Phrases to what a network reads of them: tokenised, encoded once, kept for the next prompt that says the same.

The tokenizer lies beside the weights, as the library's own `save_pretrained` puts it; `extras.tokenizer` of a card
names another repository or folder.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from shared.errors import InvalidOption
from shared.models.engines.engine import Array, Engine, Shapes

KEPT = 256
"""Phrases whose features are kept; the one unused for longest goes first."""
IDS, MASK = "input_ids", "attention_mask"


class Phrases:
    """A tokenizer, and the text encoder on its engine, whose batch is always one phrase: what a phrase means never
    depends on its neighbours."""

    def __init__(self, tokenizer: Any, engine: Engine, length: int, padded: bool) -> None:
        """`length`: most tokens of a phrase, with those that begin and end it. `padded`: every phrase is filled up to
        it."""
        self._tokenizer = tokenizer
        self._engine = engine
        self._length = length
        self._padding = "max_length" if padded else "do_not_pad"
        self._kept: OrderedDict[str, dict[str, Array]] = OrderedDict()

    def features(self, phrase: str) -> dict[str, Array]:
        """The text encoder's outputs by name, without batch dimension. Raises `InvalidOption` for a phrase that is too
        long for the network."""
        found = self._kept.pop(phrase, None)
        if found is None:
            outputs = self._engine.run(self._tokens(phrase))
            found = {name: array[0] for name, array in outputs.items()}
        self._kept[phrase] = found
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def warm(self) -> None:
        """One phrase."""
        shapes: Shapes = {name: array.shape for name, array in self._tokens("object").items()}
        self._engine.warm([shapes])

    def _tokens(self, phrase: str) -> dict[str, Array]:
        given = self._tokenizer([phrase], padding=self._padding, max_length=self._length, truncation=False)
        ids = np.array(given[IDS], dtype=np.int64)
        if ids.shape[1] > self._length:
            reason = "this phrase has more tokens than the network reads"
            raise InvalidOption.of("text", phrase, f"{self._length} tokens", reason)
        return {IDS: ids, MASK: np.array(given[MASK], dtype=np.int64)}
