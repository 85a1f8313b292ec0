"""The other families of Segment Anything against transformers called directly, on small random checkpoints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.catalog.card import Card, HubWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.models.adapters import sam_prompts
from shared.models.engines import choice
from shared.models.engines.engine import Arrays
from shared.models.engines.torch_eager import TorchEngine
from shared.models.geometry import place
from shared.protocols import LoadedModels
from shared.types import DecoderInput, Embedding, EncoderInput, Float32Array, Prompt, PromptMask, Role, UInt8Array
from tests.contract.tiny import draw, tiny
from tests.unit.models.test_sam import ROUNDING, picture, prompt

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZE = (90, 140)


def written(card: Card, folder: Path) -> Any:
    """A random checkpoint of the card's tiny network, in `folder`, and the network."""
    made = getattr(transformers, card.network["class"])
    model = made(made.config_class(**card.network["config"])).eval()
    with torch.no_grad():
        draw(model)
    model.save_pretrained(folder)
    return model


def loaded(card: Card, folder: Path) -> LoadedModels:
    there = card.model_copy(update={"weights": HubWeights(repo=str(folder))})
    return load(there, LoadOptions(roles=("encoder", "decoder"), device="cpu"))


def prompts(size: tuple[int, int], logits: Float32Array) -> list[tuple[Prompt, bool]]:
    """Every make-up of prompt, with and without several candidates."""
    height, width = size
    click = [width * 0.3, height * 0.6]
    box = (width * 0.1, height * 0.2, width * 0.8, height * 0.9)
    return [
        (prompt([click], [1]), True),
        (prompt([click], [1]), False),
        (prompt([click, [width * 0.9, height * 0.1]], [1, 0]), False),
        (prompt([], [], box=box), False),
        (prompt([click], [1], box=box), True),
        (prompt([click], [1], mask=logits), False),
        (prompt([], [], mask=logits), True),
    ]


def assert_equal(found: tuple[PromptMask, ...], logits: Float32Array, scores: Float32Array) -> None:
    """Ours against logits at the image's size [k,H,W] and predicted IoUs [k]."""
    assert len(found) == len(scores)
    for mask, index in zip(found, np.argsort(-scores, kind="stable"), strict=True):
        assert mask.predicted_iou == pytest.approx(scores[index], abs=1e-4)
        different = mask.region.full() != (logits[index] > 0)
        assert np.count_nonzero(different) <= 3
        assert np.abs(logits[index][different]).max(initial=0) < ROUNDING * max(1, np.median(np.abs(logits[index])))


@pytest.mark.parametrize("name", ["sam2.1-hiera-tiny", "edgetam", "sam3-tracker"])
def test_sam2_equals_the_library(name: str, tmp_path: Path) -> None:
    card = find_card(name).shrunk()
    model = written(card, tmp_path)
    ours = loaded(card, tmp_path)
    side = place(card.preprocess, 1, 1).canvas.height
    made = transformers.Sam3ImageProcessor if name == "sam3-tracker" else transformers.Sam2ImageProcessor
    processor = made(size={"height": side, "width": side})
    pixels: UInt8Array = picture(SIZE)
    embedding: Embedding = ours.roles["encoder"].predict([EncoderInput(pixels)])[0]
    with torch.no_grad():
        expected = model.get_image_embeddings(processor(images=pixels, return_tensors="pt")["pixel_values"])
        if name == "sam3-tracker":  # which of the library adds it to a level that it then leaves out
            expected[-1] = expected[-1] + model.no_memory_embedding.view(1, -1, 1, 1)
    assert [tensor.shape for tensor in embedding.tensors] == [each.shape[1:] for each in expected]
    for tensor, each in zip(embedding.tensors, expected, strict=True):
        np.testing.assert_allclose(tensor, each[0].numpy(), atol=1e-2 * float(each.std()), rtol=1e-2)
    tensors = [torch.from_numpy(tensor).float()[None] for tensor in embedding.tensors]
    logits = np.random.default_rng(0).normal(0, 3, (32, 32)).astype(np.float32)
    coordinates = transformers.Sam2Processor(processor, target_size=side)
    for what, multimask in prompts(SIZE, logits):
        given: dict[str, Any] = {}
        if len(what.points):
            given |= {"input_points": [[what.points.tolist()]], "input_labels": [[what.labels.tolist()]]}
        if what.box is not None:
            given["input_boxes"] = [[list(what.box)]]
        inputs = coordinates(images=pixels, return_tensors="pt", **given) if given else {}
        asked = {key: inputs[key] for key in given}
        if what.mask is not None:
            asked["input_masks"] = torch.from_numpy(what.mask)[None, None]
        with torch.no_grad():
            output = model(image_embeddings=[tensor.clone() for tensor in tensors], multimask_output=multimask, **asked)
        full = processor.post_process_masks(output.pred_masks, [SIZE], binarize=False)[0][0]
        found = ours.roles["decoder"].predict([DecoderInput(embedding, what, multimask)])[0].masks
        assert_equal(found, full.numpy(), output.iou_scores[0, 0].numpy())


