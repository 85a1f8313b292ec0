"""Answers equal those of the same network called directly, in its library's own way; both engines agree."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.roi_heads import paste_masks_in_image

from shared.catalog.card import Card, FileWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.labels import label_space
from shared.models.weights import load_network
from shared.types import DenseInput, InstanceOutput, PanopticOutput, Role, SemanticOutput, UInt8Array
from tests.contract.contract import picture
from tests.contract.tiny import library_of, tiny, with_one_thread

one_thread = pytest.fixture(scope="module", autouse=True)(with_one_thread)


def network(card: Card) -> Any:
    """The library's own network, with the weights that `answer` uses."""
    return load_network(card, library_of(card)).module


def answer(card: Card, role: Role, pixels: UInt8Array, engine: str = "torch", **options: Any) -> Any:
    loaded = load(card, LoadOptions(roles=(role,), engine=engine, device="cpu"))
    return loaded.roles[role].predict([DenseInput(pixels, **options)])[0]


def normalised(pixels: UInt8Array) -> Tensor:
    """[1,3,h,w] as ImageNet-trained networks take it."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(pixels) / 255 - mean) / std).permute(2, 0, 1)[None]


def same_labels(output: SemanticOutput, logits: Tensor) -> None:
    """Equal at every pixel whose two best logits are apart."""
    best = logits.topk(2, dim=0).values
    sure = ((best[0] - best[1]) > 1e-3).numpy()
    assert sure.mean() > 0.9
    assert np.array_equal(output.labels[sure], logits.argmax(dim=0).numpy()[sure])
    assert len(np.unique(output.labels)) > 1


@pytest.mark.parametrize(
    "name",
    [
        "segformer-b0-ade",
        "fcn-resnet50",
        "deeplabv3-mobilenet-v3-large",
        "lraspp-mobilenet-v3-large",
        "deeplabv3plus-resnet50",
    ],
)
def test_semantic_networks_called_directly(name: str) -> None:
    card = tiny(find_card(name))
    height, width = card.preprocess.buckets[1]
    pixels = picture(height, width, seed=1)
    library = network(card)
    with torch.no_grad():
        if card.network["class"] == "SegformerForSemanticSegmentation":
            low = library(pixel_values=normalised(pixels)).logits
            logits = functional.interpolate(low, size=(height, width), mode="bilinear", align_corners=False)[0]
        else:
            found = library(normalised(pixels))
            logits = (found["out"] if isinstance(found, dict) else found)[0]
    same_labels(answer(card, "semantic", pixels), logits)


@pytest.mark.parametrize("name", ["segformer-b0-ade", "lraspp-mobilenet-v3-large", "deeplabv3plus-resnet50"])
def test_openvino_gives_the_labels_of_torch(name: str, tmp_path: Path) -> None:
    card = tiny(find_card(name))
    pixels = picture(100, 140, seed=2)
    options = LoadOptions(roles=("semantic",), engine="openvino", cache_dir=tmp_path)
    unforeseen: list[int] = []
    counted = LoadOptions(
        roles=("semantic",), engine="openvino", cache_dir=tmp_path, on_unforeseen_shape=lambda: unforeseen.append(1)
    )
    first = load(card, options).roles["semantic"].predict([DenseInput(pixels)])[0]
    loaded = load(card, counted)
    assert loaded.engine == "openvino"
    model = loaded.roles["semantic"]
    exact = answer(card, "semantic", pixels)
    again = model.predict([DenseInput(pixels)])[0]
    assert len(unforeseen) == 1
    assert np.array_equal(first.labels, again.labels)
    assert np.mean(first.labels == exact.labels) >= 0.999
    assert np.abs(first.confidence.astype(np.float32) - exact.confidence).max() < 2e-3


def test_mask2former_called_directly() -> None:
    card = tiny(find_card("mask2former-swin-tiny-coco-panoptic"))
    card = card.model_copy(update={"thresholds": card.thresholds.model_copy(update={"overlap": 0.0})})
    pixels = picture(64, 96, seed=3)
    with torch.no_grad():
        found = network(card)(pixel_values=normalised(pixels))
    masks = functional.interpolate(found.masks_queries_logits, size=(64, 96), mode="bilinear", align_corners=False)[0]
    probabilities = found.class_queries_logits.softmax(dim=-1)[0]
    _semantic(answer(card, "semantic", pixels), probabilities, masks)
    _instance(answer(card, "instance", pixels, score_threshold=0.05), probabilities, masks, card)
    _panoptic(answer(card, "panoptic", pixels), probabilities, masks, card)


def test_oneformer_called_directly_is_told_each_task() -> None:
    card = tiny(find_card("oneformer-swin-large-coco"))
    card = card.model_copy(update={"thresholds": card.thresholds.model_copy(update={"overlap": 0.0})})
    assert isinstance(card.weights, FileWeights)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(Path(card.weights.path).parent)
    pixels = picture(64, 96, seed=3)
    processor: Any = transformers.OneFormerProcessor
    told = {}
    for task in ("semantic", "instance", "panoptic"):
        tokens = processor._preprocess_text(SimpleNamespace(tokenizer=tokenizer), [f"the task is {task}"])
        with torch.no_grad():
            found = network(card)(pixel_values=normalised(pixels), task_inputs=tokens)
        masks = functional.interpolate(found.masks_queries_logits, size=(64, 96), mode="bilinear", align_corners=False)[
            0
        ]
        told[task] = found.class_queries_logits.softmax(dim=-1)[0], masks
    assert not torch.equal(told["semantic"][0], told["panoptic"][0]), "the task must matter"
    _semantic(answer(card, "semantic", pixels), *told["semantic"], least=0.7)
    _instance(answer(card, "instance", pixels, score_threshold=0.05), *told["instance"], card)
    _panoptic(answer(card, "panoptic", pixels), *told["panoptic"], card)


def _semantic(output: SemanticOutput, probabilities: Tensor, masks: Tensor, least: float = 0.9) -> None:
    """Equal wherever one class is ahead, which is so for at least this part of the pixels."""
    scores = torch.einsum("qc,qhw->chw", probabilities[:, :-1], masks.sigmoid())
    best = scores.topk(2, dim=0).values
    sure = ((best[0] - best[1]) > 1e-5).numpy()
    assert sure.mean() > least
    assert np.array_equal(output.labels[sure], scores.argmax(dim=0).numpy()[sure])


def _instance(output: InstanceOutput, probabilities: Tensor, masks: Tensor, card: Card) -> None:
    things = label_space(card.label_space).things
    count = 0
    for query in range(masks.shape[0]):
        inside = masks[query] > 0
        for label in things:
            score = float(probabilities[query, label] * (masks[query].sigmoid()[inside].mean() if inside.any() else 0))
            if score < 0.05:
                continue
            count += 1
            near = [one for one in output.instances if one.label_id == label and abs(one.score - score) < 1e-4]
            assert any(np.mean(one.region.full() == inside.numpy()) > 0.999 for one in near)
    assert len(output.instances) == count > 1


def _panoptic(output: PanopticOutput, probabilities: Tensor, masks: Tensor, card: Card, least: int = 2) -> None:
    """The owner of every pixel, query by query, as the paper writes it down."""
    scores, labels = probabilities.max(dim=-1)
    kept = (labels < probabilities.shape[1] - 1) & (scores > card.thresholds.score)
    owner = (scores[kept, None, None] * masks[kept].sigmoid()).argmax(dim=0)
    expected = torch.full(masks.shape[1:], -1)
    for index, (label, mask) in enumerate(zip(labels[kept].tolist(), masks[kept], strict=True)):
        if (owner == index).sum() >= card.thresholds.overlap * (mask >= 0).sum():
            expected[(owner == index) & (mask >= 0)] = label
    table = np.full(len(output.segments) + 1, -1)
    for segment in output.segments:
        table[segment.id] = segment.label_id
    assert np.mean(table[output.ids] == expected.numpy()) > 0.999
    assert len(output.segments) >= least


@pytest.mark.parametrize("name", ["maskrcnn-resnet50-fpn", "maskrcnn-resnet50-fpn-v2"])
@pytest.mark.parametrize("size", [(64, 96), (100, 75)])
def test_mask_rcnn_called_directly(name: str, size: tuple[int, int]) -> None:
    """The resized image is what torchvision's own network is given; its boxes and masks are carried back by hand."""
    card = tiny(find_card(name))
    pixels = picture(*size, seed=4)
    output: InstanceOutput = answer(card, "instance", pixels)
    library = network(card)
    scale = min(64 / min(size), 128 / max(size))
    resized = [int(side * scale + 0.5) for side in size]
    library.transform.min_size, library.transform.max_size = (min(resized),), max(resized)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if resized != list(size):
        tensor = functional.interpolate(tensor, size=resized, mode="bilinear")
    with torch.no_grad():
        found = library([tensor[0] / 255])[0]
    across, down = size[1] / resized[1], size[0] / resized[0]
    boxes = found["boxes"] * torch.tensor([across, down, across, down])
    with torch.no_grad():
        _, _, _, small = _detect(library, tensor)
    labels = {label_space("coco").category_id(label): label for label in range(80)}
    expected = []
    for box, score, number, mask in zip(boxes, found["scores"], found["labels"], small, strict=True):
        inside = paste_masks_in_image(mask[None, None], box[None], size)[0, 0] > 0.5
        if int(number) in labels and inside.any():
            expected.append((labels[int(number)], float(score), box.numpy(), inside.numpy()))
    assert len(output.instances) == len(expected) > 1
    for got, (label, score, box, inside) in zip(output.instances, expected, strict=True):
        assert got.label_id == label
        assert got.score == pytest.approx(score, abs=1e-2)  # random weights turn the last bit of f32 into .003
        assert got.detection_box is not None
        np.testing.assert_allclose(got.detection_box, box, atol=1)
        assert np.mean(got.region.full() == inside) > 0.99


