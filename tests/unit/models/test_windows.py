"""Windows over a canvas: they cover it, share what they should, and their maps are averaged cell by cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from shared.catalog.card import Preprocess
from shared.catalog.catalog import find_card
from shared.models.engines.engine import Arrays, Shapes
from shared.models.engines.windows import STEP, WindowedEngine, starts
from shared.models.geometry import Size
from shared.models.normalise import PIXELS
from shared.types import Precision
from tests.contract.contract import picture
from tests.contract.tiny import tiny
from tests.unit.models.test_dense_adapters import answer, network, normalised

sides = st.integers(1, 40).map(lambda cells: cells * STEP)


@given(sides, sides, st.integers(0, 200))
def test_windows_cover_the_side_and_share_what_was_asked(more: int, window: int, overlap: int) -> None:
    overlap = min(overlap, window - STEP)
    length = window + more
    found = starts(length, window, overlap)
    assert found[0] == 0
    assert found[-1] == length - window
    assert all(start % STEP == 0 for start in found)
    gaps = np.diff(found)
    assert gaps.min() > 0
    assert gaps.max() <= window - overlap
    fewer = len(found) - 1
    assert fewer < 2 or more / (fewer - 1) > (window - overlap) // STEP * STEP, "one window less would do"


def test_one_window_where_the_side_is_its_own() -> None:
    assert starts(64, 64, 16) == [0]
    with pytest.raises(ValueError, match="a side of 60 pixels"):
        starts(60, 64, 0)


class Cells:
    """An engine whose maps [n,2,h/4,w/4] are the mean of each cell's red, and how bright the whole window is."""

    name = "cells"
    precision: Precision = "f32"
    batch_limit = 2

    def __init__(self) -> None:
        self.runs: list[tuple[int, ...]] = []
        self.warmed: list[Shapes] = []

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        pixels = inputs[PIXELS]
        self.runs.append(pixels.shape)
        red = torch.from_numpy(pixels[..., 0]).float()[:, None]
        cells = functional.avg_pool2d(red, 4)
        whole = red.mean(dim=(2, 3), keepdim=True).expand_as(cells)
        return {"maps": torch.cat([cells, whole], dim=1).numpy()}

    def warm(self, shapes: Sequence[Shapes]) -> None:
        self.warmed.extend(shapes)


def test_maps_lie_where_their_windows_do_and_are_averaged_where_they_overlap() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    within = Cells()
    engine = WindowedEngine(within, Size(32, 32), 8)
    maps = engine.run({PIXELS: pixels})["maps"]
    assert maps.shape == (3, 2, 8, 12)
    assert within.runs == [(2, 32, 32, 3)] * 3, "two windows an image, two at a time"
    red = torch.from_numpy(pixels[..., 0]).float()[:, None]
    np.testing.assert_allclose(maps[:, :1], functional.avg_pool2d(red, 4), atol=1e-4)
    left, right = pixels[:, :, :32, 0].mean((1, 2)), pixels[:, :, 16:, 0].mean((1, 2))
    np.testing.assert_allclose(maps[:, 1, 3, 0], left, atol=1e-3)
    np.testing.assert_allclose(maps[:, 1, 3, 11], right, atol=1e-3)
    np.testing.assert_allclose(maps[:, 1, 3, 7], (left + right) / 2, atol=1e-3)


def test_a_canvas_smaller_than_a_window_is_filled_up_and_cut_back() -> None:
    pixels = np.full((1, 16, 48, 3), 200, np.uint8)
    maps = WindowedEngine(Cells(), Size(32, 32), 0).run({PIXELS: pixels})["maps"]
    assert maps.shape == (1, 2, 4, 12)
    assert (maps[:, 0] == 200).all()
    assert maps[0, 1, 0, 0] == pytest.approx(100)


def test_only_the_windows_shape_is_warmed() -> None:
    within = Cells()
    WindowedEngine(within, Size(32, 48), 0).warm([{PIXELS: (1, 512, 512, 3)}, {PIXELS: (1, 64, 64, 3)}])
    assert within.warmed == [{PIXELS: (1, 32, 48, 3)}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window": (56, 64)}, "multiples of 16"),
        ({"multiple_of": 8}, "multiple_of"),
        ({"window_overlap": 64}, "window_overlap"),
        ({"resize": "squash"}, "short_side"),
    ],
)
def test_a_window_that_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    good = {"resize": "short_side", "size": 64, "multiple_of": 16, "align": "resize", "window": (64, 64)}
    assert Preprocess.model_validate(good).window == (64, 64)
    with pytest.raises(ValueError, match=said):
        Preprocess.model_validate(good | change)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 160), (144, 64)])
def test_eomt_sees_a_long_photo_window_by_window(height: int, width: int) -> None:
    card = tiny(find_card("eomt-large-ade-semantic"))
    pixels = picture(height, width, seed=5)
    canvas = normalised(pixels)
    sums, counts = torch.zeros(150, height // 4, width // 4), torch.zeros(height // 4, width // 4)
    for top in starts(height, 64, 0):
        for left in starts(width, 64, 0):
            with torch.no_grad():
                found = network(card)(pixel_values=canvas[..., top : top + 64, left : left + 64])
            probabilities = found.class_queries_logits.softmax(dim=-1)[0, :, :-1]
            scores = torch.einsum("qc,qhw->chw", probabilities, found.masks_queries_logits.sigmoid()[0])
            cells = (slice(top // 4, top // 4 + 16), slice(left // 4, left // 4 + 16))
            sums[:, cells[0], cells[1]] += scores
            counts[cells] += 1
    mean = functional.interpolate((sums / counts)[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    best = mean.topk(2, dim=0)
    sure = (best.values[0] - best.values[1]) > 1e-5
    output = answer(card, "semantic", pixels)
    assert float(sure.float().mean()) > 0.9
    assert np.mean(output.labels[sure.numpy()] == best.indices[0].numpy()[sure.numpy()]) == 1
