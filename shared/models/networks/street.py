"""The bundled `street` network: RGB pixels in; features at 1/4, the dense heads on them, and the promptable
embedding out.

Fused inverted residuals at high resolution (dense 3x3 convolutions are the cheaper ones there on a CPU), depthwise
inverted residuals with squeeze-excitation below, a context block at 1/32 and a feature pyramid back up to 1/4.
"""

from __future__ import annotations

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
"""What is cached of an image for promptable: features, semantic logits, centre logits, offsets in units of 16
pixels.
"""

STRIDE = 4
OFFSET_UNIT = 16.0
"""Pixels of the input per unit of the offset head's raw output: keeps the regression's targets near one."""

PIXEL_MEAN = (104.0, 108.0, 112.0)
PIXEL_SCALE = (109 / 8192, 108 / 8192, 108 / 8192)
"""Mean and inverse deviation of CamVid's train split in grey levels of 0-255, rounded so that float16 holds them and
their products exactly.
"""


class DenseOutput(NamedTuple):
    """Raw heads at 1/4 of the input, rounded up: logits [n,11,h,w], centres (logits) [n,3,h,w], offsets [n,2,h,w].

    Offsets are (dy, dx) from a cell's centre to its instance's centre of mass, in pixels of the input.
    """

    logits: Tensor
    centres: Tensor
    offsets: Tensor


@dataclass(frozen=True)
class StreetConfig:
    """Widths (channels) and depths (blocks) of the stages at 1/2, 1/4, 1/8, 1/16, 1/32."""

    stem: int = 32
    widths: tuple[int, int, int, int] = (48, 80, 128, 208)
    depths: tuple[int, int, int, int] = (2, 3, 5, 4)
    expansion: int = 4
    pyramid: tuple[int, int, int] = (FEATURES, 80, 112)
    context: int = 128


def normalise(pixels: Tensor) -> Tensor:
    """RGB [n,3,h,w] in 0-255 to the network's input: zero mean, unit deviation over CamVid's train split."""
    mean = torch.tensor(PIXEL_MEAN, device=pixels.device, dtype=pixels.dtype).view(1, 3, 1, 1)
    scale = torch.tensor(PIXEL_SCALE, device=pixels.device, dtype=pixels.dtype).view(1, 3, 1, 1)
    return (pixels - mean) * scale


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of [n,c,h,w] to the exact height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution that leaves bfloat16 for float32 while training on a CPU: its backward is twice as
    fast so.
    """

    def forward(self, x: Tensor) -> Tensor:
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
        y: Tensor = self.project(self.expand(x))
        return x + y if self.identity else y


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over all pixels (Hu et al. 2018)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.gate = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
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
        x = self.reduce(x)
        mean = F.relu(self.pooled(x.mean((2, 3), keepdim=True)))
        y: Tensor = self.fuse(torch.cat([x, *(branch(x) for branch in self.branches)], 1))
        return y + mean


class StreetEncoder(nn.Module):
    """Normalised RGB [n,3,h,w] to features [n,64,ceil(h/4),ceil(w/4)], and those at 1/16 (for the auxiliary loss)."""

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

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        x = self.context(x)
        for i in (2, 1, 0):
            lateral = self.laterals[i](features[i])
            x = self.smooth[i](F.relu(lateral + resize_to(self.tops[i](x), lateral)))
        return x, features[2]


class DenseHeads(nn.Module):
    """The encoder's features to semantic logits, centre heatmaps of each thing class, and offsets to the instance's
    centre.

    Centres and offsets follow Panoptic-DeepLab (Cheng et al. 2020), with one heatmap a class.
    """

    def __init__(self, channels: int = FEATURES) -> None:
        super().__init__()
        self.semantic = nn.Sequential(ConvNorm(channels, 64, 3), nn.Dropout2d(0.05), nn.Conv2d(64, len(CLASSES), 1))
        self.instance = ConvNorm(channels, 48, 3)
        self.centres = nn.Conv2d(48, len(THINGS), 1)
        self.offsets = nn.Conv2d(48, 2, 1)
        nn.init.constant_(self.centres.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> DenseOutput:
        shared = self.instance(features)
        return DenseOutput(self.semantic(features), self.centres(shared), self.offsets(shared) * OFFSET_UNIT)


class StreetNet(nn.Module):
    """Encoder and dense heads; the auxiliary semantic head at 1/16 exists for training only and is never exported."""

    def __init__(self, config: StreetConfig | None = None) -> None:
        super().__init__()
        config = config or StreetConfig()
        self.encoder = StreetEncoder(config)
        self.heads = DenseHeads()
        self.auxiliary = nn.Sequential(ConvNorm(config.widths[2], 64, 3), nn.Conv2d(64, len(CLASSES), 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
        for head in (self.heads.semantic[2], self.heads.centres, self.heads.offsets, self.auxiliary[1]):
            nn.init.normal_(head.weight, std=0.02)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> DenseOutput:
        """Normalised RGB [n,3,h,w] to raw heads at 1/4."""
        out: DenseOutput = self.heads(self.encoder(x)[0])
        return out

    def forward_train(self, x: Tensor) -> tuple[DenseOutput, Tensor]:
        """The same, and the auxiliary semantic logits at 1/16."""
        features, middle = self.encoder(x)
        return self.heads(features), self.auxiliary(middle)

    def embed(self, x: Tensor) -> Tensor:
        """Normalised RGB [n,3,h,w] to the embedding [n,80,h,w] at 1/4: the features and what the dense heads say of
        them.
        """
        features: Tensor = self.encoder(x)[0]
        out = self.heads(features)
        return torch.cat([features, out.logits, out.centres, out.offsets * (1 / OFFSET_UNIT)], 1)
