"""The promptable half of `street`: embedding and prompt maps in, three candidate masks and their predicted IoUs out.

Features and class probabilities pooled under each kind of prompt are correlated with every pixel; a small U-Net over
1/4..1/32 then decides what is connected.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.networks.street import CLASSES, EMBEDDING_CHANNELS, FEATURES, ConvNorm, DepthwiseBlock, resize_to
from shared.models.postprocess.street_prompts import MAPS

CANDIDATES = 3
GROUPS = 8
TINY = 2.0**-13
"""Keeps divisions finite; a power of two, so that a float16 graph holds it exactly."""

POOLED = 4
"""Kinds of prompt that features are pooled under: positive clicks, negative clicks, box, earlier mask."""


class PromptOutput(NamedTuple):
    """Mask logits [n,3,h,w] at 1/4 of the network's input and predicted IoUs [n,3] in 0-1."""

    masks: Tensor
    iou: Tensor


class PromptDecoder(nn.Module):
    """Decoder on a frozen embedding."""

    def __init__(self, widths: tuple[int, int, int, int] = (32, 48, 64, 96)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.key = nn.Conv2d(FEATURES, 64, 1, bias=False)
        self.value = ConvNorm(EMBEDDING_CHANNELS, a, act=False)
        self.queries = nn.Linear(POOLED * (64 + len(CLASSES)), a)
        self.enter = ConvNorm(POOLED * (GROUPS + 1) + MAPS, a, act=False)
        self.prior = nn.Conv2d(POOLED * (GROUPS + 1) + MAPS, CANDIDATES, 1)
        self.level8 = nn.Sequential(ConvNorm(a, b, 3, 2), ConvNorm(b, b, 3))
        self.level16 = nn.Sequential(ConvNorm(b, c, 3, 2), DepthwiseBlock(c, c, 2 * c), DepthwiseBlock(c, c, 2 * c))
        self.level32 = nn.Sequential(ConvNorm(c, d, 3, 2), DepthwiseBlock(d, d, 2 * d), DepthwiseBlock(d, d, 2 * d))
        self.up16, self.fuse16 = ConvNorm(d, c, act=False), DepthwiseBlock(c, c, 2 * c)
        self.up8, self.fuse8 = ConvNorm(c, b, act=False), ConvNorm(b, b, 3)
        self.up4, self.fuse4 = ConvNorm(b, a, act=False), ConvNorm(a, a, 3)
        self.masks = nn.Conv2d(a, CANDIDATES, 1)
        self.score = nn.Sequential(nn.Linear(a + d + 2, 64), nn.ReLU(), nn.Linear(64, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
        nn.init.normal_(self.masks.weight, std=0.05)
        self._start_from_class()

    def _start_from_class(self) -> None:
        """Begin with what is certain: pixels of the clicked class belong to the mask, those of a negative click do
        not.
        """
        nn.init.zeros_(self.prior.weight)
        if self.prior.bias is not None:
            nn.init.constant_(self.prior.bias, -3.0)
        starts = dict(zip(range(POOLED * GROUPS, POOLED * (GROUPS + 1)), (5.0, -3.0, 3.0, 2.0), strict=True))
        starts |= {POOLED * (GROUPS + 1) + MAPS - 2: 1.0, POOLED * (GROUPS + 1) + MAPS - 1: 2.0}
        with torch.no_grad():
            for channel, weight in starts.items():
                self.prior.weight[:, channel] = weight

    def forward(self, embedding: Tensor, prompts: Tensor) -> PromptOutput:
        """Embeddings [b,80,h,w] and prompt maps [b*p,6,h,w]: p prompts an image, those of one image together."""
        images, (n, _, height, width) = embedding.shape[0], prompts.shape
        classes = embedding[:, FEATURES : FEATURES + len(CLASSES)].softmax(1)
        key = self.key(embedding[:, :FEATURES]).unflatten(1, (GROUPS, -1))
        key = key * torch.rsqrt(key.square().sum(2, keepdim=True) + TINY)
        value = self.value(torch.cat([embedding[:, :FEATURES], classes, embedding[:, FEATURES + len(CLASSES) :]], 1))
        weights = self._weights(prompts)
        alike, pooled = correlate(key, weights)
        same_class, pooled_classes = correlate(classes[:, None], weights)
        queries = self.queries(torch.cat([pooled, pooled_classes], 1))[:, :, None, None]
        evidence = torch.cat([alike, same_class, prompts], 1)
        x = self.enter(evidence) + queries
        x4 = F.relu(x.unflatten(0, (images, -1)) + value[:, None]).reshape(n, -1, height, width)
        x8 = self.level8(x4)
        x16 = self.level16(x8)
        x32 = self.level32(x16)
        x = self.fuse16(F.relu(x16 + resize_to(self.up16(x32), x16)))
        x = self.fuse8(F.relu(x8 + resize_to(self.up8(x), x8)))
        x = self.fuse4(F.relu(x4 + resize_to(self.up4(x), x4)))
        masks = self.masks(x) + self.prior(evidence)
        return PromptOutput(masks, self._predict_iou(x, x32, masks))

    def _weights(self, prompts: Tensor) -> Tensor:
        """Pooling weights [n,4,h*w] of each kind of prompt, of sum one, or zero where a prompt has none of a kind."""
        weights = torch.cat([prompts[:, :2], prompts[:, 4:5], prompts[:, 5:6].clamp_min(0)], 1).flatten(2)
        return weights / weights.sum(2, keepdim=True).clamp_min(TINY)

    def _predict_iou(self, features: Tensor, bottom: Tensor, masks: Tensor) -> Tensor:
        probability = torch.sigmoid(masks.flatten(2))
        area = probability.sum(2, keepdim=True)
        inside = torch.matmul(probability, features.flatten(2).transpose(1, 2)) / (area + 1.0)
        sure = (probability * probability).sum(2, keepdim=True) / (area + 1.0)
        size = torch.log1p(area) * 0.125
        whole = bottom.mean((2, 3))[:, None].expand(-1, CANDIDATES, -1)
        return torch.sigmoid(self.score(torch.cat([inside, whole, sure, size], 2)).squeeze(2))


def correlate(key: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of every pixel's key with the keys pooled under each weight [b*p,groups*4,h,w], and those flat
    [b*p,_].

    `key` [b,groups,c,h,w], `weights` [b*p,4,h*w].
    """
    images, groups, _, height, width = key.shape
    n, kinds, _ = weights.shape
    flat = key.flatten(3)
    by_image = weights.reshape(images, 1, -1, height * width)
    pooled = torch.matmul(by_image, flat.transpose(2, 3))
    similarity = torch.matmul(pooled, flat)
    similarity = similarity.reshape(images, groups, -1, kinds, height * width).transpose(1, 2)
    pooled = pooled.reshape(images, groups, -1, kinds, pooled.shape[-1]).transpose(1, 2)
    return similarity.reshape(n, groups * kinds, height, width), pooled.reshape(n, -1)
