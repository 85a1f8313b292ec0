"""Overlays drawn a stripe at a time equal, byte for byte, what drawing the whole picture at once gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.imaging import stripes
from shared.imaging.captions import Caption, Color, innermost, write_captions
from shared.imaging.compose import borders, distinct, overlay_labels, overlay_one_by_one, overlay_regions
from shared.imaging.sample import street_scene
from shared.labels import label_space
from shared.types import LabelArray, Region, UInt8Array

SPACE = label_space("camvid")
SIZES = [(1, 1), (1, 37), (41, 1), (3, 5), (97, 61), (61, 97), (180, 240), (601, 1003)]


def whole_labels(
    pixels: UInt8Array, labels: LabelArray, palette: UInt8Array, alpha: float, names: tuple[str, ...]
) -> UInt8Array:
    """`overlay_labels` in planes of the whole picture."""
    colors = palette[np.minimum(labels, 255)]
    known = labels < min(int(np.iinfo(labels.dtype).max), 255)
    drawn = pixels.copy()
    blended = np.asarray(cv2.addWeighted(pixels, 1 - alpha, colors, alpha, 0))
    cv2.copyTo(blended, known.view(np.uint8), drawn)
    edges = borders(labels)
    drawn[edges] = (colors[edges] * 0.5).astype(np.uint8) + 96
    captions = []
    for label_id in np.flatnonzero(np.bincount(labels.ravel(), minlength=len(names))[: len(names)]).tolist():
        region = Region.from_mask(labels == label_id)
        if innermost(region)[2] > 0.035 * min(labels.shape):
            red, green, blue = palette[min(label_id, 255)].tolist()
            captions.append(Caption(names[label_id], region, (red, green, blue)))
    write_captions(drawn, captions)
    return drawn


def whole_paint(drawn: UInt8Array, region: Region, color: Color, alpha: float) -> None:
    """One mask in planes of its whole box."""
    if not region.bits.size:
        return
    x0, y0, x1, y1 = region.box
    crop = np.ascontiguousarray(drawn[y0:y1, x0:x1])
    blended = np.asarray(cv2.addWeighted(crop, 1 - alpha, np.full_like(crop, color), alpha, 0))
    bits = np.ascontiguousarray(region.bits).view(np.uint8)
    drawn[y0:y1, x0:x1] = cv2.copyTo(blended, bits, crop)
    contours, _ = cv2.findContours(bits, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(min(region.size) / 500))
    cv2.drawContours(drawn, contours, -1, color, thickness, cv2.LINE_AA, offset=(x0, y0))


def scene(size: tuple[int, int], seed: int, void: bool) -> tuple[UInt8Array, UInt8Array]:
    """A drawn street with grain, its labels, some of them void where asked for."""
    height, width = size
    drawn, drawn_labels = street_scene(max(width, 64), max(height, 64), seed)
    pixels, labels = drawn[:height, :width], drawn_labels[:height, :width].copy()
    grain = np.random.default_rng(seed).integers(-9, 10, pixels.shape)
    if void:
        labels[height // 3 : height // 2 + 1, width // 4 :] = 255
    return np.clip(pixels + grain, 0, 255).astype(np.uint8), labels


@pytest.fixture(params=[2**18, 2**10], ids=["stripes", "rows"])
def _stripes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripes, "STRIPE_BYTES", request.param)


@pytest.mark.usefixtures("_stripes")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alpha", [0.0, 0.31, 0.5, 1.0])
@pytest.mark.parametrize("void", [False, True])
def test_overlays_of_labels(size: tuple[int, int], alpha: float, void: bool) -> None:
    pixels, labels = scene(size, 3, void)
    for names in ((), SPACE.names):
        expected = whole_labels(pixels, labels, SPACE.palette(), alpha, names)
        np.testing.assert_array_equal(overlay_labels(pixels, labels, SPACE.palette(), alpha, names), expected)


@pytest.mark.usefixtures("_stripes")
@pytest.mark.parametrize("size", [(61, 97), (601, 1003)])
def test_overlays_of_labels_in_16_bits_and_of_noise(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(5)
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)
    palette = generator.integers(0, 256, (256, 3), np.uint8)
    names = tuple(f"class {index}" for index in range(300))
    wide = np.repeat(np.repeat(generator.integers(0, 300, (7, 5), np.uint16), 90, axis=0), 210, axis=1)
    wide[:40] = 65_535
    noise = generator.integers(0, 256, size, np.uint8)
    for labels in (wide[: size[0], : size[1]], noise, noise.astype(np.uint16) * 2):
        expected = whole_labels(pixels, labels, palette, 0.5, names)
        np.testing.assert_array_equal(overlay_labels(pixels, labels, palette, names=names), expected)


@pytest.mark.usefixtures("_stripes")
def test_pixels_that_are_a_view_of_others() -> None:
    pixels, labels = scene((180, 240), 4, void=True)
    for view in (np.s_[::-1, ::-1], np.s_[10:150, 20:201], np.s_[::2, ::3]):
        expected = whole_labels(pixels[view].copy(), labels[view].copy(), SPACE.palette(), 0.5, SPACE.names)
        found = overlay_labels(pixels[view], labels[view], SPACE.palette(), names=SPACE.names)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("_stripes")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alpha", [0.0, 0.31, 0.5, 1.0])
def test_overlays_of_masks(size: tuple[int, int], alpha: float) -> None:
    pixels, labels = scene(size, 7, void=False)
    regions = [Region.from_mask(np.asarray(labels == index)) for index in range(11)]
    regions.append(Region.from_mask(labels < 6))
    marked = [(region, f"object {index}" if index % 2 else "") for index, region in enumerate(regions)]
    colors = [distinct(index) for index in range(len(regions))]
    expected = pixels.copy()
    for region, color in reversed(list(zip(regions, colors, strict=True))):
        whole_paint(expected, region, color, alpha)
    unnamed = pixels.copy()
    for region, color in zip(regions, colors, strict=True):
        whole_paint(unnamed, region, color, alpha)
    texts = [text for _, text in marked]
    write_captions(expected, [Caption(*each) for each in zip(texts, regions, colors, strict=True)])
    np.testing.assert_array_equal(overlay_regions(pixels, marked, alpha), expected)
    np.testing.assert_array_equal(overlay_one_by_one(pixels, iter(regions), alpha), unnamed)
