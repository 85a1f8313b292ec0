"""A network and the buckets of a card in, the network out as the dense tasks ask it: photos are scaled before it sees
them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.adapters.street_frame import Bucket, place
from shared.models.networks.street import DenseOutput


class AsServed(nn.Module):
    """`net` on photos [n,3,h,w], normalised, scaled into the bucket that shows them largest; outputs are those of the
    scaled photos, without the padding that serving adds."""

    def __init__(self, net: nn.Module, buckets: Sequence[Bucket]) -> None:
        super().__init__()
        self.net, self.buckets = net, tuple(buckets)

    def forward(self, x: Tensor) -> DenseOutput:
        size = place((x.shape[-2], x.shape[-1]), self.buckets).valid
        if tuple(size) != tuple(x.shape[-2:]):
            shrinks = size[0] < x.shape[-2] or size[1] < x.shape[-1]
            x = F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False, antialias=shrinks)
        out: DenseOutput = self.net(x)
        return out
