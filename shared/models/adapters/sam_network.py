"""A family of Segment Anything as a graph: embedding tensors and prompts to mask logits.

What differs between the families is a subclass (`sam_families.py`); batches, geometry and masks are `sam.py`'s.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shared.models.adapters.embedding import Embedder
from shared.models.adapters.sam_prompts import Makeup
from shared.models.engines.graph import Graph

PROMPTS = ("input_points", "input_labels", "input_boxes", "input_masks")


class SamFamily(Embedder):
    """One family over its transformers model."""

    @property
    def positions(self) -> Tensor:
        """Positional encoding of the whole embedding, [1,c,h,w]: the same for every prompt, so computed once."""
        with torch.no_grad():
            encoding: Tensor = self.model.get_image_wide_positional_embeddings()
        return encoding

    @abstractmethod
    def decode(
        self, embedding: Sequence[Tensor], positions: Tensor, prompts: Mapping[str, Tensor | None], multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Embedding tensors [n,...] and n prompts to mask logits [n,k,h,w] and predicted IoUs [n,k].

        Prompts by name, in pixels of the input: `input_points` [n,1,P,2] with `input_labels` [n,1,P], `input_boxes`
        [n,1,4], `input_masks` [n,1,h,w]; None where these prompts have none.
        """


class DecoderModule(nn.Module):
    """Embeddings of u images, the `owner` [n] of each of n prompts among them, and the prompts -> mask logits
    [n,k,h,w] and predicted IoUs [n,k]."""

    positions: Tensor

    def __init__(self, family: SamFamily, makeup: Makeup) -> None:
        super().__init__()
        self.model = family.model
        self._family = family
        self._makeup = makeup
        self.register_buffer("positions", family.positions, persistent=False)

    def forward(self, owner: Tensor, *arrays: Tensor) -> tuple[Tensor, Tensor]:
        """`owner` int64 [n], the embedding's tensors [u,...], then the prompts that the make-up names, each [n,...], to
        mask logits [n,k,h,w] and predicted IoUs [n,k]."""
        count = len(self._family.shapes)
        embedding = [tensor.to(self.positions.dtype)[owner] for tensor in arrays[:count]]
        prompts: dict[str, Tensor | None] = dict.fromkeys(PROMPTS)
        prompts.update(zip(self._makeup.inputs, arrays[count:], strict=True))
        return self._family.decode(embedding, self.positions, prompts, self._makeup.multimask)


def decoder_graph(family: SamFamily, makeup: Makeup) -> Graph:
    """Inputs `owner`, `embedding0`, ..., then those of the make-up; outputs `masks`, `iou`."""
    return Graph(DecoderModule(family, makeup), family.gathered_types | makeup.inputs, ("masks", "iou"))
