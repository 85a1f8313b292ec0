"""A network that takes phrases as two graphs: tokens to what it reads of them, embedding and phrase to mask logits.

What differs between the families is a subclass (`text_families.py`); batches and masks are `text_prompts.py`'s.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from shared.catalog.card import Preprocess
from shared.models.adapters.embedding import INT64, Embedder
from shared.models.adapters.phrases import IDS, MASK
from shared.models.engines.graph import Graph

BOXES, LOGITS, SCORES = "boxes", "masks", "scores"
FLOAT32 = np.dtype(np.float32)


class TextFamily(Embedder):
    """One family over its transformers model. `takes_box`: a box around an example is a prompt too. `phrase`: names
    and types of what is read of a phrase. `padded`: phrases are filled up to `length` tokens."""

    takes_box: ClassVar[bool]
    padded: ClassVar[bool]
    phrase: ClassVar[dict[str, np.dtype[Any]]]

    def __init__(self, model: Any, preprocess: Preprocess) -> None:
        super().__init__(model)
        self.preprocess = preprocess

    @property
    def length(self) -> int:
        """Most tokens of a phrase."""
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return int(self.model.config.text_config.vocab_size)

    @abstractmethod
    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Tokens [n,t] and which of them count [n,t] to the tensors that `phrase` names, each [n,...]."""

    @abstractmethod
    def decode(
        self, embedding: Sequence[Tensor], phrase: Sequence[Tensor], boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embedding tensors [n,...], what was read of n phrases, and boxes [n,4] (xyxy, parts of the image) to mask
        logits [n,k,h,w] and scores [n,k], 0 to 1."""


class PhraseModule(nn.Module):
    """Tokens -> what the decoder reads of them."""

    def __init__(self, family: TextFamily) -> None:
        super().__init__()
        self.model = family.model
        self._family = family

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Tokens int64 [n,t] and which of them count [n,t] to what the family's `phrase` names, each [n,...]."""
        return self._family.read(ids, mask)


class TextDecoderModule(nn.Module):
    """Embeddings of u images, the `owner` [n] of each of n phrases among them, the phrases, and perhaps boxes -> mask
    logits [n,k,h,w] and scores [n,k]."""

    def __init__(self, family: TextFamily, boxed: bool) -> None:
        super().__init__()
        self.model = family.model
        self._family = family
        self._boxed = boxed

    def forward(self, owner: Tensor, *arrays: Tensor) -> tuple[Tensor, Tensor]:
        """`owner` int64 [n], the embedding's tensors [u,...], the phrase's [n,...] and perhaps boxes [n,4] (xyxy, 0-1)
        to mask logits [n,k,h,w] and scores [n,k] in 0-1."""
        count = len(self._family.shapes)
        embedding = [tensor.float()[owner] for tensor in arrays[:count]]
        phrase = arrays[count : count + len(self._family.phrase)]
        return self._family.decode(embedding, phrase, arrays[-1] if self._boxed else None)


def phrase_graph(family: TextFamily) -> Graph:
    """Inputs `input_ids`, `attention_mask`; outputs as the family names them."""
    return Graph(PhraseModule(family), {IDS: INT64, MASK: INT64}, tuple(family.phrase))


def decoder_graph(family: TextFamily, boxed: bool) -> Graph:
    """Inputs `owner`, `embedding0`, ..., those of the phrase, `boxes` if there are; outputs `masks`, `scores`."""
    inputs = family.gathered_types | family.phrase | ({BOXES: FLOAT32} if boxed else {})
    return Graph(TextDecoderModule(family, boxed), inputs, (LOGITS, SCORES))