def _detect(library: Any, tensor: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """torchvision's parts in its own order, up to the small masks."""
    images, _ = library.transform([tensor[0] / 255])
    features = library.backbone(images.tensors)
    proposals, _ = library.rpn(images, features)
    found, _ = library.roi_heads(features, proposals, images.image_sizes)
    return found[0]["boxes"], found[0]["scores"], found[0]["labels"], found[0]["masks"][:, 0]


def test_a_thin_image_first_does_not_spoil_the_pooling() -> None:
    """torchvision's region pooling keeps the scales of the first image it sees, and asserts on thin ones."""
    card = tiny(find_card("maskrcnn-resnet50-fpn"))
    thin, plain = picture(7, 513, seed=5), picture(64, 96, seed=6)
    model = load(card, LoadOptions(roles=("instance",), device="cpu")).roles["instance"]
    (after_thin,) = [model.predict([DenseInput(thin)]), model.predict([DenseInput(plain)])][1:]
    alone = answer(card, "instance", plain)
    assert [one.score for one in after_thin[0].instances] == [one.score for one in alone.instances]


@pytest.mark.parametrize("name", ["segformer-b0-ade", "mask2former-swin-tiny-coco-panoptic"])
def test_a_network_with_other_classes_than_its_label_space_is_refused(name: str) -> None:
    card = tiny(find_card(name)).shrunk()
    wrong = card.model_copy(update={"label_space": "camvid"})
    model = load(wrong, LoadOptions(roles=("semantic",), engine="torch", device="cpu")).roles["semantic"]
    with pytest.raises(ValueError, match="classes, camvid has 11"):
        model.warm()
