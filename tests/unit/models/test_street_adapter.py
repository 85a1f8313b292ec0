"""The `street` adapter: without torch, equal on both engines, and right on images of any size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.catalog.card import Card
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.errors import InvalidOption
from shared.imaging.sample import CAR, ROAD, SKY, street_scene
from shared.models.adapters.street_frame import STRIDE, cells, dense_buckets, letterboxed, place
from shared.models.files import BUNDLED
from shared.protocols import LoadedModels
from shared.types import (
    DecoderInput,
    DenseInput,
    EncoderInput,
    Instance,
    PanopticOutput,
    Prompt,
    PromptMask,
    Role,
    UInt8Array,
)

ROOT = Path(__file__).parents[3]
ROLES: tuple[Role, ...] = ("semantic", "instance", "panoptic", "encoder", "decoder")
THINGS = (8, 9, 10)


@pytest.fixture(scope="module")
def card() -> Card:
    return find_card("street")


@pytest.fixture(scope="module")
def exported(card: Card) -> LoadedModels:
    return load(card, LoadOptions(roles=ROLES, engine="openvino"))


@pytest.fixture(scope="module")
def eager(card: Card) -> LoadedModels:
    pytest.importorskip("torch")
    return load(card, LoadOptions(roles=ROLES, engine="torch", device="cpu"))


def click(x: float, y: float) -> Prompt:
    return Prompt(np.array([[x, y]], dtype=np.float32), np.array([1], dtype=np.int32))


def masks(models: LoadedModels, pixels: UInt8Array, prompt: Prompt, multimask: bool = False) -> tuple[PromptMask, ...]:
    embedding = models.roles["encoder"].predict([EncoderInput(pixels)])[0]
    found: tuple[PromptMask, ...] = (
        models.roles["decoder"].predict([DecoderInput(embedding, prompt, multimask)])[0].masks
    )
    return found


def test_it_runs_without_torch() -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.types import DecoderInput, DenseInput, EncoderInput, Prompt
models = load(find_card("street"), LoadOptions(roles=("semantic", "panoptic", "encoder", "decoder"))).roles
image = np.zeros((90, 120, 3), dtype=np.uint8)
assert models["semantic"].predict([DenseInput(image)])[0].labels.shape == (90, 120)
assert models["panoptic"].predict([DenseInput(image)])[0].ids.shape == (90, 120)
embedding = models["encoder"].predict([EncoderInput(image)])[0]
assert len(models["decoder"].predict([DecoderInput(embedding, Prompt(box=(1, 1, 9, 9)))])[0].masks) == 1
assert not any(name.split(".")[0] in ("torch", "ray", "transformers") for name in sys.modules if name != "torch")
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=400)


@pytest.mark.parametrize("size", [(480, 360), (640, 360), (333, 500), (1280, 960)])
def test_both_engines_agree(exported: LoadedModels, eager: LoadedModels, size: tuple[int, int]) -> None:
    item = DenseInput(street_scene(*size, seed=2)[0])
    one, other = (models.roles["semantic"].predict([item])[0] for models in (exported, eager))
    assert (one.labels == other.labels).mean() >= 0.999
    assert np.abs(one.confidence.astype(np.float32) - other.confidence).max() < 1e-2
    mine, theirs = (models.roles["instance"].predict([item])[0].instances for models in (exported, eager))
    assert len(mine) == len(theirs)
    for left, right in zip(mine, theirs, strict=True):
        assert left.label_id == right.label_id
        assert left.score == pytest.approx(right.score, abs=5e-3)
    one_mask, other_mask = (
        masks(models, item.pixels, click(size[0] / 2, size[1] * 0.9))[0] for models in (exported, eager)
    )
    assert (one_mask.region.full() == other_mask.region.full()).mean() >= 0.999
    assert exported.weights_sha256 == eager.weights_sha256
    assert exported.parameters == eager.parameters
    assert exported.encoder_fingerprint != eager.encoder_fingerprint


def test_it_knows_a_street(exported: LoadedModels) -> None:
    pixels, truth = street_scene(480, 360, seed=0)
    labels = exported.roles["semantic"].predict([DenseInput(pixels)])[0].labels
    for label in (SKY, ROAD):
        both, either = ((labels == label) & (truth == label)).sum(), ((labels == label) | (truth == label)).sum()
        assert both / either > 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (360, 480), (1000, 1777), (2500, 1400)])
def test_answers_have_the_images_size(exported: LoadedModels, size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 90, dtype=np.uint8)
    assert exported.roles["semantic"].predict([DenseInput(pixels)])[0].labels.shape == size
    assert exported.roles["panoptic"].predict([DenseInput(pixels)])[0].ids.shape == size
    assert exported.roles["instance"].predict([DenseInput(pixels)])[0].size == size
    region = masks(exported, pixels, click(0, 0))[0].region
    assert region.size == size


def test_a_larger_copy_gets_the_same_labels(exported: LoadedModels) -> None:
    pixels = street_scene(480, 360, seed=1)[0]
    double = cv2.resize(pixels, (960, 720), interpolation=cv2.INTER_CUBIC)
    small, large = (
        exported.roles["semantic"].predict([DenseInput(np.asarray(image, dtype=np.uint8))])[0].labels
        for image in (pixels, double)
    )
    assert (large[::2, ::2] == small).mean() > 0.97


@pytest.mark.parametrize("size", [(480, 360), (960, 720), (700, 300)])
def test_instances_are_disjoint_pixels_of_their_class(exported: LoadedModels, size: tuple[int, int]) -> None:
    item = DenseInput(street_scene(*size, seed=0)[0], score_threshold=0.0)
    labels = exported.roles["semantic"].predict([item])[0].labels
    instances: tuple[Instance, ...] = exported.roles["instance"].predict([item])[0].instances
    assert instances
    assert [each.score for each in instances] == sorted((each.score for each in instances), reverse=True)
    count = np.zeros(labels.shape, dtype=int)
    for each in instances:
        mask = each.region.full()
        assert each.label_id in THINGS
        assert (labels[mask] == each.label_id).all()
        assert mask.any()
        count += mask
    assert count.max() == 1
    assert count[np.isin(labels, THINGS)].mean() > 0.8


def test_thresholds_and_limits_of_instances(exported: LoadedModels) -> None:
    pixels = street_scene(480, 360, seed=0)[0]
    model = exported.roles["instance"]
    everything = model.predict([DenseInput(pixels, score_threshold=0.0)])[0].instances
    assert len(everything) > 1
    middle = (everything[0].score + everything[-1].score) / 2
    some = model.predict([DenseInput(pixels, score_threshold=middle)])[0].instances
    assert len(some) == sum(each.score >= middle for each in everything)
    assert len(model.predict([DenseInput(pixels, score_threshold=0.0, max_instances=1)])[0].instances) == 1


@pytest.mark.parametrize("size", [(480, 360), (811, 460)])
def test_panoptic_is_disjoint_and_complete(exported: LoadedModels, size: tuple[int, int]) -> None:
    item = DenseInput(street_scene(*size, seed=0)[0], score_threshold=0.0)
    output: PanopticOutput = exported.roles["panoptic"].predict([item])[0]
    semantic = exported.roles["semantic"].predict([item])[0]
    assert output.ids.dtype == np.uint8
    ids = {segment.id for segment in output.segments}
    assert len(ids) == len(output.segments)
    assert set(np.unique(output.ids).tolist()) - {0} == ids
    assert all(number > 0 for number in ids)
    stuff = [segment.label_id for segment in output.segments if not segment.isthing]
    assert len(set(stuff)) == len(stuff)
    for segment in output.segments:
        assert (semantic.labels[output.ids == segment.id] == segment.label_id).all()
        assert 0 <= segment.score <= 1
        assert segment.isthing == (segment.label_id in THINGS)
    assert np.isin(semantic.labels[output.ids == 0], THINGS).all()


@pytest.mark.parametrize("width", [480, 333])
def test_averaging_over_the_mirror_image_gives_mirrored_answers(exported: LoadedModels, width: int) -> None:
    pixels = street_scene(width, 360, 2)[0]
    both = [DenseInput(pixels, tta=True), DenseInput(np.ascontiguousarray(pixels[:, ::-1]), tta=True)]
    for role in ("semantic", "panoptic"):
        one, other = exported.roles[role].predict(both)
        upright, mirrored = (one.labels, other.labels) if role == "semantic" else (one.ids > 0, other.ids > 0)
        assert np.mean(upright == mirrored[:, ::-1]) > 0.999
    plain = exported.roles["semantic"].predict([DenseInput(pixels)])[0]
    assert not np.array_equal(plain.confidence, exported.roles["semantic"].predict(both[:1])[0].confidence)


def test_a_batch_of_many_sizes_equals_one_by_one(exported: LoadedModels) -> None:
    images = [street_scene(*size, seed=index)[0] for index, size in enumerate([(480, 360), (300, 500), (480, 360)])]
    model = exported.roles["semantic"]
    together = model.predict([DenseInput(image) for image in images])
    for image, output in zip(images, together, strict=True):
        assert np.array_equal(output.labels, model.predict([DenseInput(image)])[0].labels)


def test_a_click_marks_what_it_points_at(exported: LoadedModels) -> None:
    pixels, truth = street_scene(480, 360, seed=0)
    rows, columns = np.nonzero(truth == ROAD)
    x, y = float(np.median(columns)), float(np.percentile(rows, 80))
    found = masks(exported, pixels, click(x, y), multimask=True)
    assert len(found) == 3
    assert [mask.predicted_iou for mask in found] == sorted((m.predicted_iou for m in found), reverse=True)
    assert any(mask.region.full()[int(y), int(x)] for mask in found)
    assert len(masks(exported, pixels, click(x, y))) == 1
    assert np.array_equal(masks(exported, pixels, click(x, y))[0].region.full(), found[0].region.full())


def test_a_box_holds_its_mask(exported: LoadedModels) -> None:
    pixels, truth = street_scene(480, 360, seed=0)
    rows, columns = np.nonzero(truth == CAR)
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    mask = masks(exported, pixels, Prompt(box=box))[0].region.full()
    assert mask.any()
    inside = mask[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])].sum()
    assert inside / mask.sum() > 0.7


def test_a_mask_prompt_must_be_this_models(exported: LoadedModels) -> None:
    pixels = street_scene(480, 360, seed=0)[0]
    logits = masks(exported, pixels, click(240, 300))[0].logits
    assert logits.shape == (90, 120)
    assert masks(exported, pixels, Prompt(mask=logits.astype(np.float32)))
    with pytest.raises(InvalidOption) as caught:
        masks(exported, pixels, Prompt(mask=np.zeros((256, 256), dtype=np.float32)))
    assert (caught.value.details[0].field, caught.value.details[0].limit) == ("mask", "90x120")
    with pytest.raises(InvalidOption):
        masks(exported, pixels, Prompt(text="a car"))


def test_random_weights_need_no_file(card: Card) -> None:
    pytest.importorskip("torch")
    models = load(card.shrunk(), LoadOptions(roles=("semantic", "decoder"), engine="torch", device="cpu"))
    again = load(card.shrunk(), LoadOptions(roles=("semantic",), engine="torch", device="cpu"))
    assert models.weights_sha256 == again.weights_sha256
    assert models.roles["semantic"].predict([DenseInput(street_scene()[0])])[0].labels.shape == (360, 480)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("size", [(360, 480), (1080, 1920), (4000, 3000), (500, 500), (1, 1), (10, 4000), (375, 1242)])
def test_images_lie_in_the_bucket_that_shows_them_largest(card: Card, size: tuple[int, int], dense: bool) -> None:
    buckets = dense_buckets(card) if dense else card.preprocess.buckets
    placement = place(size, buckets)
    assert tuple(placement.canvas) in buckets
    assert tuple(placement.image) == size
    assert placement.valid.height % STRIDE == placement.valid.width % STRIDE == 0
    assert placement.valid.height <= placement.canvas.height
    assert placement.valid.width <= placement.canvas.width
    assert max(
        placement.valid.height / placement.canvas.height, placement.valid.width / placement.canvas.width
    ) == pytest.approx(1, abs=0.01)
    area = max(min(bucket[0] / size[0], bucket[1] / size[1]) for bucket in buckets)
    assert min(placement.canvas.height / size[0], placement.canvas.width / size[1]) == area


def test_letterboxing_pads_with_the_mean_and_touches_nothing_it_need_not(card: Card) -> None:
    pixels = street_scene(480, 360, seed=0)[0]
    assert np.array_equal(letterboxed(pixels, place((360, 480), card.preprocess.buckets), (1, 2, 3)), pixels)
    flat = np.full((100, 300, 3), 7, dtype=np.uint8)
    placement = place((100, 300), card.preprocess.buckets)
    canvas = letterboxed(flat, placement, card.preprocess.mean)
    assert canvas.shape == (*placement.canvas, 3)
    assert (canvas[: placement.valid.height] == 7).all()
    assert (canvas[placement.valid.height :] == (104, 108, 112)).all()
    assert cells(placement.valid) == (placement.valid.height // 4, placement.valid.width // 4)


def test_the_card_says_what_the_network_does(card: Card) -> None:
    pytest.importorskip("torch")
    from shared.models.networks.street import PIXEL_MEAN, PIXEL_SCALE
    from shared.models.networks.street import THINGS as CENTRES

    assert card.preprocess.mean == PIXEL_MEAN
    np.testing.assert_allclose(np.array(card.preprocess.std) / card.preprocess.scale, 1 / np.array(PIXEL_SCALE))
    assert CENTRES == THINGS
    assert card.preprocess.multiple_of == STRIDE
    graphs = [name for name in card.extras.values() if isinstance(name, str)]
    assert len(graphs) == 3
    assert all((BUNDLED / name).is_file() for name in graphs)
