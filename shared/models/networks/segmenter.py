"""Segmenter: a plain vision transformer whose decoder lets class tokens look at the patches, then compares both.

Strudel et al. 2021, https://arxiv.org/abs/2105.05633. The encoder is timm's; the mask transformer is two of its blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

THEIRS = {
    "decoder.cls_emb": "classes",
    "decoder.proj_dec": "project",
    "decoder.blocks": "blocks",
    "decoder.decoder_norm": "norm",
    "decoder.proj_patch": "patch_space",
    "decoder.proj_classes": "class_space",
    "decoder.mask_norm": "mask_norm",
}
"""The authors' names of the decoder's parts, and ours."""
UNUSED = "encoder.head."
"""The encoder's own classifier, which their checkpoints carry along."""


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' checkpoint (rstrudel/segmenter) under this network's names; any other as it is."""
    if "decoder.cls_emb" not in state:
        return dict(state)
    found = {}
    for name, value in state.items():
        theirs = next((one for one in THEIRS if name == one or name.startswith(f"{one}.")), None)
        if not name.startswith(UNUSED):
            found[name if theirs is None else THEIRS[theirs] + name[len(theirs) :]] = value
    return found


class Segmenter(nn.Module):
    """[n,3,h,w] (sides multiples of the patch) to class logits [n,c,h/16,w/16]; `encoder`: timm's name, `side`: of the
    square that its positions were learned on; other sizes interpolate them. `options` go to the encoder."""

    def __init__(self, classes: int, encoder: str, side: int, layers: int = 2, **options: Any) -> None:
        super().__init__()
        vit: Any = timm.create_model(encoder, num_classes=0, img_size=side, dynamic_img_size=True, **options)
        self.encoder = vit
        width, heads = int(vit.embed_dim), int(vit.blocks[0].attn.num_heads)
        self.patch = int(vit.patch_embed.patch_size[0])
        self.project = nn.Linear(width, width)
        self.classes = nn.Parameter(torch.zeros(1, classes, width))
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.patch_space = nn.Parameter(width**-0.5 * torch.randn(width, width))
        self.class_space = nn.Parameter(width**-0.5 * torch.randn(width, width))
        self.mask_norm = nn.LayerNorm(classes)
        nn.init.trunc_normal_(self.classes, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w] to class logits [n,c,h/p,w/p], one a patch of p pixels."""
        vit: Any = self.encoder
        patches = vit.forward_features(pixels)[:, vit.num_prefix_tokens :]
        count = self.classes.shape[1]
        tokens = torch.cat([self.project(patches), self.classes.expand(len(patches), -1, -1)], dim=1)
        tokens = self.norm(self.blocks(tokens))
        seen = functional.normalize(tokens[:, :-count] @ self.patch_space, dim=-1)
        named = functional.normalize(tokens[:, -count:] @ self.class_space, dim=-1)
        masks = self.mask_norm(seen @ named.transpose(1, 2))
        cells = (pixels.shape[-2] // self.patch, pixels.shape[-1] // self.patch)
        return torch.as_tensor(masks.transpose(1, 2).unflatten(2, cells))
