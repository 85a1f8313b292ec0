"""Our run lengths are those of pycocotools, character for character, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from shared.errors import InvalidOption
from shared.imaging.label_runs import LabelRuns
from shared.imaging.rle import Rle, area, box, decode, encode
from shared.types import BoolArray, Region

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24))


def reference(mask: BoolArray) -> Rle:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def encode_labels(labels: Any) -> dict[int, Rle]:
    return {label: encode(region) for label, region in LabelRuns.of(labels).regions().items()}


def blobs(height: int, width: int, seed: int = 0, classes: int = 2) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth random label map."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (height // 16 + 2, width // 16 + 2), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16), np.uint8))[3 : height + 3, 5 : width + 5]


@settings(deadline=None, max_examples=300)
@given(mask=MASKS)
def test_a_region_is_encoded_as_pycocotools_encodes_its_mask(mask: BoolArray) -> None:
    region = Region.from_mask(mask)
    rle = encode(region)
    assert rle == reference(mask)
    np.testing.assert_array_equal(decode(rle), mask)
    assert area(rle) == region.area
    assert box(rle) == region.box


@settings(deadline=None)
@given(mask=MASKS, above=st.integers(0, 3), left=st.integers(0, 3), below=st.integers(0, 3), right=st.integers(0, 3))
def test_an_untight_crop_anywhere_in_the_image(mask: BoolArray, above: int, left: int, below: int, right: int) -> None:
    whole = np.pad(mask, ((above, below), (left, right)))
    assert encode(Region((whole.shape[0], whole.shape[1]), left, above, mask)) == reference(whole)


@pytest.mark.parametrize("shape", [(1, 1), (360, 480), (1000, 3), (3, 2000)])
@pytest.mark.parametrize("seed", range(3))
def test_larger_masks(shape: tuple[int, int], seed: int) -> None:
    smooth = blobs(*shape, seed=seed) > 0
    noisy = smooth ^ (np.random.default_rng(seed).random(shape) < 0.05)
    for mask in (smooth, noisy, np.zeros(shape, bool), np.ones(shape, bool)):
        rle = encode(Region.from_mask(mask))
        assert rle == reference(mask)
        np.testing.assert_array_equal(decode(rle), mask)


def test_a_mask_of_many_millions_of_pixels() -> None:
    """Counts above 2^24 take six groups of five bits."""
    mask = np.zeros((6_000, 6_000), bool)
    mask[5_990:, 5_990:] = True
    assert encode(Region.from_mask(mask)) == reference(mask)


@settings(deadline=None, max_examples=200)
@given(
    labels=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=16),
        elements=st.integers(0, 5),
    )
)
def test_all_labels_of_a_map_at_once(labels: Any) -> None:
    encoded = encode_labels(labels)
    assert list(encoded) == np.unique(labels).tolist()
    for label, rle in encoded.items():
        assert rle == reference(labels == label)


def test_sixteen_bit_labels_and_ids() -> None:
    labels = blobs(64, 64, classes=4).astype(np.uint16) * 20_000
    assert encode_labels(labels)[60_000] == reference(labels == 60_000)
    ids = blobs(64, 64, classes=3).astype(np.int32) * 8_000_000
    assert encode_labels(ids)[16_000_000] == reference(ids == 16_000_000)


@pytest.mark.parametrize("counts", [[12], [0, 12], [3, 4, 5], [0, 1, 1, 1, 1, 1, 7]])
def test_uncompressed_run_lengths(counts: list[int]) -> None:
    compressed = coco_mask.frPyObjects({"size": [3, 4], "counts": counts}, 3, 4)
    mask = decode({"size": [3, 4], "counts": counts})
    assert reference(mask)["counts"] == compressed["counts"].decode("ascii")


@pytest.mark.parametrize(
    ("rle", "field"),
    [
        ({}, "size"),
        ({"size": [3], "counts": "<"}, "size"),
        ({"size": [0, 4], "counts": ""}, "size"),
        ({"size": [True, 4], "counts": "4"}, "size"),
        ({"size": ["3", 4], "counts": "<"}, "size"),
        ({"size": [2**20, 2**20], "counts": "<"}, "size"),
        ({"size": [3, 4]}, "counts"),
        ({"size": [3, 4], "counts": ""}, "counts"),
        ({"size": [3, 4], "counts": 12}, "counts"),
        ({"size": [3, 4], "counts": ";"}, "counts"),
        ({"size": [3, 4], "counts": "=" * 3}, "counts"),
        ({"size": [3, 4], "counts": "Q"}, "counts"),
        ({"size": [3, 4], "counts": "é<"}, "counts"),
        ({"size": [3, 4], "counts": "\ud800<"}, "counts"),
        ({"size": [3, 4], "counts": "o" * 8 + "0"}, "counts"),
        ({"size": [3, 4], "counts": [13, -1]}, "counts"),
        ({"size": [3, 4], "counts": [1, 2]}, "counts"),
        ({"size": [3, 4], "counts": [2**70]}, "counts"),
        ({"size": [3, 4], "counts": ["12"]}, "counts"),
    ],
)
def test_what_is_no_mask_is_refused(rle: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        decode(rle)
    assert caught.value.details[0].field == field


@settings(deadline=None, max_examples=300)
@given(counts=st.one_of(st.text(max_size=30), st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)))
def test_any_text_is_a_mask_or_an_error(counts: str) -> None:
    try:
        mask = decode({"size": [5, 7], "counts": counts})
    except InvalidOption:
        return
    assert mask.shape == (5, 7)
    np.testing.assert_array_equal(decode(encode(Region.from_mask(mask))), mask)
