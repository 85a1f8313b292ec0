"""The bundled `street` network: RGB pixels in; features at 1/4, the dense heads on them (labels at 1/2, where poles
are still seen), and the promptable embedding out.

Fused inverted residuals at high resolution (dense 3x3 convolutions are the cheaper ones there on a CPU), depthwise
inverted residuals with squeeze-excitation below, a context block at 1/32 and a feature pyramid back up to 1/4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
THINGS = (8, 9, 10)
"""Semantic class ids that have instances: car, pedestrian, bicyclist; the order of the centre channels."""

FEATURES = 64
"""Channels of the pyramid's finest map, which every head reads."""

EMBEDDING_CHANNELS = FEATURES + len(CLASSES) + len(THINGS) + 2
"""What is cached of an image for promptable: features, coarse semantic logits, centre logits, offsets in units of 16
pixels.
"""

STRIDE = 4
"""Pixels of the input per cell of the features, centres, offsets and coarse logits."""
OFFSET_UNIT = 16.0
"""Pixels of the input per unit of the offset head's raw output: keeps the regression's targets near one."""

PIXEL_MEAN = (104.0, 108.0, 112.0)
PIXEL_SCALE = (109 / 8192, 108 / 8192, 108 / 8192)
"""Mean and inverse deviation of CamVid's train split in grey levels of 0-255, rounded so that float16 holds them and
their products exactly.
"""


class Encoded(NamedTuple):
    """What the encoder makes of [n,3,h,w], sides rounded up: features [n,64,h/4,w/4], the stem's [n,32,h/2,w/2], and
    those at 1/16 (for the auxiliary loss).
    """

    features: Tensor
    stem: Tensor
    middle: Tensor


class DenseOutput(NamedTuple):
    """Raw heads. At 1/2 of the input, rounded up: logits [n,11,h,w]; at 1/4: centres (logits) [n,3,h,w], offsets
    [n,2,h,w] and the coarse logits [n,11,h,w] that those at 1/2 refine.

    Offsets are (dy, dx) from a cell's centre to its instance's centre of mass, in pixels of the input.
    """

    logits: Tensor
    centres: Tensor
    offsets: Tensor
    coarse: Tensor


@dataclass(frozen=True)
class StreetConfig:
    """Widths (channels) and depths (blocks) of the stages at 1/2, 1/4, 1/8, 1/16, 1/32."""

    stem: int = 32
    widths: tuple[int, int, int, int] = (48, 80, 128, 208)
    depths: tuple[int, int, int, int] = (2, 3, 5, 4)
    expansion: int = 4
    pyramid: tuple[int, int, int] = (FEATURES, 80, 112)
    context: int = 128
    detail: int = 16


