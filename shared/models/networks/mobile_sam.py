"""MobileSAM (Zhang et al. 2023): Segment Anything with TinyViT as its encoder, all behind that kept.

TinyViT is timm's, the rest is `SamModel` of transformers; published checkpoints name their tensors as the papers' own
code does, and `published_names` translates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
from timm.models.tiny_vit import Attention, TinyVit
from torch import Tensor, nn
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamVisionEncoderOutput, SamVisionNeck

PUBLISHED = "image_encoder."
"""How the encoder's tensors begin in a published checkpoint."""
POSITIONS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
"""One tensor under two names."""
UNUSED = re.compile(r"image_encoder\.(norm_head|head)\.|\.attention_bias_idxs$|^pixel_(mean|std)$")
RENAMED = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^image_encoder\.neck\.0", "vision_encoder.neck.conv1"),
        (r"^image_encoder\.neck\.1", "vision_encoder.neck.layer_norm1"),
        (r"^image_encoder\.neck\.2", "vision_encoder.neck.conv2"),
        (r"^image_encoder\.neck\.3", "vision_encoder.neck.layer_norm2"),
        (r"^image_encoder\.patch_embed\.seq\.0", "vision_encoder.backbone.patch_embed.conv1"),
        (r"^image_encoder\.patch_embed\.seq\.2", "vision_encoder.backbone.patch_embed.conv2"),
        (r"^image_encoder\.layers\.(\d+)\.blocks", r"vision_encoder.backbone.stages.\1.blocks"),
        (r"^prompt_encoder\.point_embeddings", "prompt_encoder.point_embed"),
        (r"^prompt_encoder\.mask_downscaling\.0", "prompt_encoder.mask_embed.conv1"),
        (r"^prompt_encoder\.mask_downscaling\.1", "prompt_encoder.mask_embed.layer_norm1"),
        (r"^prompt_encoder\.mask_downscaling\.3", "prompt_encoder.mask_embed.conv2"),
        (r"^prompt_encoder\.mask_downscaling\.4", "prompt_encoder.mask_embed.layer_norm2"),
        (r"^prompt_encoder\.mask_downscaling\.6", "prompt_encoder.mask_embed.conv3"),
        (r"^mask_decoder\.output_upscaling\.0", "mask_decoder.upscale_conv1"),
        (r"^mask_decoder\.output_upscaling\.1", "mask_decoder.upscale_layer_norm"),
        (r"^mask_decoder\.output_upscaling\.3", "mask_decoder.upscale_conv2"),
        (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)", r"\1.layer_norm\2"),
        (r"^mask_decoder\.transformer\.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"),
        (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0", r"\1.proj_in"),
        (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.1", r"\1.layers.0"),
        (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.2", r"\1.proj_out"),
    )
)


class TinyVitEncoder(nn.Module):
    """Normalised image [n,3,side,side] to the embedding [n,c,side/16,side/16]."""

    def __init__(self, tiny_vit: Mapping[str, Any], config: Any) -> None:
        super().__init__()
        backbone: Any = TinyVit(num_classes=0, **tiny_vit)
        backbone.head = nn.Identity()
        backbone.stages[3].downsample.conv2.conv.stride = (1, 1)
        for layer in backbone.modules():
            if isinstance(layer, Attention):
                vars(layer)["get_attention_biases"] = MethodType(_biases, layer)
        self.backbone = backbone
        self.neck = SamVisionNeck(config)

    def forward(self, pixel_values: Tensor) -> SamVisionEncoderOutput:
        """[n,3,side,side] to the embedding [n,c,side/16,side/16] as `last_hidden_state`."""
        features = self.backbone.forward_features(pixel_values).permute(0, 2, 3, 1)
        return SamVisionEncoderOutput(last_hidden_state=self.neck(features))


def _biases(attention: Attention, device: torch.device) -> Tensor:
    """The bias of each pair of places, read anew each time: timm keeps it from the first run on, whatever comes later
    (other weights, an export)."""
    return attention.attention_biases[:, attention.get_buffer("attention_bias_idxs")]


def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published checkpoint by this network's names; its own names stay as they are."""
    if not any(name.startswith(PUBLISHED) for name in state):
        return dict(state)
    own = {_renamed(name): tensor for name, tensor in state.items() if not UNUSED.search(name)}
    matrix = own.pop("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", None)
    return own if matrix is None else own | dict.fromkeys(POSITIONS, matrix)


def _renamed(name: str) -> str:
    name = re.sub(r"\.c\.weight$", ".conv.weight", name)
    if moved := re.match(r"^image_encoder\.layers\.(\d+)\.downsample(.*)", name):
        return f"vision_encoder.backbone.stages.{int(moved[1]) + 1}.downsample{moved[2]}"
    for pattern, replacement in RENAMED:
        if pattern.search(name):
            return pattern.sub(replacement, name)
    return name


def build(tiny_vit: Mapping[str, Any], config: Mapping[str, Any]) -> SamModel:
    """A `SamModel` whose encoder is a TinyViT of these arguments; `config` is a `SamConfig`'s."""
    skeleton: Any = SamConfig(**config)
    skeleton.vision_config.tiny_vit = dict(tiny_vit)
    skeleton.vision_config.num_hidden_layers = 0
    skeleton.vision_config.hidden_size = tiny_vit["embed_dims"][-1]
    model = SamModel(skeleton)
    model.add_module("vision_encoder", TinyVitEncoder(tiny_vit, skeleton.vision_config))
    return model
