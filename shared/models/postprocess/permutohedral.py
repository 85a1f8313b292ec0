"""Points with features in, values blurred by a Gaussian of the distance between features out, in time linear in points.

Adams, Baek and Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice": each point's value is
spread over the d + 1 vertices of the simplex that it lies in, vertices are blurred along the d + 1 directions of the
lattice, and each point gathers from its vertices again. All three are weighted sums of rows, so they run wherever torch
does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR = (1.0, 0.5, 0.5)
"""Weights of a vertex and of its two neighbours in one direction."""
MULTIPLIERS = (
    0x7224177F239FC725,
    0x3A1F81FE7C954259,
    0x513823D23A8602EB,
    0x381232258BF214F9,
    0x6E8B7C50726C825B,
    0x7E196DD5F931A9AF,
    0x7ED8536141A9F9C9,
)
"""Odd, of 63 random bits."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Sums of rows of a table: the rows of every sum one after another, their weights, and where each sum begins."""

    rows: Tensor
    weights: Tensor
    begins: Tensor

    def of(self, table: Tensor) -> Tensor:
        """The sums of `table`'s rows [rows, c]: [sums, c]."""
        return F.embedding_bag(self.rows, table, self.begins, mode="sum", per_sample_weights=self.weights)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where points lie among the vertices that they touch. The last row of every table of vertices is zero: a
    neighbour that no point touches."""

    splat: Rows
    blurs: tuple[Rows, ...]
    """One a direction."""
    slices: Rows
    gain: float
    """What filtering would multiply a constant by."""

    def filter(self, values: Tensor) -> Tensor:
        """Each point's values [n,c] (f32), blurred over the points near it: sum over j of exp(-|f_i - f_j|^2 / 2) v_j,
        to the accuracy of the lattice."""
        table = self.splat.of(values)
        for blur in self.blurs:
            table = blur.of(table)
        return self.slices.of(table) / self.gain


def lattice(features: Tensor) -> Lattice:
    """The lattice of points with these features [n,d], d below 8, f32, in standard deviations."""
    simplices, weights = _enclosing(_elevated(features.float()))
    numbers, step = _numbered(simplices)
    vertices, corners = torch.unique(numbers, return_inverse=True)
    points, size = corners.shape
    order = corners.flatten().argsort(stable=True)
    counts = torch.bincount(corners.flatten(), minlength=len(vertices) + 1)
    splat = Rows(order // size, weights.flatten()[order], counts.cumsum(0) - counts)
    begins = torch.arange(0, points * size, size, device=features.device)
    blurs = tuple(_blur(vertices, move) for move in step.tolist())
    return Lattice(splat, blurs, Rows(corners.flatten(), weights.flatten(), begins), 1 + 2.0 ** (1 - size))


def _elevated(features: Tensor) -> Tensor:
    """Points [n,d] on the plane of d + 1 coordinates that sum to zero [n,d+1], scaled so that a blur along each
    direction has the standard deviation of one."""
    d = features.shape[1]
    index = torch.arange(1, d + 1, device=features.device)
    scaled = features * (math.sqrt(2 / 3) * (d + 1) / (index * (index + 1)).sqrt())
    above = F.pad(scaled.flip(1).cumsum(1).flip(1), (0, 1))
    return above - F.pad(scaled * index, (1, 0))


def _enclosing(elevated: Tensor) -> tuple[Tensor, Tensor]:
    """Of the simplex around each point: its vertices' coordinates int64 [n,d+1,d+1], and their weights f32 [n,d+1]: the
    point's barycentric coordinates."""
    size = elevated.shape[1]
    nearest = (elevated / size).round()
    excess = nearest.sum(1, keepdim=True).long()  # by how many steps the rounded point lies off the plane
    descending = (elevated - nearest * size).argsort(dim=1, descending=True, stable=True)
    rank = descending.argsort(dim=1) + excess
    wrapped = (rank < 0).long() * size - (rank >= size).long() * size
    rank, origin = rank + wrapped, (nearest * size).long() + wrapped
    away = torch.empty_like(elevated).scatter_(1, rank, (elevated - origin) / size)
    falling = F.pad(away.flip(1), (1, 0))
    weights = falling[:, 1:] - falling[:, :-1]
    weights[:, 0] = 1 + away[:, -1] - away[:, 0]
    vertex = torch.arange(size, device=elevated.device)
    canonical = vertex[:, None] - size * (vertex[None] > size - 1 - vertex[:, None]).long()
    return origin[:, None] + canonical[:, rank].permute(1, 0, 2), weights


def _numbered(vertices: Tensor) -> tuple[Tensor, Tensor]:
    """A number for each vertex [n,d+1], and what it grows by in each of the d + 1 directions [d+1]. The last of the
    coordinates follows from the others. Where they reach too far for one number each in 64 bits, numbers wrap around:
    of ten million vertices two are then taken for one with a probability of 3e-6."""
    size = vertices.shape[-1]
    free = vertices[..., :-1]
    low = free.amin((0, 1)) - size
    span = free.amax((0, 1)) + size + 1 - low
    radix = F.pad(span.cumprod(0), (1, 0), value=1)[:-1]
    if span.double().log2().sum() > 62:
        radix = torch.tensor(MULTIPLIERS[: size - 1], device=vertices.device)
    return ((free - low) * radix).sum(-1), F.pad(radix * size, (0, 1)) - radix.sum()


def _blur(vertices: Tensor, move: int) -> Rows:
    """Each of these vertices (ascending numbers) with its two neighbours along one direction."""
    nothing = len(vertices)
    rows = [torch.arange(nothing, device=vertices.device)]
    for wanted in (vertices + move, vertices - move):
        at = torch.searchsorted(vertices, wanted).clamp(max=nothing - 1)
        rows.append(torch.where(vertices[at] == wanted, at, nothing))
    triples = F.pad(torch.stack(rows, 1), (0, 0, 0, 1), value=nothing)
    begins = torch.arange(0, triples.numel(), len(BLUR), device=vertices.device)
    return Rows(triples.flatten(), torch.tensor(BLUR, device=vertices.device).repeat(len(triples)), begins)
