"""Queries to instances and to panoptic segments: the papers' inference, and where transformers' departs from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Mask2FormerImageProcessor

from shared.models.postprocess import panoptic as fuse
from shared.models.postprocess import prompt_masks
from shared.models.postprocess.mask_queries import Wanted, instances, mask_of
from shared.models.postprocess.prompt_masks import padded, stretched
from shared.models.postprocess.upsample import Grid
from shared.types import PanopticOutput, Runs

SIZE = (96, 128)
LOW = (24, 32)
CLASSES = 5
THINGS = frozenset({0, 1, 2})


def blob(y: float, x: float, radius: float, height: float = 8.0, low: tuple[int, int] = LOW) -> Tensor:
    """Mask logits of a disc on the coarse grid: `height` at its centre, 0 on its edge, negative outside."""
    down, across = torch.meshgrid(torch.arange(low[0]) + 0.5, torch.arange(low[1]) + 0.5, indexing="ij")
    distance = ((down - y) ** 2 + (across - x) ** 2).sqrt()
    return height * (1 - distance / radius)


def class_logits(*labelled: tuple[int, float]) -> Tensor:
    """[q, classes + 1] whose softmax gives each query its label with about this probability."""
    rows = torch.zeros(len(labelled), CLASSES + 1)
    for row, (label, probability) in zip(rows, labelled, strict=True):
        row[label] = np.log(probability * CLASSES / (1 - probability))
    return rows


def masks_at(masks: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    return functional.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]


def test_masks_are_those_of_resizing_whole_and_thresholding_after() -> None:
    random = torch.randn(1, 12, 6, 8, generator=torch.Generator().manual_seed(1))
    masks = functional.interpolate(random, size=LOW, mode="bicubic")[0]
    probabilities = torch.rand(12, CLASSES, generator=torch.Generator().manual_seed(2)).softmax(dim=-1)
    frame = stretched(LOW, SIZE)
    output = instances(probabilities, masks, frame, Wanted(THINGS, 0.0, 1000))
    full = masks_at(masks)
    expected = []
    for query in range(12):
        for label in sorted(THINGS):
            inside = full[query] > 0
            if inside.any():
                score = probabilities[query, label] * full[query].sigmoid()[inside].mean()
                expected.append((float(score), label, inside.numpy()))
    expected.sort(key=lambda entry: -entry[0])
    assert len(output.instances) == len(expected)
    for got, (value, label, mask) in zip(output.instances, expected, strict=True):
        assert got.label_id == label
        assert got.score == pytest.approx(value, abs=1e-5)
        assert np.mean(got.region.full() != mask) < 1e-3


def test_padding_is_cut_off_before_the_image() -> None:
    """A disc over the valid part's middle stays round and centred; transformers stretches the padding in with it."""
    valid, canvas = (96, 96), (96, 128)
    found = mask_of(blob(12, 12, 6).numpy(), padded(LOW, canvas, valid, (200, 200)))
    rows, columns = np.nonzero(found.region.full())
    assert abs(rows.mean() - 99.5) < 1
    assert abs(columns.mean() - 99.5) < 1
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 2
    theirs = Mask2FormerImageProcessor().post_process_instance_segmentation(
        _outputs(class_logits((0, 0.99)), blob(12, 12, 6)[None]), threshold=0.5, target_sizes=[(200, 200)]
    )[0]["segmentation"]
    assert abs(np.nonzero(theirs.numpy() == 0)[1].mean() - 99.5) > 15


def test_a_weak_mask_does_not_erase_a_strong_one() -> None:
    """transformers paints in query order: the later, weaker query takes the pixels of the earlier one."""
    masks = torch.stack([blob(12, 16, 8), blob(12, 16, 9)])
    logits = class_logits((0, 0.99), (1, 0.6))
    probabilities = logits.softmax(dim=-1)[:, :-1]
    strong, weak = instances(probabilities, masks, stretched(LOW, SIZE), Wanted(THINGS, 0.5, 10)).instances
    assert (strong.label_id, weak.label_id) == (0, 1)
    for found, logit in zip((strong, weak), masks_at(masks), strict=True):
        assert np.mean(found.region.full() == (logit > 0).numpy()) > 0.999
    theirs = Mask2FormerImageProcessor().post_process_instance_segmentation(
        _outputs(logits, masks), threshold=0.5, target_sizes=[SIZE]
    )[0]
    kept = [int((theirs["segmentation"] == info["id"]).sum()) for info in theirs["segments_info"]]
    assert 0 in kept or min(kept) < 0.5 * strong.region.area


def test_nothing_sure_is_nothing_found() -> None:
    probabilities = class_logits((0, 0.3), (4, 0.99)).softmax(dim=-1)[:, :-1]
    masks = torch.stack([blob(12, 16, 8), blob(12, 16, 8)])
    output = instances(probabilities, masks, stretched(LOW, SIZE), Wanted(THINGS, 0.5, 10))
    assert output.instances == ()
    assert output.size == SIZE
    empty = torch.stack([blob(12, 16, 8) - 100] * 2)
    assert instances(probabilities, empty, stretched(LOW, SIZE), Wanted(range(CLASSES), 0.0, 10)).instances == ()


def test_the_number_of_instances_is_capped_at_the_best() -> None:
    probabilities = class_logits((0, 0.7), (1, 0.9), (2, 0.8)).softmax(dim=-1)[:, :-1]
    masks = torch.stack([blob(6, 6, 4), blob(6, 24, 4), blob(18, 16, 4)])
    output = instances(probabilities, masks, stretched(LOW, SIZE), Wanted(THINGS, 0.5, 2))
    assert [found.label_id for found in output.instances] == [1, 2]