def normalise(pixels: Tensor) -> Tensor:
    """RGB [n,3,h,w] in 0-255 to the network's input: zero mean, unit deviation over CamVid's train split."""
    return (pixels - _per_channel(PIXEL_MEAN, pixels)) * _per_channel(PIXEL_SCALE, pixels)


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    """[1,c,1,1] of the values, filled in on the device of `like`: a copy from main memory would wait for a GPU."""
    return torch.cat([like.new_full((1, 1, 1, 1), value) for value in values], 1)


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of [n,c,h,w] to the exact height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution that leaves bfloat16 for float32 while training on a CPU: its backward is twice as
    fast so.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[n,c,h,w] to [n,c,h/s,w/s], s the stride."""
        if not (self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(torch.bfloat16)


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation, and ReLU unless `act` is false; padding keeps ceil(h / stride)."""

    def __init__(
        self, inp: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, dilation: int = 1, act: bool = True
    ) -> None:
        padding = dilation * (kernel // 2)
        convolution = nn.Conv2d if groups == 1 else DepthwiseConv
        layers: list[nn.Module] = [
            convolution(inp, out, kernel, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(out, momentum=0.03),
        ]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)

    def silence(self) -> None:
        """Start at zero: the last normalisation of a residual branch, so that the block begins as the identity."""
        if isinstance(self[1], nn.BatchNorm2d):
            nn.init.zeros_(self[1].weight)

    def fuse(self) -> None:
        """Fold the normalisation into the convolution (inference only); again does nothing."""
        convolution, norm = self[0], self[1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self[0] = fuse_conv_bn_eval(convolution.eval(), norm.eval())
            self[1] = nn.Identity()


def fuse(net: nn.Module) -> None:
    """Fold every normalisation of `net` into its convolution, in place: the form that is stored and served."""
    for module in net.modules():
        if isinstance(module, ConvNorm):
            module.fuse()


class FusedBlock(nn.Module):
    """Fused inverted residual: 3x3 expansion (strided in a stage's first block), 1x1 projection, identity if shapes
    agree.
    """

    def __init__(self, inp: int, out: int, hidden: int, stride: int = 1) -> None:
        super().__init__()
        self.expand = ConvNorm(inp, hidden, 3, stride)
        self.project = ConvNorm(hidden, out, act=False)
        self.identity = stride == 1 and inp == out
        if self.identity:
            self.project.silence()

    def forward(self, x: Tensor) -> Tensor:
        """[n,inp,h,w] to [n,out,h/s,w/s], sides rounded up."""
        y: Tensor = self.project(self.expand(x))
        return x + y if self.identity else y


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over all pixels (Hu et al. 2018)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.gate = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n,c,h,w] to the same shape, each channel times its gate of 0-1."""
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.gate(F.relu(self.reduce(pooled))))


class DepthwiseBlock(nn.Module):
    """Inverted residual with a 5x5 depthwise convolution and squeeze-excitation, identity if shapes agree."""

    def __init__(self, inp: int, out: int, hidden: int, stride: int = 1) -> None:
        super().__init__()
        self.expand = ConvNorm(inp, hidden)
        self.depthwise = ConvNorm(hidden, hidden, 5, stride, groups=hidden)
        self.excite = SqueezeExcite(hidden, max(16, inp // 4))
        self.project = ConvNorm(hidden, out, act=False)
        self.identity = stride == 1 and inp == out
        if self.identity:
            self.project.silence()

    def forward(self, x: Tensor) -> Tensor:
        """[n,inp,h,w] to [n,out,h/s,w/s], sides rounded up."""
        y: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.identity else y


class Context(nn.Module):
    """Parallel dilated depthwise 5x5 convolutions and the global mean, fused by a 1x1 (after DeepLab's pyramid
    pooling).
    """

    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(inp, out)
        self.branches = nn.ModuleList(ConvNorm(out, out, 5, groups=out, dilation=d) for d in (1, 2, 3))
        self.pooled = nn.Conv2d(out, out, 1)
        self.fuse = ConvNorm(4 * out, out)

    def forward(self, x: Tensor) -> Tensor:
        """[n,inp,h,w] to [n,out,h,w]."""
        x = self.reduce(x)
        mean = F.relu(self.pooled(x.mean((2, 3), keepdim=True)))
        y: Tensor = self.fuse(torch.cat([x, *(branch(x) for branch in self.branches)], 1))
        return y + mean


class StreetEncoder(nn.Module):
    """Normalised RGB [n,3,h,w] to what the heads read."""

    def __init__(self, config: StreetConfig) -> None:
        super().__init__()
        c, widths, depths = config, config.widths, config.depths
        self.stem = ConvNorm(3, c.stem, 3, 2)
        self.stages = nn.ModuleList()
        inp = c.stem
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            block = FusedBlock if index < 2 else DepthwiseBlock
            inner = 2 if index < 2 else c.expansion
            first = block(inp, width, inp * c.expansion, 2)
            rest = [block(width, width, width * inner) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            inp = width
        self.context = Context(widths[3], c.context)
        ups = (*c.pyramid, c.context)
        self.laterals = nn.ModuleList(ConvNorm(widths[i], ups[i], act=False) for i in range(3))
        self.tops = nn.ModuleList(ConvNorm(ups[i + 1], ups[i], act=False) for i in range(3))
        self.smooth = nn.ModuleList(ConvNorm(ups[i], ups[i], 3) for i in range(3))

    def forward(self, x: Tensor) -> Encoded:
        """Normalised RGB [n,3,h,w] to features at 1/4, the stem's at 1/2 and those at 1/16."""
        x = stem = self.stem(x)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        x = self.context(x)
        for i in (2, 1, 0):
            lateral = self.laterals[i](features[i])
            x = self.smooth[i](F.relu(lateral + resize_to(self.tops[i](x), lateral)))
        return Encoded(x, stem, features[2])


class Detail(nn.Module):
    """Coarse logits at 1/4 to logits at 1/2: resized, and corrected by what the stem sees there. Begins without a
    correction.
    """

    def __init__(self, channels: int, stem: int, width: int) -> None:
        super().__init__()
        self.near = ConvNorm(stem, width, act=False)
        self.far = ConvNorm(channels, width, act=False)
        self.mix = ConvNorm(width, width, 3)
        self.out = nn.Conv2d(width, len(CLASSES), 1, bias=False)

    def forward(self, coarse: Tensor, features: Tensor, stem: Tensor) -> Tensor:
        """[n,11,h/4,w/4], the features [n,64,h/4,w/4] and the stem's [n,32,h/2,w/2] to [n,11,h/2,w/2]."""
        near = self.near(stem)
        y = self.mix(F.relu(near + resize_to(self.far(features), near)))
        correction: Tensor = self.out(y)
        return resize_to(coarse, near) + correction


class DenseHeads(nn.Module):
    """What the encoder sees to semantic logits, centre heatmaps of each thing class, and offsets to the instance's
    centre.

    Centres and offsets follow Panoptic-DeepLab (Cheng et al. 2020), with one heatmap a class.
    """

    def __init__(self, config: StreetConfig) -> None:
        super().__init__()
        channels = FEATURES
        self.semantic = nn.Sequential(ConvNorm(channels, 64, 3), nn.Dropout2d(0.05), nn.Conv2d(64, len(CLASSES), 1))
        self.detail = Detail(channels, config.stem, config.detail)
        self.instance = ConvNorm(channels, 48, 3)
        self.centres = nn.Conv2d(48, len(THINGS), 1)
        self.offsets = nn.Conv2d(48, 2, 1)
        nn.init.constant_(self.centres.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, seen: Encoded) -> DenseOutput:
        """What the encoder sees to raw heads: centres as logits, offsets in pixels of the input."""
        shared, coarse = self.instance(seen.features), self.semantic(seen.features)
        logits = self.detail(coarse, seen.features, seen.stem)
        return DenseOutput(logits, self.centres(shared), self.offsets(shared) * OFFSET_UNIT, coarse)

    @torch.no_grad()
    def shift(self, offsets: Tensor) -> None:
        """Add `offsets` [11] to the semantic logits, in place, by the last bias."""
        bias = self.semantic.get_parameter("2.bias")
        bias.add_(offsets.to(bias.device))

    @torch.no_grad()
    def cool(self, temperature: float) -> None:
        """Divide the semantic logits by `temperature`, in place, by the last weights."""
        for parameter in (*self.semantic[2].parameters(), self.detail.out.weight):
            parameter.div_(temperature)


class StreetNet(nn.Module):
    """Encoder and dense heads; the auxiliary semantic head at 1/16 exists for training only and is never exported."""

    def __init__(self, config: StreetConfig | None = None) -> None:
        super().__init__()
        config = config or StreetConfig()
        self.encoder = StreetEncoder(config)
        self.heads = DenseHeads(config)
        self.auxiliary = nn.Sequential(ConvNorm(config.widths[2], 64, 3), nn.Conv2d(64, len(CLASSES), 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
        for head in (self.heads.semantic[2], self.heads.centres, self.heads.offsets, self.auxiliary[1]):
            nn.init.normal_(head.weight, std=0.02)  # type: ignore[arg-type]
        nn.init.zeros_(self.heads.detail.out.weight)

    def forward(self, x: Tensor) -> DenseOutput:
        """Normalised RGB [n,3,h,w] to raw heads."""
        out: DenseOutput = self.heads(self.encoder(x))
        return out

    def forward_train(self, x: Tensor) -> tuple[DenseOutput, Tensor]:
        """The same, and the auxiliary semantic logits at 1/16."""
        seen: Encoded = self.encoder(x)
        return self.heads(seen), self.auxiliary(seen.middle)

    def embed(self, x: Tensor) -> Tensor:
        """Normalised RGB [n,3,h,w] to the embedding [n,80,h,w] at 1/4: the features and what the dense heads say of
        them.
        """
        return self.look(x)[1]

    def look(self, x: Tensor) -> tuple[DenseOutput, Tensor]:
        """Normalised RGB [n,3,h,w] to raw heads, and the embedding."""
        seen: Encoded = self.encoder(x)
        out: DenseOutput = self.heads(seen)
        return out, torch.cat([seen.features, out.coarse, out.centres, out.offsets * (1 / OFFSET_UNIT)], 1)
