"""Tiled sampling of coarse logits equals resizing them whole, on plain, padded and mirrored grids."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.models.postprocess import upsample
from shared.models.postprocess.upsample import Grid, rows_per_tile, tiles


def logits(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))


def whole(grid: Grid, size: tuple[int, int], rows: int = 7) -> Tensor:
    """All tiles together, [c,H,W]."""
    parts = list(tiles(grid, size, rows))
    assert [part.start for part, _ in parts] == list(range(0, size[0], rows))
    return torch.cat([tile for _, tile in parts]).permute(2, 0, 1)


@pytest.mark.parametrize("low", [(16, 24), (1, 1), (3, 50)])
@pytest.mark.parametrize("size", [(64, 96), (1, 1), (7, 513), (10, 13), (131, 97)])
def test_it_is_interpolation_where_the_grid_covers_the_image(low: tuple[int, int], size: tuple[int, int]) -> None:
    values = logits(5, *low)
    expected = functional.interpolate(values[None], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(whole(Grid(values), size), expected, atol=2e-5, rtol=0)


def test_tiles_of_any_height_are_the_same() -> None:
    grid = Grid(logits(4, 8, 8), (0.8, 0.9))
    reference = whole(grid, (50, 60), rows=50)
    for rows in (1, 3, 49, 100):
        assert torch.equal(whole(grid, (50, 60), rows=rows), reference)


def test_padding_is_cut_off() -> None:
    """Up to the padded input, crop, up to the image: the two-step way of the papers, which one step comes close to."""
    low = functional.interpolate(logits(3, 6, 6)[None], size=(48, 64), mode="bicubic")[0]
    valid, canvas, size = (150, 200), (192, 256), (300, 400)
    padded = functional.interpolate(low[None], size=canvas, mode="bilinear", align_corners=False)
    expected = functional.interpolate(
        padded[..., : valid[0], : valid[1]], size=size, mode="bilinear", align_corners=False
    )[0]
    got = whole(Grid(low, (valid[0] / canvas[0], valid[1] / canvas[1])), size)
    assert (got - expected).abs().mean() < 0.01
    kept = functional.interpolate(padded, size=size, mode="bilinear", align_corners=False)[0]
    assert (kept - expected).abs().mean() > 0.1, "keeping the padding would shift everything"


def test_a_mirrored_grid_is_mirrored_back() -> None:
    values, extent = logits(3, 9, 12), (1.0, 0.75)
    size = (40, 50)
    plain = whole(Grid(values, extent), size)
    assert torch.allclose(whole(Grid(values, extent, mirrored=True), size), plain.flip(-1), atol=1e-5)


def test_tiles_keep_to_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upsample.TILE_VALUES, "cpu", 1000)
    assert rows_per_tile(Grid(logits(5, 2, 2)), 20) == 10
    assert rows_per_tile(Grid(logits(5, 2, 2)), 10**6) == 1
