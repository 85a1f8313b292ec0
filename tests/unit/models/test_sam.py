"""The SAM adapter against transformers called directly, on a small random checkpoint written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.catalog.card import Card, HubWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.errors import InvalidOption
from shared.models.files import WeightsError
from shared.protocols import LoadedModels
from shared.types import DecoderInput, Embedding, EncoderInput, Float32Array, Prompt, UInt8Array

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROUNDING = 1e-5
"""Logits nearer to the threshold than this may fall to either side: floats added in another order."""
SIZES = [(90, 140), (140, 60), (128, 128), (300, 201)]


def picture(size: tuple[int, int], seed: int = 0) -> UInt8Array:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    rows = np.arange(size[0]) * 6 // size[0]
    columns = np.arange(size[1]) * 6 // size[1]
    pixels: UInt8Array = coarse[rows][:, columns]
    return pixels


def prompt(points: list[list[float]], labels: list[int], **others: Any) -> Prompt:
    return Prompt(np.array(points, dtype=np.float32).reshape(-1, 2), np.array(labels, dtype=np.int32), **others)


class Direct:
    """The library's own processor and model on an embedding rounded to float16."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.processor = transformers.SamImageProcessor(
            size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}
        )
        self.coordinates = transformers.SamProcessor(self.processor)

    def __call__(
        self, pixels: UInt8Array, embedding: Embedding, prompt: Prompt, multimask: bool
    ) -> tuple[Float32Array, list[float], Any]:
        """Logits at the image's size [k,H,W], predicted IoUs, logits at low resolution [k,h,w]."""
        given: dict[str, Any] = {}
        if len(prompt.points):
            given["input_points"] = [[prompt.points.tolist()]]
            given["input_labels"] = [[prompt.labels.tolist()]]
        if prompt.box is not None:
            given["input_boxes"] = [[list(prompt.box)]]
        inputs = self.coordinates(images=pixels, return_tensors="pt", **given)
        tensor = torch.from_numpy(embedding.tensors[0]).float()[None]
        prompts = {key: inputs[key] for key in given}
        if prompt.mask is not None:
            prompts["input_masks"] = torch.from_numpy(prompt.mask)[None, None]
        with torch.no_grad():
            output = self.model(image_embeddings=tensor, multimask_output=multimask, **prompts)
        masks = self.processor.post_process_masks(
            output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
        )[0][0]
        return masks.numpy(), output.iou_scores[0, 0].tolist(), output.pred_masks[0, 0].numpy()


@pytest.fixture(scope="module")
def card() -> Card:
    return find_card("sam-vit-base").shrunk()