@pytest.mark.parametrize("name", ["sam-vit-base", "sam-hq-vit-base", "sam2.1-hiera-tiny", "sam3-tracker"])
def test_prompts_of_several_callers_and_images_share_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tiny(find_card(name))
    options = LoadOptions(roles=("encoder", "decoder"), engine="torch", device="cpu")
    alone = load(card, options).roles
    monkeypatch.setattr(choice, "CPU_BATCH", 64)
    decoder = load(card, options).roles["decoder"]
    sizes = (SIZE, (200, 80), (64, 64))
    images = [EncoderInput(picture(size, seed)) for seed, size in enumerate(sizes)]
    logits = np.random.default_rng(0).normal(0, 3, (32, 32)).astype(np.float32)
    items = [
        DecoderInput(embedding, what, multimask)
        for embedding, size in zip(alone["encoder"].predict(images), sizes, strict=True)
        for what, multimask in prompts(size, logits)
    ]
    items.append(DecoderInput(items[0].embedding, prompt([[5, 5], [50, 60]], [1, 1])))
    runs: list[int] = []
    run = TorchEngine.run_tensors

    def counting(engine: TorchEngine, inputs: Arrays) -> Any:
        runs.append(len(inputs["owner"]))
        return run(engine, inputs)

    monkeypatch.setattr(TorchEngine, "run_tensors", counting)
    together = decoder.predict(items)
    assert sorted(runs) == [3, 3, 3, 3, 3, 3, 4], "a run for each kind of prompt and number of points, whoever asks"
    for item, output in zip(items, together, strict=True):
        (single,) = alone["decoder"].predict([item])
        assert [mask.predicted_iou for mask in output.masks] == sorted(
            (mask.predicted_iou for mask in output.masks), reverse=True
        )
        for one, other in zip(output.masks, single.masks, strict=True):
            assert one.predicted_iou == pytest.approx(other.predicted_iou, abs=1e-4)
            assert one.region.size == item.embedding.size
            assert np.mean(one.region.full() == other.region.full()) > 0.9995