def test_panoptic_is_transformers_where_theirs_is_right() -> None:
    """Things only, no padding, an image of their 384 x 384, and only pixels where the owner's mask is more than half
    sure (the library keeps the others too; the paper's code does not)."""
    size = (384, 384)
    generator = torch.Generator().manual_seed(5)
    places = (torch.rand(12, 3, generator=generator) * torch.tensor([96, 96, 12]) + torch.tensor([0, 0, 8])).tolist()
    masks = torch.stack([blob(y, x, radius, low=(96, 96)) for y, x, radius in places])
    labels = torch.randint(0, 3, (12,), generator=generator).tolist()
    logits = class_logits(*((label, 0.85 + 0.01 * query) for query, label in enumerate(labels)))
    found = fuse.candidates(logits.softmax(dim=-1), Grid(masks), 0.8)
    ours = fuse.panoptic(found, size, THINGS, 0.6)
    theirs = _panoptic_of_transformers(logits, masks, size, 0.6)
    expected = {info["id"]: info["label_id"] for info in theirs["segments_info"]}
    assert {segment.id: segment.label_id for segment in ours.segments} == expected
    assert len(expected) > 5
    inside = ours.ids > 0
    assert np.mean(ours.ids[inside] == theirs["segmentation"].numpy()[inside]) > 0.999


def test_two_segments_never_share_an_id() -> None:
    """transformers counts on from the id of the stuff that it fused last: stuff 1, thing 2, stuff 1, thing 2 again."""
    masks = torch.stack([blob(6, 6, 4), blob(6, 26, 4), blob(18, 6, 4), blob(18, 26, 4)])
    logits = class_logits((3, 0.9), (0, 0.9), (3, 0.9), (1, 0.9))
    output = fuse.panoptic(fuse.candidates(logits.softmax(dim=-1), Grid(masks), 0.8), SIZE, THINGS, 0.8)
    assert [(segment.id, segment.label_id) for segment in output.segments] == [(1, 3), (2, 0), (3, 1)]
    theirs = _panoptic_of_transformers(logits, masks, SIZE, 0.8)["segments_info"]
    assert [(info["id"], info["label_id"]) for info in theirs] == [(1, 3), (2, 0), (1, 3), (2, 1)]


def test_panoptic_rules() -> None:
    """Stuff of one class is one segment; a query that lost most of its mask is dropped; the unsure are not asked."""
    masks = torch.stack(
        [blob(6, 6, 4), blob(6, 26, 4), blob(18, 16, 5), blob(18, 16.5, 4.5, height=2), blob(18, 5, 3), blob(18, 28, 3)]
    )
    labelled = [(3, 0.95), (3, 0.9), (0, 0.95), (1, 0.9), (2, 0.5), (1, 0.9)]
    found = fuse.candidates(class_logits(*labelled).softmax(dim=-1), Grid(masks), 0.8)
    assert found.labels == (3, 3, 0, 1, 1)
    output = fuse.panoptic(found, SIZE, THINGS, 0.8)
    assert [(segment.id, segment.label_id, segment.isthing) for segment in output.segments] == [
        (1, 3, False), (2, 0, True), (3, 1, True),
    ]  # fmt: skip
    assert output.segments[0].score == pytest.approx(0.95, abs=1e-3)
    full = (masks_at(masks) > 0).numpy()
    assert _iou(output, 1, full[0] | full[1]) > 0.99
    assert _iou(output, 2, full[2]) > 0.9
    assert _iou(output, 3, full[5]) > 0.99
    assert (output.ids[full[4] & ~full[2]] == 0).all()


def test_panoptic_without_sure_queries_is_void() -> None:
    found = fuse.candidates(class_logits((0, 0.5), (5, 0.99)).softmax(dim=-1), Grid(torch.zeros(2, *LOW)), 0.8)
    output = fuse.panoptic(found, SIZE, THINGS, 0.8)
    assert output.segments == ()
    assert output.ids.shape == SIZE
    assert output.ids.dtype == np.int32
    assert not output.ids.any()


def _iou(output: PanopticOutput, number: int, mask: np.ndarray) -> float:
    pixels = output.ids == number
    return float(np.logical_and(pixels, mask).sum() / np.logical_or(pixels, mask).sum())


def _panoptic_of_transformers(logits: Tensor, masks: Tensor, size: tuple[int, int], overlap: float) -> dict[str, Any]:
    found: list[dict[str, Any]] = Mask2FormerImageProcessor().post_process_panoptic_segmentation(
        _outputs(logits, masks),
        threshold=0.8,
        overlap_mask_area_threshold=overlap,
        label_ids_to_fuse=set(range(CLASSES)) - THINGS,
        target_sizes=[size],
    )
    return found[0]


def _outputs(classes: Tensor, masks: Tensor) -> SimpleNamespace:
    return SimpleNamespace(class_queries_logits=classes[None], masks_queries_logits=masks[None])


def test_a_mask_on_a_large_image_is_found_by_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = padded(LOW, (96, 128), (90, 128), (600, 853))
    exact = mask_of(blob(12, 12, 6).numpy(), frame)
    monkeypatch.setattr(prompt_masks, "LARGE_PIXELS", 0)
    found = mask_of(blob(12, 12, 6).numpy(), frame)
    assert isinstance(exact.region.held, np.ndarray)
    assert isinstance(found.region.held, Runs)
    assert np.mean(found.region.full() != exact.region.full()) < 1e-5
    assert found.certainty == pytest.approx(exact.certainty, abs=5e-3)
    nothing = mask_of(np.full(LOW, -3, np.float32), frame)
    assert nothing.region.empty
    assert nothing.certainty == 0.0
