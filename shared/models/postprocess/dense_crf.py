"""Class probabilities and the image in, probabilities that follow the image's edges out: a fully connected CRF.

Kraehenbuehl and Koltun 2011, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", as DeepLab v1
and v2 put it behind their networks (https://arxiv.org/abs/1412.7062, section 3.2): every pair of pixels pays for
different labels, by how near they lie and how alike their colours are. Potts compatibility, mean field inference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shared.catalog.card import DenseCrf
from shared.models.inputs import resized
from shared.models.postprocess.permutohedral import Lattice, lattice
from shared.models.postprocess.semantic import label_map, probability_map
from shared.models.postprocess.upsample import Grid
from shared.types import SemanticOutput, UInt8Array

MOST_VALUES = 2**23
"""Pixels times classes that inference works on: some seconds of one CPU thread. Larger images are made smaller."""
UNLIKELY = 1e-3
"""A class that is nowhere more probable than this cannot win anywhere: it is left out."""
LEAST_PROBABILITY = 1e-5


def refined_labels(
    grids: Sequence[Grid], pixels: UInt8Array, seen: int, crf: DenseCrf, temperature: float = 1.0
) -> SemanticOutput:
    """What `label_map` gives, after the CRF, of the image uint8 RGB [H,W,3] that the network saw on `seen` pixels:
    marginals are found at `working_size` and sampled at the image's pixels."""
    height, width, _ = pixels.shape
    classes = grids[0].logits.shape[0]
    size = working_size((height, width), seen, classes)
    marginals = refined(probability_map(grids, size, temperature), resized(pixels, size, "area"), crf)
    grids = [Grid(marginals.permute(2, 0, 1))]
    return label_map(grids, (height, width), classes, scores=[lambda tile: tile], seen=size)


def refined(probabilities: Tensor, pixels: UInt8Array, crf: DenseCrf) -> Tensor:
    """Marginals f32 [h,w,c] of the CRF whose unary potentials are -log of `probabilities` f32 [h,w,c], on `pixels`
    uint8 RGB [h,w,3]; classes that are nowhere likely are 0."""
    height, width, classes = probabilities.shape
    flat = probabilities.reshape(-1, classes)
    likely = torch.nonzero(flat.amax(0) > UNLIKELY).flatten()
    unary = -flat[:, likely].clamp_min(LEAST_PROBABILITY).log()
    marginals = torch.zeros_like(flat)
    marginals[:, likely] = mean_field(unary, kernels(pixels, crf, unary.device), crf.iterations)
    return marginals.view(height, width, classes)


def mean_field(unary: Tensor, pairwise: list[tuple[float, Lattice]], iterations: int) -> Tensor:
    """Marginals [n,c] after so many updates Q <- softmax(-U + sum of w K Q), begun at softmax(-U); each kernel K is
    normalised symmetrically by its own row sums and contains the pixel itself."""
    ones = unary.new_ones(len(unary), 1)
    normalised = [(weight, each, each.filter(ones).rsqrt()) for weight, each in pairwise]
    marginals = (-unary).softmax(1)
    for _ in range(iterations):
        scores = -unary
        for weight, each, norm in normalised:
            scores = scores + weight * norm * each.filter(norm * marginals)
        marginals = scores.softmax(1)
    return marginals


def kernels(pixels: UInt8Array, crf: DenseCrf, device: torch.device) -> list[tuple[float, Lattice]]:
    """The weights of both kernels, and the lattices of positions, and of positions and colours, that filter by them."""
    height, width = pixels.shape[:2]
    across, down = torch.arange(width, device=device), torch.arange(height, device=device)
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1).view(-1, 2).float()
    colours = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).view(-1, 3).float()
    alike = torch.cat([places / crf.appearance_xy, colours / crf.appearance_rgb], 1)
    return [
        (crf.smoothness, lattice(places / crf.smoothness_xy)),
        (crf.appearance, lattice(alike)),
    ]


def working_size(image: tuple[int, int], seen: int, classes: int) -> tuple[int, int]:
    """The (h, w) at which an image (H, W) is refined that the network saw on `seen` pixels: no finer than it saw, since
    the CRF's distances are in the pixels of its input, and no more than `MOST_VALUES`."""
    pixels = min(math.prod(image), seen, MOST_VALUES // classes)
    factor = math.sqrt(pixels / math.prod(image))
    height, width = (max(1, int(side * factor)) for side in image)
    # A side of one pixel shrinks no further: the other then has all that there may be.
    return min(height, pixels), min(width, pixels)
