"""Phrases on images against transformers called directly, on small random checkpoints with a small tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.catalog.card import Card, HubWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.errors import InvalidOption
from shared.models.adapters import phrases
from shared.models.engines import choice
from shared.models.files import WeightsError
from shared.protocols import LoadedModels
from shared.types import DecoderInput, Embedding, EncoderInput, Float32Array, Prompt, PromptMask, UInt8Array
from tests.contract.tiny import draw, write_tokenizer
from tests.unit.models.test_sam import picture, prompt

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NAMES = ("sam3", "clipseg-rd64-refined")
SIZE = (90, 140)
TEXTS = ("a car", "Trees  by the road", "a car")
Box = tuple[float, float, float, float]
BOX: Box = (14.0, 18.0, 112.0, 81.0)


class Written:
    """A card's tiny network as the library writes it, with a tokenizer, and ours loaded from there."""

    def __init__(self, name: str, folder: Path) -> None:
        self.card: Card = find_card(name).shrunk()
        made = getattr(transformers, self.card.network["class"])
        self.model: Any = made(made.config_class(**self.card.network["config"])).eval()
        with torch.no_grad():
            draw(self.model)
        self.model.save_pretrained(folder)
        write_tokenizer(folder)
        self.tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
        self.there = self.card.model_copy(update={"weights": HubWeights(repo=str(folder))})
        self.ours = self.loaded()

    def loaded(self) -> LoadedModels:
        return load(self.there, LoadOptions(roles=("encoder", "decoder"), device="cpu"))

    def embed(self, pixels: UInt8Array) -> Embedding:
        embedding: Embedding = self.ours.roles["encoder"].predict([EncoderInput(pixels)])[0]
        return embedding

    def decode(self, *items: DecoderInput) -> list[tuple[PromptMask, ...]]:
        return [output.masks for output in self.ours.roles["decoder"].predict(items)]

    def pixel_values(self, pixels: UInt8Array) -> Any:
        side = self.card.preprocess.size[0]  # type: ignore[index]  # both cards give a pair
        size = {"height": side, "width": side}
        made = transformers.Sam3ImageProcessor if self.card.name == "sam3" else transformers.ViTImageProcessor
        means = {"image_mean": self.card.preprocess.mean, "image_std": self.card.preprocess.std}
        return made(size=size, **means)(images=pixels, return_tensors="pt")["pixel_values"]


def counted_runs(engine: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How many items each later run of this engine takes, by the length of one input."""
    runs: list[int] = []
    run = engine.run

    def counting(inputs: Any) -> Any:
        runs.append(len(inputs[name]))
        return run(inputs)

    monkeypatch.setattr(engine, "run", counting)
    return runs


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written("sam3", tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written("clipseg-rd64-refined", tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(params=["sam3", "clipseg"])
def written(request: pytest.FixtureRequest) -> Written:
    found: Written = request.getfixturevalue(request.param)
    return found


def direct_sam3(written: Written, embedding: Embedding, text: str | None, box: Box | None) -> Any:
    """The library's output for one prompt, on the same embedding, by its own processor's tokens and boxes."""
    processor = transformers.Sam3Processor(transformers.Sam3ImageProcessor(), written.tokenizer)
    given: dict[str, Any] = {} if box is None else {"input_boxes": [[list(box)]], "input_boxes_labels": [[1]]}
    inputs = processor(text=text, original_sizes=[list(embedding.size)], return_tensors="pt", **given)
    levels = [torch.from_numpy(tensor).float()[None] for tensor in embedding.tensors]
    encoding = written.model.vision_encoder.neck.position_encoding
    positions = [encoding(level.shape, level.device, level.dtype) for level in levels]
    seen = transformers.models.sam3.modeling_sam3.Sam3VisionEncoderOutput(
        fpn_hidden_states=(*levels, levels[-1]), fpn_position_encoding=(*positions, positions[-1])
    )
    names = ("input_ids", "attention_mask", "input_boxes", "input_boxes_labels")
    with torch.no_grad():
        return written.model(vision_embeds=seen, **{name: inputs[name] for name in names if name in inputs})


def assert_masks(found: tuple[PromptMask, ...], logits: Any, scores: Float32Array, size: tuple[int, int]) -> None:
    """Ours against k masks' logits [k,h,w] and scores [k], best first, resized as logits and thresholded after."""
    full = torch.nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0].numpy()
    expected = [i for i in np.argsort(-scores, kind="stable") if (full[i] > 0).any()]
    assert len(found) == len(expected) > 0
    for mask, index in zip(found, expected, strict=True):
        assert mask.score == mask.predicted_iou == pytest.approx(scores[index], abs=1e-5)
        np.testing.assert_allclose(mask.logits, logits[index].numpy(), atol=1e-3, rtol=2e-3)
        ours, theirs = mask.region.full(), full[index] > 0
        assert np.count_nonzero(ours != theirs) <= 2, "mask IoU 1 but for pixels that lie on the threshold"


@pytest.mark.parametrize(("text", "box"), [("a car", None), (None, BOX), ("a car", BOX)])
def test_sam3_equals_the_library(
    sam3: Written, text: str | None, box: tuple[float, float, float, float] | None
) -> None:
    embedding = sam3.embed(picture(SIZE))
    output = direct_sam3(sam3, embedding, text, box)
    scores = (output.pred_logits.sigmoid() * output.presence_logits.sigmoid())[0].numpy()
    (found,) = sam3.decode(DecoderInput(embedding, Prompt(text=text, box=box)))
    assert_masks(found, output.pred_masks[0], scores, SIZE)


