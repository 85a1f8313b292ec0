"""YOLACT: its anchors and boxes, Fast NMS against its definition, masks cut to boxes, and the authors' checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.models.adapters.yolact import cut, renamed
from shared.models.networks.yolact import Yolact, anchors, corners
from shared.models.postprocess.fast_nms import fast_nms
from shared.types import DenseInput
from tests.contract.contract import picture
from tests.contract.tiny import tiny
from tests.unit.models.test_dense_adapters import answer, network

NAME = "yolact-resnet101-coco"


def test_anchors_are_squares_about_the_cells_centres() -> None:
    found = anchors(torch.zeros(1, 1, 2, 4), 0.1)
    assert found.shape == (24, 4)
    assert found[0].tolist() == pytest.approx([0.125, 0.25, 0.1, 0.1])
    assert found[-1].tolist() == pytest.approx([0.875, 0.75, 0.1 * 2**0.5, 0.1 * 2**0.5])
    assert found[1, 2] == pytest.approx(0.1 * 0.5**0.5)
    boxes = corners(torch.tensor([[[0.0, 0, 0, 0], [5, 0, 0, 5]]]), torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 2))
    wide = 0.1 * torch.e
    torch.testing.assert_close(boxes[0], torch.tensor([[0.4, 0.4, 0.6, 0.6], [0.5, 0.5 - wide, 0.7, 0.5 + wide]]))


def test_a_photo_of_550_pixels_has_the_papers_19248_anchors() -> None:
    with torch.device("meta"):
        made = Yolact(80, "resnet10t")
        probabilities, boxes, coefficients, prototypes = made(torch.zeros(1, 3, 550, 550))
    assert probabilities.shape == (1, 19_248, 80)
    assert boxes.shape == (1, 19_248, 4)
    assert coefficients.shape == (1, 19_248, 32)
    assert prototypes.shape == (1, 32, 138, 138)


def by_definition(probabilities: Tensor, boxes: Tensor, lowest: float, overlap: float) -> set[tuple[int, int]]:
    """Pairs of box and label that no better box of the label overlaps, one by one."""
    kept = set()
    for label in range(probabilities.shape[1]):
        scores = probabilities[:, label]
        for box in range(len(boxes)):
            better = [other for other in range(len(boxes)) if scores[other] > scores[box]]
            free = not better or float(box_iou(boxes[better], boxes[box : box + 1]).max()) <= overlap
            if scores[box] >= lowest and free:
                kept.add((box, label))
    return kept


@pytest.mark.parametrize("lowest", [0.0, 0.2, 0.6])
def test_fast_nms_is_what_the_paper_defines(lowest: float) -> None:
    generator = torch.Generator().manual_seed(4)
    corner = torch.rand(60, 2, generator=generator)
    boxes = torch.cat([corner, corner + 0.1 + 0.4 * torch.rand(60, 2, generator=generator)], dim=1)
    probabilities = torch.rand(60, 3, generator=generator)
    chosen, labels = fast_nms(probabilities, boxes, lowest, 0.5, 1000)
    pairs = list(zip(chosen.tolist(), labels.tolist(), strict=True))
    assert set(pairs) == by_definition(probabilities, boxes, lowest, 0.5)
    assert 0 < len(pairs) < 180
    scores = [float(probabilities[pair]) for pair in pairs]
    assert scores == sorted(scores, reverse=True)
    assert fast_nms(probabilities, boxes, lowest, 0.5, 2)[0].tolist() == chosen[:2].tolist()


def test_nothing_sure_enough_is_nothing() -> None:
    chosen, labels = fast_nms(torch.full((4, 2), 0.1), torch.rand(4, 4), 0.5, 0.5, 10)
    assert len(chosen) == len(labels) == 0


def test_a_mask_ends_a_cell_beyond_its_box() -> None:
    masks = cut(torch.ones(1, 1), torch.full((1, 10, 20), 9.0), torch.tensor([[0.2, 0.3, 0.5, 0.6]]), 0.5)
    rows, columns = (masks[0] > 0).any(dim=1).nonzero().flatten(), (masks[0] > 0).any(dim=0).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (2, 6)
    assert (int(columns.min()), int(columns.max())) == (3, 10)


def test_answers_are_those_of_the_network_called_directly() -> None:
    card = tiny(find_card(NAME))
    pixels = picture(64, 64, seed=2)
    mean, std = torch.tensor(card.preprocess.mean), torch.tensor(card.preprocess.std)
    given = ((torch.from_numpy(pixels).float() - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        probabilities, boxes, coefficients, prototypes = (each[0] for each in network(card)(given))
    chosen, labels = fast_nms(probabilities, boxes.clamp(0, 1), 0.05, card.thresholds.overlap, 100)
    found = answer(card, "instance", pixels, score_threshold=0.05, max_instances=100).instances
    assert len(found) > 1
    expected = []
    masks = cut(coefficients[chosen], prototypes, boxes[chosen].clamp(0, 1), 0.5)
    large = functional.interpolate(masks[None], size=(64, 64), mode="bilinear", align_corners=False)[0] > 0
    for box, label, mask in zip(chosen.tolist(), labels.tolist(), large, strict=True):
        if mask.any():
            expected.append((label, float(probabilities[box, label]), mask.numpy()))
    assert len(found) == len(expected)
    for one, (label, score, mask) in zip(found, expected, strict=True):
        assert (one.label_id, one.score) == (label, pytest.approx(score, abs=1e-4))
        assert np.mean(one.region.full() == mask) > 0.999


def test_the_authors_names_are_taken(tmp_path: Path) -> None:
    card = find_card(NAME).shrunk()
    torch.manual_seed(0)
    state = Yolact(80, "resnet10t").state_dict()
    theirs = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "backbone" and parts[1].startswith("layer"):
            parts[1:2] = ["layers", str(int(parts[1][5:]) - 1)]
        theirs[".".join(parts)] = value
    theirs["semantic_seg_conv.weight"] = torch.zeros(80, 256, 1, 1)
    assert set(renamed(theirs)) == set(state)
    torch.save(theirs, tmp_path / "yolact.pth")
    data = card.model_dump(mode="python") | {"weights": {"source": "file", "path": "yolact.pth"}}
    options = LoadOptions(roles=("instance",), engine="torch", device="cpu", weights_dir=tmp_path)
    models = load(type(card).model_validate(data), options)
    again = load(card.model_validate(data), options)
    assert models.weights_sha256 == again.weights_sha256
    output = models.roles["instance"].predict([DenseInput(picture(64, 64, seed=1), score_threshold=0.0)])[0]
    assert output.size == (64, 64)
