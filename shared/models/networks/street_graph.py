"""`street` as graphs to serve: uint8 pixels in; labels, confidence, heads and embedding out; prompts in, masks out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.networks.street import StreetNet, normalise
from shared.models.networks.street_prompt import PromptDecoder

DENSE_INPUTS = ("image",)
DENSE_OUTPUTS = ("labels", "confidence", "logits", "centres", "offsets", "embedding")
DECODER_INPUTS = ("embedding", "prompts")
DECODER_OUTPUTS = ("masks", "iou")


class DenseGraph(nn.Module):
    """Pixels uint8 [n,h,w,3] RGB to, in the order of DENSE_OUTPUTS: labels uint8 [n,h,w]; confidence float16 [n,h,w],
    the calibrated probability of that label; logits [n,11,h/2,w/2]; centre scores [n,3,h/4,w/4] in 0-1; offsets
    (dy, dx) [n,2,h/4,w/4] in pixels of the input; embedding float16 [n,80,h/4,w/4].
    """

    def __init__(self, net: StreetNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 RGB [n,h,w,3] to the outputs of `DENSE_OUTPUTS`, in their order."""
        pixels = normalise(image.permute(0, 3, 1, 2).float())
        out, embedding = self.net.look(pixels)
        full = F.interpolate(out.logits, size=image.shape[1:3], mode="bilinear", align_corners=False)
        labels = full.argmax(1).to(torch.uint8)
        confidence = full.softmax(1).amax(1).half()
        return labels, confidence, out.logits, out.centres.sigmoid(), out.offsets, embedding.half()


class DecoderGraph(nn.Module):
    """Embedding float16 [1,80,h,w] and prompt maps float32 [n,6,h,w] to mask logits [n,3,h,w] and predicted IoUs
    [n,3].
    """

    def __init__(self, decoder: PromptDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embedding: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """One image's embedding [1,80,h,w] and the maps of n prompts on it to the outputs of `DECODER_OUTPUTS`."""
        out = self.decoder(embedding.float(), prompts)
        return out.masks, out.iou
