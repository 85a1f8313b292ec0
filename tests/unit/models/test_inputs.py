"""Pixels to canvas to normalised floats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalog.card import Interpolation, Preprocess
from shared.models.geometry import Placement, Size, place
from shared.models.inputs import arrange, resized
from shared.models.normalise import FromPaddedPixels, Normalise, pixel_graph
from tests.contract.contract import picture

PLAIN = Preprocess(resize="none")


@pytest.mark.parametrize(("interpolation", "pillow"), [("bilinear", 2), ("bicubic", 3)])
@pytest.mark.parametrize("size", [(32, 48), (100, 77), (1, 1), (300, 200)])
def test_antialiased_resizing_is_pillows_to_two_grey_levels(
    interpolation: Interpolation, pillow: int, size: tuple[int, int]
) -> None:
    pixels = picture(97, 131, seed=1)
    ours = resized(pixels, size, interpolation)
    theirs = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling(pillow)))
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_resized_as_they_lie(interpolation: Interpolation) -> None:
    """The same bits as from planes, without turning pixels into planes and back."""
    pixels = picture(97, 131, seed=1)
    ours = resized(pixels, (120, 90), interpolation)
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()[None]
    theirs = torch.nn.functional.interpolate(planes, size=(120, 90), mode=interpolation, antialias=True)[0]
    assert np.array_equal(ours, theirs.permute(1, 2, 0).numpy())
    assert ours.flags.c_contiguous


def test_area_averages_whole_blocks() -> None:
    pixels = picture(64, 64, seed=2)
    ours = resized(pixels, (8, 8), "area")
    means = pixels.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
    assert np.abs(ours - means).max() <= 0.5


def test_an_image_of_the_right_size_is_not_touched() -> None:
    pixels = picture(20, 30, seed=3)
    pixels.setflags(write=False)
    assert resized(pixels, (20, 30), "bilinear") is pixels
    assert resized(pixels, (10, 15), "bilinear").shape == (10, 15, 3)


def test_the_image_lies_top_left_and_mirrors_before_padding() -> None:
    pixels = picture(20, 30, seed=4)
    placement = Placement(Size(20, 30), Size(20, 30), Size(32, 32))
    plain = arrange(pixels, placement, PLAIN)
    mirrored = arrange(pixels, placement, PLAIN, mirrored=True)
    assert np.array_equal(plain[:20, :30], pixels)
    assert np.array_equal(mirrored[:20, :30], pixels[:, ::-1])
    for canvas in (plain, mirrored):
        assert canvas.flags.c_contiguous
        assert not canvas[20:].any()
        assert not canvas[:, 30:].any()


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_normalisation_is_the_cards(channels: str) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    card = Preprocess.model_validate({"resize": "none", "mean": mean, "std": std, "channels": channels})
    pixels = picture(5, 7, seed=5)
    got = Normalise(card)(torch.from_numpy(pixels)[None])[0].permute(1, 2, 0).numpy()
    values = pixels.astype(np.float64) / 255
    expected = ((values if channels == "rgb" else values[..., ::-1]) - mean) / std
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_padding_is_exactly_zero_after_normalisation() -> None:
    network = FromPaddedPixels(PLAIN, torch.nn.Identity())
    pixels = torch.full((2, 4, 6, 3), 200, dtype=torch.uint8)
    values = network(pixels, torch.tensor([[4, 6], [3, 2]]))
    inside = torch.tensor(values[1]) if isinstance(values, tuple) else values[1]
    assert (inside[:, :3, :2] != 0).all()
    assert (inside[:, 3:] == 0).all()
    assert (inside[:, :, 2:] == 0).all()


def test_a_network_that_asks_for_the_valid_size_needs_padding() -> None:
    with pytest.raises(ValueError, match="align: pad"):
        pixel_graph(Preprocess(resize="none", align="resize"), torch.nn.Identity(), ("out",), asks_valid=True)


def test_arranging_follows_the_placement() -> None:
    card = Preprocess(resize="fit", size=64)
    canvas = arrange(picture(10, 40, seed=6), place(card, 10, 40), card)
    assert canvas.shape == (64, 64, 3)
    assert canvas[:16].any()
    assert not canvas[16:].any()
