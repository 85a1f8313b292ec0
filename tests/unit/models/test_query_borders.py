"""Pixels go to the same queries whether only borders are looked at or every query at every pixel; sizes are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.models.postprocess import panoptic as fuse
from shared.models.postprocess import query_borders
from shared.models.postprocess.query_borders import MOST, Owners, owners_of
from shared.models.postprocess.upsample import Grid
from shared.types import Float32Array

QUERIES, LOW = 12, (40, 53)
SIZES = [(480, 640), (333, 1000), (1201, 90), (40, 2500)]
SCORES = torch.linspace(0.99, 0.8, QUERIES)


def smooth(detail: int, seed: int = 0) -> Tensor:
    """Mask logits [q,h,w] with about so many bumps a side, -4 on average: some pixels are in no mask."""
    coarse = torch.randn(1, QUERIES, detail, detail, generator=torch.Generator().manual_seed(seed))
    return 6 * functional.interpolate(coarse, size=LOW, mode="bicubic")[0] - 4


def noise() -> Tensor:
    return 4 * torch.randn(QUERIES, *LOW, generator=torch.Generator().manual_seed(1))


def every_pixel(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Logits and scores of all queries at full size, [q,H,W]."""
    full = functional.interpolate(logits[None], size=size, mode="bilinear")[0]
    return full, full.sigmoid() * SCORES[:, None, None]


def borders_alone(logits: Tensor, size: tuple[int, int], extent: tuple[float, float] = (1.0, 1.0)) -> Owners | None:
    scores: Float32Array = SCORES.numpy()
    return owners_of(logits.numpy(), scores, size, extent)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["smooth", "detailed", "noise", "ties"])
def test_owners_are_those_of_resizing_whole(size: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_borders, "ASKED_TO", 1.0)
    logits = {"smooth": smooth(5), "detailed": smooth(30), "noise": noise(), "ties": (smooth(5) / 4).round() * 4}[kind]
    found = borders_alone(logits, size)
    assert found is not None
    full, scored = every_pixel(logits, size)
    best = scored.topk(2, dim=0).values
    owner = scored.argmax(dim=0)
    value = full.gather(0, owner[None])[0]
    clear = (best[0] - best[1] > 1e-5) & (value.abs() > 1e-4)
    wanted = owner + QUERIES * (value < 0)
    assert np.array_equal(found.codes[clear], wanted[clear].numpy())
    assert np.mean(found.codes == wanted.numpy()) > (0.99 if kind == "ties" else 0.9999)
    assert np.array_equal(found.pixels, np.bincount(found.codes.ravel(), minlength=2 * QUERIES))
    unsure = (full.abs() < 1e-4).sum(dim=(1, 2)).numpy()
    assert (np.abs(found.whole - (full >= 0).sum(dim=(1, 2)).numpy()) <= unsure).all()


def candidates(grid: Grid) -> fuse.Candidates:
    return fuse.Candidates((0,) * QUERIES, tuple(SCORES.tolist()), grid)


@pytest.mark.parametrize("extent", [(1.0, 0.7), (0.61, 1.0), (0.93, 0.87)])
def test_of_padded_logits_the_part_with_the_image_is_taken(extent: tuple[float, float]) -> None:
    """A pixel at the image's border lies between logits of which one may be padding."""
    size = (480, 640)
    found = borders_alone(smooth(6), size, extent)
    assert found is not None
    slow = fuse.at_every_pixel(candidates(Grid(smooth(6), extent)), size)
    assert np.mean(found.codes == slow.codes) > 0.9999
    assert np.abs(found.whole - slow.whole).max() < 20
    whole = borders_alone(smooth(6), size)
    assert whole is not None
    assert np.mean(found.codes == whole.codes) < 0.9


def test_panoptic_answers_are_the_same_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    found, size = fuse.Candidates(tuple(range(QUERIES)), tuple(SCORES.tolist()), Grid(smooth(5))), (600, 800)
    quick = fuse.panoptic(found, size, range(QUERIES), 0.3)
    monkeypatch.setattr(query_borders, "PIXELS_FROM", 10**9)
    slow = fuse.panoptic(found, size, range(QUERIES), 0.3)
    assert quick.segments == slow.segments
    assert 2 < len(quick.segments) < QUERIES
    assert quick.ids.dtype == slow.ids.dtype == np.uint8
    assert np.mean(quick.ids == slow.ids) > 0.9999


def test_it_is_left_where_it_does_not_pay() -> None:
    assert borders_alone(smooth(5), (480, 640)) is not None
    assert borders_alone(smooth(5), (100, 120)) is None
    assert borders_alone(noise(), (480, 640)) is None
    many = smooth(5)[:1].expand(MOST + 1, *LOW).contiguous()
    assert owners_of(many.numpy(), np.full(MOST + 1, 0.9, np.float32), (480, 640)) is None


def test_more_queries_than_a_byte_has_codes_for() -> None:
    """All of one class, but one of another that lies in a corner and is the surest there."""
    masks = torch.full((MOST + 1, 8, 8), 5.0)
    masks[-1] = -5
    masks[-1, :4, :4] = 5
    found = fuse.Candidates((0,) * MOST + (1,), (0.9,) * MOST + (0.99,), Grid(masks))
    output = fuse.panoptic(found, (64, 64), (), 0.0)
    assert [(segment.id, segment.label_id) for segment in output.segments] == [(1, 0), (2, 1)]
    assert output.ids[:20, :20].min() == 2
    assert output.ids[40:, 40:].max() == 1


def test_logits_beyond_what_an_exponential_holds() -> None:
    logits = torch.where(smooth(5) > 0, 1e4, -1e4)
    found = borders_alone(logits, (480, 640))
    slow = fuse.at_every_pixel(candidates(Grid(logits)), (480, 640))
    assert found is not None
    inside = slow.codes < QUERIES
    assert np.mean(found.codes[inside] == slow.codes[inside]) > 0.999
    assert np.array_equal(found.codes < QUERIES, inside)