def test_sam3_keeps_what_the_image_side_gives(sam3: Written) -> None:
    pixels = picture(SIZE)
    with torch.no_grad():
        expected = sam3.model.get_vision_features(sam3.pixel_values(pixels)).fpn_hidden_states[:3]
    for tensor, each in zip(sam3.embed(pixels).tensors, expected, strict=True):
        assert tensor.shape == each.shape[1:]
        np.testing.assert_allclose(tensor, each[0].numpy(), atol=1e-2 * float(each.std()), rtol=1e-2)


def test_sam3_masks_end_at_the_score_asked_for(sam3: Written) -> None:
    embedding = sam3.embed(picture(SIZE))
    (everything,) = sam3.decode(DecoderInput(embedding, Prompt(text="a car")))
    scores = [mask.score or 0 for mask in everything]
    between = (scores[0] + scores[-1]) / 2
    assert scores[0] > between > scores[-1], "the tiny network must be surer of some queries than of others"
    (sure,) = sam3.decode(DecoderInput(embedding, Prompt(text="a car"), lowest_iou=between))
    assert [mask.score for mask in sure] == [score for score in scores if score > between]


def test_clipseg_equals_the_library(clipseg: Written) -> None:
    pixels = picture(SIZE)
    embedding = clipseg.embed(pixels)
    found = clipseg.decode(*(DecoderInput(embedding, Prompt(text=text)) for text in TEXTS))
    inputs = clipseg.tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    values = clipseg.pixel_values(pixels).repeat(len(TEXTS), 1, 1, 1)
    with torch.no_grad():
        whole = clipseg.model(pixel_values=values, **inputs)
        rounded = [torch.from_numpy(tensor).float()[None] for tensor in embedding.tensors]
        condition = whole.conditional_embeddings
        logits = [clipseg.model.decoder(tuple(rounded), each[None]).logits[0] for each in condition]
    for masks, low, exact in zip(found, logits, whole.logits, strict=True):
        inside = low > 0
        assert_masks(masks, low[None], low[inside].sigmoid().mean().numpy()[None], SIZE)
        np.testing.assert_allclose(low.numpy(), exact.numpy(), atol=5e-2 * float(exact.std()))
    assert not np.array_equal(found[0][0].logits, found[1][0].logits), "phrases must matter"
    assert np.array_equal(found[0][0].logits, found[2][0].logits)


def test_phrases_on_several_images_share_a_batch(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "CPU_BATCH", 8)
    batched: Any = written.loaded().roles["decoder"]
    runs = counted_runs(batched._engine(False), monkeypatch, "owner")
    first, second = written.embed(picture(SIZE)), written.embed(picture((200, 80), seed=9))
    items = [DecoderInput(embedding, Prompt(text=text)) for embedding in (first, second) for text in TEXTS]
    together = [output.masks for output in batched.predict(items)]
    assert runs == [len(items)]
    for item, masks in zip(items, together, strict=True):
        (alone,) = written.decode(item)
        assert [mask.score for mask in masks] == pytest.approx([mask.score for mask in alone], abs=1e-4)
        for one, other in zip(masks, alone, strict=True):
            assert one.region.size == item.embedding.size
            assert np.mean(one.region.full() == other.region.full()) > 0.999


def test_a_phrase_is_encoded_once(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrases, "KEPT", 1)
    decoder: Any = written.loaded().roles["decoder"]
    reads = counted_runs(decoder._phrases._engine, monkeypatch, "input_ids")
    embedding = written.embed(picture(SIZE))
    for text, expected in (("a car", 1), ("a car", 1), ("a tree", 2), ("a car", 3)):
        decoder.predict([DecoderInput(embedding, Prompt(text=text))])
        assert len(reads) == expected


def test_prompts_of_another_kind_are_refused_by_name(written: Written) -> None:
    embedding = written.embed(picture(SIZE))
    refused = {"points": prompt([[1, 1]], [1]), "mask": Prompt(mask=np.zeros((4, 4), dtype=np.float32), text="a car")}
    if written.card.name != "sam3":
        refused["box"] = Prompt(box=BOX)
    refused["text"] = Prompt(text="x" * 200)
    for field, what in refused.items():
        with pytest.raises(InvalidOption) as caught:
            written.decode(DecoderInput(embedding, what))
        assert caught.value.details[0].field == field


def test_a_decoder_without_its_encoder_gives_the_same(written: Written) -> None:
    alone = load(written.there, LoadOptions(roles=("decoder",), device="cpu"))
    assert alone.encoder_fingerprint == written.ours.encoder_fingerprint
    alone.roles["decoder"].warm()
    item = DecoderInput(written.embed(picture(SIZE)), Prompt(text="a car"))
    (ours,) = written.decode(item)
    for one, other in zip(ours, alone.roles["decoder"].predict([item])[0].masks, strict=True):
        assert np.array_equal(one.logits, other.logits)


def test_weights_without_a_tokenizer_are_refused(written: Written, tmp_path: Path) -> None:
    written.model.save_pretrained(tmp_path)
    there = written.card.model_copy(update={"weights": HubWeights(repo=str(tmp_path))})
    with pytest.raises(WeightsError, match="tokenizer"):
        load(there, LoadOptions(roles=("decoder",), device="cpu"))
    with pytest.raises(WeightsError, match="tokenizer"):
        load(written.card, LoadOptions(roles=("decoder",), device="cpu"))