@pytest.mark.parametrize("name", ["sam-vit-base", "sam2.1-hiera-tiny", "mobile-sam"])
def test_openvino_agrees_and_other_shapes_run_eagerly(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam_prompts, "CLICKS", 1)
    card, counted = tiny(find_card(name)), list[int]()
    unforeseen = partial(counted.append, 1)
    roles: tuple[Role, ...] = ("encoder", "decoder")
    eager = load(card, LoadOptions(roles, engine="torch", device="cpu")).roles
    compiled = load(
        card, LoadOptions(roles, engine="openvino", cache_dir=tmp_path, on_unforeseen_shape=unforeseen)
    ).roles
    for model in compiled.values():
        model.warm()
    item = EncoderInput(picture(SIZE))
    embedding, other = (models["encoder"].predict([item])[0] for models in (eager, compiled))
    for tensor, theirs in zip(embedding.tensors, other.tensors, strict=True):
        np.testing.assert_allclose(tensor, theirs, atol=5e-3 * float(tensor.astype(np.float32).std()), rtol=5e-3)
    logits = np.random.default_rng(0).normal(0, 3, (32, 32)).astype(np.float32)
    known = 0
    for what, multimask in prompts(SIZE, logits):
        before = len(counted)
        pair = [
            models["decoder"].predict([DecoderInput(embedding, what, multimask)])[0].masks
            for models in (eager, compiled)
        ]
        known += len(counted) == before
        for mask, theirs in zip(*pair, strict=True):
            assert mask.predicted_iou == pytest.approx(theirs.predicted_iou, abs=1e-3)
            assert np.mean(mask.region.full() == theirs.region.full()) > 0.999
    assert known == 4, "one click twice, a box, one click with an earlier mask"
    assert len(counted) == 3


class Mended(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch may be absent here
    """The transformer of an HQ decoder, whose result also replaces what it was given: there the library's decoder looks
    for it, with the axes swapped."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, image_embeddings: Any, **others: Any) -> Any:
        answers, features = self.transformer(image_embeddings=image_embeddings, **others)
        grid = features[:, 0].transpose(1, 2).unflatten(2, image_embeddings.shape[2:])
        image_embeddings.copy_(grid.transpose(2, 3))
        return answers, features


def test_hq_equals_the_library_once_that_uses_its_transformer(tmp_path: Path) -> None:
    card = find_card("sam-hq-vit-base").shrunk()
    model = written(card, tmp_path)
    ours = loaded(card, tmp_path)
    pixels: UInt8Array = picture(SIZE)
    embedding: Embedding = ours.roles["encoder"].predict([EncoderInput(pixels)])[0]
    image, early = (torch.from_numpy(tensor).float()[None] for tensor in embedding.tensors)
    assert [tensor.shape for tensor in embedding.tensors] == [(32, 8, 8), (8, 8, 32)]
    logits = np.random.default_rng(0).normal(0, 3, (32, 32)).astype(np.float32)
    scale = np.array([1, int(SIZE[0] * 128 / SIZE[1] + 0.5) * SIZE[1] / (128 * SIZE[0])]) * 128 / SIZE[1]
    wrong = right = 0.0
    for what, multimask in prompts(SIZE, logits):
        asked: dict[str, Any] = {}
        if len(what.points):
            asked["input_points"] = torch.from_numpy(what.points * scale).float()[None, None]
            asked["input_labels"] = torch.from_numpy(what.labels).long()[None, None]
        if what.box is not None:
            asked["input_boxes"] = torch.from_numpy(np.array(what.box) * np.tile(scale, 2)).float()[None, None]
        if what.mask is not None:
            asked["input_masks"] = torch.from_numpy(what.mask)[None, None]
        found = ours.roles["decoder"].predict([DecoderInput(embedding, what, multimask)])[0].masks
        mine = np.stack([mask.logits.astype(np.float32) for mask in found])
        for mended in (False, True):
            decoder = model.mask_decoder
            own = decoder.transformer
            decoder.transformer = Mended(own) if mended else own
            with torch.no_grad():
                output = model(
                    image_embeddings=image, intermediate_embeddings=[early], multimask_output=multimask, **asked
                )
            decoder.transformer = own
            theirs = output.pred_masks[0, 0].numpy()
            assert [mask.predicted_iou for mask in found] == pytest.approx(output.iou_scores[0, 0].tolist(), abs=1e-4)
            difference = float(np.abs(mine - theirs).max() / theirs.std())
            if mended:
                right = max(right, difference)
            else:
                wrong = max(wrong, difference)
    assert right < 5e-3
    assert wrong > 0.5, "transformers has mended its decoder: use that instead of ours"
