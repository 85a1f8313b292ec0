"""The families that take phrases in transformers, one class each, by the name of the model class in a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from torchvision.ops import box_convert
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from shared.catalog.card import Card, Preprocess
from shared.models.adapters.embedding import INT64
from shared.models.adapters.text_network import FLOAT32, TextFamily
from shared.models.files import WeightsError
from shared.models.geometry import place


class Sam3(TextFamily):
    """SAM 3 (Carion et al. 2025), `Sam3Model`: every instance of a concept, named by a phrase, shown by a box, or both.

    Kept of an image: the three finer levels of the feature pyramid. A mask's score is its query's times the score of
    the concept being in the image at all.
    """

    takes_box = True
    padded = True
    phrase: ClassVar[dict[str, np.dtype[Any]]] = {"text": FLOAT32, "text_mask": INT64}

    def __init__(self, model: Any, preprocess: Preprocess) -> None:
        super().__init__(model, preprocess)
        self._neck_positions = model.vision_encoder.neck.position_encoding

    @property
    def side(self) -> int:
        """1008 pixels in the published weights."""
        return int(self.model.config.vision_config.backbone_config.image_size)

    @property
    def logits_side(self) -> int:
        """That of the finest level."""
        return self.shapes[0][1]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Levels of one width, finest first: [c,s,s], each half as large as the one before."""
        config = self.model.config.vision_config
        cells = self.side // int(config.backbone_config.patch_size)
        sides = [int(cells * factor) for factor in config.scale_factors[:-1]]
        return tuple((int(config.fpn_hidden_size), side, side) for side in sides)

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """[n,3,side,side] to the levels of `shapes`, each [n,...]."""
        return tuple(self.model.get_vision_features(pixels).fpn_hidden_states[:-1])

    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Tokens [n,t] to their features [n,t,c], and the mask [n,t] as it came."""
        return self.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output, mask

    def decode(
        self, embedding: Sequence[Tensor], phrase: Sequence[Tensor], boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `TextFamily.decode`: one mask and score for each of k queries."""
        coarse = embedding[-1]
        positions = self._neck_positions(coarse.shape, coarse.device, coarse.dtype)
        found = self.model(
            # The library leaves out the last level, and reads the positions of the one before it only.
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=(*embedding, coarse), fpn_position_encoding=(positions,) * (len(embedding) + 1)
            ),
            text_embeds=BaseModelOutputWithPooling(pooler_output=phrase[0]),
            attention_mask=phrase[1],
            input_boxes=None if boxes is None else box_convert(boxes, "xyxy", "cxcywh")[:, None],
        )
        return found.pred_masks, found.pred_logits.sigmoid() * found.presence_logits.sigmoid()


class ClipSeg(TextFamily):
    """CLIPSeg (Lueddecke and Ecker 2022), `CLIPSegForImageSegmentation`: one mask of all that a phrase names.

    Kept of an image: what three layers of CLIP's vision transformer make of it. The mask's score is the mean
    probability of its pixels. The network takes any square: its side is the card's.
    """

    encoder = ("clip.vision_model.",)
    takes_box = False
    padded = False
    phrase: ClassVar[dict[str, np.dtype[Any]]] = {"condition": FLOAT32}

    @property
    def settings(self) -> dict[str, Any]:
        """The vision transformer's, and which of its layers are kept."""
        return {**super().settings, "extract_layers": list(self.model.extract_layers)}

    @property
    def side(self) -> int:
        """The card's, in pixels."""
        return max(place(self.preprocess, 1, 1).canvas)

    @property
    def logits_side(self) -> int:
        """One logit a pixel of the input."""
        return self.side

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """One [tokens,c] for each kept layer; a token a patch, and the class token first."""
        config = self.model.config
        tokens = 1 + (self.side // int(config.vision_config.patch_size)) ** 2
        return ((tokens, int(config.vision_config.hidden_size)),) * len(config.extract_layers)

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """[n,3,side,side] to the kept layers' outputs, each [n,tokens,c]."""
        seen = self.model.clip.vision_model(pixels, output_hidden_states=True).hidden_states
        return tuple(seen[layer + 1] for layer in self.model.extract_layers)

    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Tokens [n,t] to one condition of the whole phrase, [n,c]."""
        return (self.model.clip.get_text_features(input_ids=ids, attention_mask=mask).pooler_output,)

    def decode(
        self, embedding: Sequence[Tensor], phrase: Sequence[Tensor], boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `TextFamily.decode`: k is 1; a mask without a positive pixel scores 0."""
        logits = self.model.decoder(tuple(embedding), phrase[0]).logits
        inside = logits > 0
        certain = (logits.sigmoid() * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
        return logits[:, None], certain[:, None]

    def without_encoder(self) -> None:
        """Let go of CLIP's vision transformer; its text half reads the phrases."""
        self.model.clip.vision_model = None


FAMILIES: Mapping[str, type[TextFamily]] = {"Sam3Model": Sam3, "CLIPSegForImageSegmentation": ClipSeg}


def family_of(card: Card, model: nn.Module) -> TextFamily:
    """The family that the card's `network.class` names. Raises `WeightsError` for one that is not known."""
    name = str(card.network.get("class", ""))
    if name not in FAMILIES:
        raise WeightsError(f"card {card.name}: network.class {name!r} is none of {', '.join(FAMILIES)}")
    return FAMILIES[name](model, card.preprocess)