@pytest.fixture(scope="module")
def folder(card: Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    config = transformers.SamConfig(**card.network["config"])
    place = tmp_path_factory.mktemp("sam")
    transformers.SamModel(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def direct(folder: Path) -> Direct:
    return Direct(transformers.SamModel.from_pretrained(folder).eval())


@pytest.fixture(scope="module")
def ours(card: Card, folder: Path) -> LoadedModels:
    there = card.model_copy(update={"weights": HubWeights(repo=str(folder))})
    return load(there, LoadOptions(roles=("encoder", "decoder")))


def embed(ours: LoadedModels, pixels: UInt8Array) -> Embedding:
    embedding: Embedding = ours.roles["encoder"].predict([EncoderInput(pixels)])[0]
    return embedding


def assert_equal(ours: LoadedModels, direct: Direct, pixels: UInt8Array, what: Prompt, multimask: bool) -> None:
    embedding = embed(ours, pixels)
    masks, scores, _ = direct(pixels, embedding, what, multimask)
    found = ours.roles["decoder"].predict([DecoderInput(embedding, what, multimask)])[0].masks
    assert len(found) == len(masks) == (3 if multimask else 1)
    for mask, index in zip(found, np.argsort([-score for score in scores], kind="stable"), strict=True):
        assert mask.predicted_iou == pytest.approx(scores[index], abs=1e-4)
        clear = np.abs(masks[index]) > ROUNDING
        assert np.array_equal(mask.region.full()[clear], masks[index][clear] > 0)
        assert np.count_nonzero(~clear) <= 3 + clear.size // 5000
        assert 0 < mask.region.area < pixels.shape[0] * pixels.shape[1]


@pytest.mark.parametrize("size", SIZES)
def test_embedding_equals_the_library(ours: LoadedModels, direct: Direct, size: tuple[int, int]) -> None:
    pixels = picture(size)
    inputs = direct.coordinates(images=pixels, return_tensors="pt")
    expected = direct.model.get_image_embeddings(inputs["pixel_values"])[0].half().numpy()
    embedding = embed(ours, pixels)
    assert embedding.size == size
    assert expected.std() > 0.1
    np.testing.assert_allclose(embedding.tensors[0], expected, atol=2e-3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("multimask", [True, False])
def test_masks_equal_the_library(ours: LoadedModels, direct: Direct, size: tuple[int, int], multimask: bool) -> None:
    height, width = size
    click = [width * 0.3, height * 0.6]
    box = (width * 0.1, height * 0.2, width * 0.8, height * 0.9)
    for what in (
        prompt([click], [1]),
        prompt([click, [width * 0.9, height * 0.1]], [1, 0]),
        prompt([], [], box=box),
        prompt([click, [width - 1, height - 1]], [1, 0], box=box),
    ):
        assert_equal(ours, direct, picture(size), what, multimask)


def test_logits_go_back_as_a_mask_prompt(ours: LoadedModels, direct: Direct) -> None:
    pixels = picture((90, 140))
    first = ours.roles["decoder"].predict([DecoderInput(embed(ours, pixels), prompt([[50, 50]], [1]), True)])[0]
    logits = first.masks[0].logits.astype(np.float32)
    assert logits.shape == (32, 32)
    assert_equal(ours, direct, pixels, prompt([[50, 50]], [1], mask=logits), False)
    assert_equal(ours, direct, pixels, prompt([], [], mask=logits), True)


def test_logits_are_the_librarys(ours: LoadedModels, direct: Direct) -> None:
    pixels = picture((90, 140))
    what = prompt([[20, 30]], [1])
    embedding = embed(ours, pixels)
    _, scores, logits = direct(pixels, embedding, what, True)
    found = ours.roles["decoder"].predict([DecoderInput(embedding, what, True)])[0].masks
    np.testing.assert_allclose(found[0].logits, logits[int(np.argmax(scores))], atol=2e-3)


def test_mixed_batch_equals_one_by_one(ours: LoadedModels) -> None:
    decoder = ours.roles["decoder"]
    first, second = embed(ours, picture((90, 140))), embed(ours, picture((200, 80), seed=9))
    items = [
        DecoderInput(first, prompt([[10, 20]], [1]), True),
        DecoderInput(second, prompt([[10, 20]], [1]), True),
        DecoderInput(first, prompt([], [], box=(5, 5, 60, 60))),
        DecoderInput(second, prompt([[10, 20], [40, 50]], [1, 0])),
        DecoderInput(first, prompt([[30, 60]], [1]), True),
        DecoderInput(second, prompt([[30, 60]], [1])),
    ]
    together = decoder.predict(items)
    for item, output in zip(items, together, strict=True):
        alone = decoder.predict([item])[0]
        assert [mask.predicted_iou for mask in output.masks] == pytest.approx(
            [mask.predicted_iou for mask in alone.masks], abs=1e-5
        )
        for one, other in zip(output.masks, alone.masks, strict=True):
            assert np.array_equal(one.region.full(), other.region.full())
            assert one.region.size == item.embedding.size


def test_several_images_in_one_encoder_batch(ours: LoadedModels) -> None:
    pixels = [picture(size, seed) for seed, size in enumerate(SIZES)]
    together = ours.roles["encoder"].predict([EncoderInput(each) for each in pixels])
    for each, embedding in zip(pixels, together, strict=True):
        assert embedding.size == each.shape[:2]
        np.testing.assert_allclose(embedding.tensors[0], embed(ours, each).tensors[0], atol=2e-3)


def test_a_decoder_without_its_encoder_gives_the_same(card: Card, folder: Path, ours: LoadedModels) -> None:
    there = card.model_copy(update={"weights": HubWeights(repo=str(folder))})
    decoder = load(there, LoadOptions(roles=("decoder",)))
    assert set(decoder.roles) == {"decoder"}
    assert decoder.encoder_fingerprint == ours.encoder_fingerprint
    decoder.roles["decoder"].warm()
    item = DecoderInput(embed(ours, picture((90, 140))), prompt([[10, 20]], [1]), True)
    one, other = (models.roles["decoder"].predict([item])[0].masks[0] for models in (decoder, ours))
    assert np.array_equal(one.region.full(), other.region.full())


def test_a_mask_of_another_shape_is_refused(ours: LoadedModels) -> None:
    embedding = embed(ours, picture((90, 140)))
    wrong = prompt([[1, 1]], [1], mask=np.zeros((16, 32), dtype=np.float32))
    with pytest.raises(InvalidOption) as caught:
        ours.roles["decoder"].predict([DecoderInput(embedding, wrong)])
    assert (caught.value.details[0].field, caught.value.details[0].limit) == ("mask", "32x32")


def test_text_is_refused(ours: LoadedModels) -> None:
    embedding = embed(ours, picture((90, 140)))
    with pytest.raises(InvalidOption) as caught:
        ours.roles["decoder"].predict([DecoderInput(embedding, Prompt(text="a cat"))])
    assert caught.value.details[0].field == "text"


def test_a_checkpoint_that_lacks_a_tensor_is_refused(card: Card, tmp_path: Path) -> None:
    config = transformers.SamConfig(**{**card.network["config"], "mask_decoder_config": {"hidden_size": 16}})
    transformers.SamModel(config).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(transformers.SamConfig(**card.network["config"]).to_json_string())
    there = card.model_copy(update={"weights": HubWeights(repo=str(tmp_path))})
    with pytest.raises(WeightsError, match="sam-vit-base"):
        load(there, LoadOptions(roles=("encoder",)))
