"""The families of Segment Anything in transformers, one class each, by the name of the model class in a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shared.catalog.card import Card
from shared.models.adapters.sam_network import SamFamily
from shared.models.files import WeightsError

NO_POINT = -1
"""The label of a point that is none."""


class Sam(SamFamily):
    """Segment Anything (Kirillov et al. 2023), `SamModel`."""

    resize = "fit"

    @property
    def side(self) -> int:
        """1024 pixels in the published weights."""
        return int(self.model.prompt_encoder.input_image_size)

    @property
    def logits_side(self) -> int:
        """Four times the embedding's."""
        return 4 * int(self.model.prompt_encoder.image_embedding_size[0])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """One tensor [c,side/16,side/16]."""
        return ((int(self.model.prompt_encoder.hidden_size), *self.model.prompt_encoder.image_embedding_size),)

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """[n,3,side,side] to the embedding [n,c,side/16,side/16]."""
        return (self.model.vision_encoder(pixels).last_hidden_state,)

    def decode(
        self, embedding: Sequence[Tensor], positions: Tensor, prompts: Mapping[str, Tensor | None], multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `SamFamily.decode`: k is 3 with `multimask`, else 1."""
        sparse, dense = self.model.prompt_encoder(**prompts)
        masks, iou = self.model.mask_decoder(
            image_embeddings=embedding[0],
            image_positional_embeddings=positions.expand(embedding[0].shape[0], -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return masks[:, 0], iou[:, 0]


class SamHQ(Sam):
    """HQ-SAM (Ke et al. 2023), `SamHQModel`: a second token reads early features of the encoder, for finer outlines.

    The decoder is put together here from the model's own layers, because `SamHQMaskDecoder` of transformers 5.23
    upscales the image embedding as it came (and with its axes swapped) instead of what the transformer makes of it.
    """

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """SAM's, and the early features, channels last: [side/16,side/16,d]."""
        cells = self.model.prompt_encoder.image_embedding_size
        return *super().shapes, (*cells, int(self.model.mask_decoder.compress_vit_conv1.in_channels))

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """[n,3,side,side] to the embedding [n,c,h,w] and the early features [n,h,w,d]."""
        output = self.model.vision_encoder(pixels)
        return output.last_hidden_state, output.intermediate_embeddings[0]

    def decode(
        self, embedding: Sequence[Tensor], positions: Tensor, prompts: Mapping[str, Tensor | None], multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `SamFamily.decode`: each of SAM's masks with the finer token's added."""
        decoder, count = self.model.mask_decoder, len(embedding[0])
        sparse, dense = self.model.prompt_encoder(**prompts)
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, decoder.hq_token.weight])
        tokens = tokens.expand(count, 1, -1, -1)
        answers, features = decoder.transformer(
            point_embeddings=tokens if sparse is None else torch.cat([tokens, sparse], dim=2),
            image_embeddings=embedding[0] + dense,
            image_positional_embeddings=positions.expand(count, -1, -1, -1),
            attention_similarity=None,
        )
        answers = answers[:, 0]
        coarse = self._upscaled(features[:, 0].transpose(1, 2).unflatten(2, embedding[0].shape[2:]))
        fine = decoder.mask_conv2(decoder.activation(decoder.mask_norm(decoder.mask_conv1(coarse))))
        fine = fine + self._early(*embedding)
        readers = decoder.output_hypernetworks_mlps
        read = torch.stack([reader(answers[:, 1 + place]) for place, reader in enumerate(readers)], dim=1)
        read_fine = decoder.hq_mask_mlp(answers[:, 1 + len(readers)])[:, None]
        chosen = slice(1, None) if multimask else slice(0, 1)
        masks = read[:, chosen] @ coarse.flatten(2) + read_fine @ fine.flatten(2)
        return masks.unflatten(2, coarse.shape[2:]), decoder.iou_prediction_head(answers[:, 0])[:, chosen]

    def _upscaled(self, features: Tensor) -> Tensor:
        """What the transformer made of the embedding, [n,c,h,w], four times as large."""
        decoder = self.model.mask_decoder
        larger = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(features)))
        upscaled: Tensor = decoder.activation(decoder.upscale_conv2(larger))
        return upscaled

    def _early(self, embedding: Tensor, early: Tensor) -> Tensor:
        """The embedding [n,c,h,w] and early features [n,h,w,d], each four times as large, added."""
        decoder = self.model.mask_decoder
        late = decoder.encoder_conv2(decoder.activation(decoder.encoder_norm(decoder.encoder_conv1(embedding))))
        compressed = decoder.compress_vit_norm(decoder.compress_vit_conv1(early.permute(0, 3, 1, 2)))
        added: Tensor = late + decoder.compress_vit_conv2(decoder.activation(compressed))
        return added


class EdgeTam(SamFamily):
    """EdgeTAM (Zhou et al. 2025) on single images, `EdgeTamModel`: SAM 2 behind another encoder.

    Finer feature levels go straight to the mask decoder. Asked for one mask, the model itself falls back to the best of
    three where its single one is unstable. The finer levels have gone through the first layers of that decoder.
    """

    resize = "squash"
    encoder = ("vision_encoder.", "no_memory_embedding", "mask_decoder.conv_s0.", "mask_decoder.conv_s1.")

    @property
    def side(self) -> int:
        """1024 pixels in the published weights, 1008 in those of SAM 3."""
        return int(self.model.prompt_encoder.input_image_size)

    @property
    def logits_side(self) -> int:
        """That of the masks which the prompt encoder takes."""
        return int(self.model.prompt_encoder.mask_input_size[0])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Three levels of c/8, c/4 and c channels, finest first, each half as large as the one before."""
        channels = int(self.model.hidden_dim)
        widths = (channels // 8, channels // 4, channels)
        return tuple((width, *size) for width, size in zip(widths, self.model.backbone_feature_sizes, strict=True))

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """[n,3,side,side] to the levels of `shapes`, each [n,...]."""
        return tuple(self.model.get_image_embeddings(pixels))

    def decode(
        self, embedding: Sequence[Tensor], positions: Tensor, prompts: Mapping[str, Tensor | None], multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `SamFamily.decode`: without points and boxes the prompt is one point that is none."""
        count = len(embedding[-1])
        if prompts["input_points"] is None and prompts["input_boxes"] is None:
            nowhere = {
                "input_points": embedding[-1].new_zeros(count, 1, 1, 2),
                "input_labels": torch.full((count, 1, 1), NO_POINT, device=embedding[-1].device),
            }
            prompts = {**prompts, **nowhere}
        sparse, dense = self.model.prompt_encoder(**prompts)
        masks, iou, _, _ = self.model.mask_decoder(
            image_embeddings=embedding[-1],
            image_positional_embeddings=positions.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            high_resolution_features=list(embedding[:-1]),
        )
        return masks[:, 0], iou[:, 0]


class Sam2(EdgeTam):
    """SAM 2.1 (Ravi et al. 2024) on single images, `Sam2Model`."""

    def for_openvino(self) -> None:
        """OpenVINO 2026 gets fused attention of a single head wrong, as Hiera's first stage has it."""
        if self.model.vision_encoder is not None:
            self.model.vision_encoder.backbone.set_attn_implementation("eager")


class Sam3Tracker(EdgeTam):
    """SAM 3 (Carion et al. 2025) for points, boxes and masks, `Sam3TrackerModel`.

    The embedding is finished here, because `get_image_embeddings` of transformers 5.23 adds "no memory" to a fourth
    level that it then leaves out; `Sam3TrackerVideoModel` adds it to the third, as the paper's network does.
    """

    def encode(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """[n,3,side,side] to the levels of `shapes`, each [n,...], "no memory" added to the last."""
        sizes = self.model.backbone_feature_sizes
        levels = self.model.get_image_features(pixels, return_dict=True).fpn_hidden_states[: len(sizes)]
        levels[-1] = levels[-1] + self.model.no_memory_embedding
        pairs = zip(levels, sizes, strict=True)
        return tuple(level.permute(1, 2, 0).unflatten(2, tuple(size)) for level, size in pairs)


FAMILIES: Mapping[str, type[SamFamily]] = {
    "SamModel": Sam,
    "SamHQModel": SamHQ,
    "Sam2Model": Sam2,
    "EdgeTamModel": EdgeTam,
    "Sam3TrackerModel": Sam3Tracker,
    "MobileSam": Sam,
}


def family_of(card: Card, model: nn.Module) -> SamFamily:
    """The family that the card's `network.class` names. Raises `WeightsError` for one that is not known."""
    name = str(card.network.get("class", ""))
    if name not in FAMILIES:
        raise WeightsError(f"card {card.name}: network.class {name!r} is none of {', '.join(FAMILIES)}")
    return FAMILIES[name](model)
