"""What an embedding's key depends on: all that makes the embedding, and nothing that only reads it."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from shared.calls import Caller, PromptCall
from shared.catalog.card import Card, FileWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.models.files import BUNDLED
from shared.protocols import PromptableService
from shared.serving.args import ServiceArgs
from shared.serving.whole import assemble_whole
from shared.settings import Settings
from shared.store.keys import image_id
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from shared.types import EncoderInput
from tests.contract.tiny import tiny
from tests.unit.models.test_sam import picture, prompt
from tests.unit.promptable.intensity import png

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

FAMILIES = {
    "sam-vit-base": "vision_encoder.layers.0.attn.qkv.weight",
    "sam-hq-vit-base": "vision_encoder.layers.0.attn.qkv.weight",
    "mobile-sam": "vision_encoder.backbone.patch_embed.conv1.conv.weight",
    "sam2.1-hiera-tiny": "mask_decoder.conv_s0.weight",
    "edgetam": "no_memory_embedding",
    "sam3-tracker": "mask_decoder.conv_s1.bias",
    "sam3": "vision_encoder.backbone.layers.0.attention.q_proj.weight",
    "clipseg-rd64-refined": "clip.vision_model.encoder.layers.0.self_attn.q_proj.weight",
}
"""A card of each family, and a tensor of its encoder."""


def fingerprint(card: Card, role: Any = "encoder") -> str:
    return load(card, LoadOptions(roles=(role,), engine="torch", device="cpu")).encoder_fingerprint


def changed(card: Card, folder: Path, *beginnings: str, keep: tuple[str, ...] = ()) -> Card:
    """The card with other values in all tensors of its file whose names begin so and not as in `keep`."""
    assert isinstance(card.weights, FileWeights)
    tensors = safetensors.load_file(card.weights.path)
    touched = {
        name: tensor * 1.5 + 0.25
        for name, tensor in tensors.items()
        if name.startswith(beginnings) and not (keep and name.startswith(keep)) and tensor.is_floating_point()
    }
    assert touched
    path = folder / f"{len(list(folder.iterdir()))}.safetensors"
    safetensors.save_file(tensors | touched, path)
    return card.model_copy(update={"weights": FileWeights(path=str(path))})


def embedding(card: Card) -> list[np.ndarray[Any, Any]]:
    models = load(card, LoadOptions(roles=("encoder",), engine="torch", device="cpu"))
    found = models.roles["encoder"].predict([EncoderInput(picture((90, 140)))])[0]
    return [tensor.astype(np.float32) for tensor in found.tensors]


@pytest.mark.parametrize("name", FAMILIES)
def test_all_that_makes_the_embedding_counts_and_the_decoder_does_not(name: str, tmp_path: Path) -> None:
    from shared.models.adapters import sam_families, text_families

    card = tiny(find_card(name))
    families = {**sam_families.FAMILIES, **text_families.FAMILIES}
    parts = families[card.network["class"]].encoder
    # Every tensor that is said to be no part of the encoder may have any value.
    other_decoder = changed(card, tmp_path, "", keep=parts)
    for one, other in zip(embedding(card), embedding(other_decoder), strict=True):
        assert one.std() > 0
        assert np.array_equal(one, other)
    assert fingerprint(other_decoder) == fingerprint(card)
    other_encoder = changed(card, tmp_path, FAMILIES[name])
    assert any(not np.array_equal(*pair) for pair in zip(embedding(card), embedding(other_encoder), strict=True))
    assert fingerprint(other_encoder) != fingerprint(card)
    if name not in ("sam3", "clipseg-rd64-refined"):
        assert fingerprint(card, "decoder") == fingerprint(card), "it knows its encoder without having it"


def configured(card: Card, part: str, **settings: Any) -> Card:
    """The card with other settings of a part of its network."""
    config = card.network["config"]
    network = {**card.network, "config": {**config, part: {**config[part], **settings}}}
    return card.model_copy(update={"network": network})


def test_a_setting_of_the_encoder_that_is_no_weight_counts() -> None:
    card = tiny(find_card("sam-vit-base"))
    assert fingerprint(configured(card, "vision_config", hidden_act="relu")) != fingerprint(card)
    assert fingerprint(configured(card, "mask_decoder_config", layer_norm_eps=1e-3)) == fingerprint(card)


@pytest.mark.parametrize(
    ("change", "counts"), [({"mean": (0.5, 0.5, 0.5)}, True), ({"dense_buckets": ((64, 64),)}, False)]
)
def test_preprocessing_counts_that_the_encoder_sees(change: dict[str, object], counts: bool) -> None:
    card = tiny(find_card("sam-vit-base"))
    other = card.model_copy(update={"preprocess": card.preprocess.model_copy(update=change)})
    assert (fingerprint(other) != fingerprint(card)) is counts


def test_one_encoder_under_sam_and_under_hq_is_kept_apart(tmp_path: Path) -> None:
    """HQ keeps early features beside the embedding, so neither can read the other's."""
    plain, high = tiny(find_card("sam-vit-base")), tiny(find_card("sam-hq-vit-base"))
    assert isinstance(plain.weights, FileWeights)
    assert isinstance(high.weights, FileWeights)
    encoder = {
        name: tensor
        for name, tensor in safetensors.load_file(plain.weights.path).items()
        if name.startswith("vision_encoder.")
    }
    path = tmp_path / "hq.safetensors"
    safetensors.save_file(safetensors.load_file(high.weights.path) | encoder, path)
    same = high.model_copy(update={"weights": FileWeights(path=str(path))})
    assert np.array_equal(embedding(same)[0], embedding(plain)[0])
    assert fingerprint(same) != fingerprint(plain)


def card_file(card: Card, name: str, folder: Path) -> None:
    data = card.model_copy(update={"name": name}).model_dump(mode="json")
    (folder / f"{name}.yaml").write_text(json.dumps(data), encoding="utf-8")


async def test_two_checkpoints_with_one_encoder_share_an_entry(tmp_path: Path) -> None:
    card, folder, weights = tiny(find_card("sam-vit-base")), tmp_path / "cards", tmp_path / "weights"
    folder.mkdir()
    weights.mkdir()
    card_file(card, "one", folder)
    card_file(changed(card, weights, "mask_decoder.", "prompt_encoder.mask_embed."), "twin", folder)
    card_file(changed(card, weights, "vision_encoder.neck."), "other", folder)
    settings, sink = Settings(card_dirs=(folder,)), RecordingSink()
    stores = open_stores(settings, sink)
    models = {name: assemble_whole(_args(name), settings, sink, stores) for name in ("one", "twin", "other")}
    answers = {name: await _clicked(model.promptable) for name, model in models.items()}
    assert {name: answer["embedding"] for name, answer in answers.items()} == {
        "one": "computed",
        "twin": "memory",
        "other": "computed",
    }
    runs = {name: sink.total("segserve_encoder_runs_total", model=name) for name in models}
    assert runs == {"one": 1, "twin": 0, "other": 1}
    assert answers["twin"]["results"] != answers["one"]["results"], "its decoder is another"


def _args(name: str) -> ServiceArgs:
    return ServiceArgs(model=name, tasks=("promptable",), engine="torch", device="cpu")


async def _clicked(model: PromptableService | None) -> dict[str, Any]:
    assert model is not None
    image = png(picture((90, 140)))
    caller = Caller("tenant", "request", time.time() + 60)
    answer = await model.segment(PromptCall(image_id(image), (prompt([[50, 50]], [1]),), caller, image))
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


def test_street_is_told_by_its_dense_half(tmp_path: Path) -> None:
    card = find_card("street")
    for path in BUNDLED.iterdir():
        shutil.copy(path, tmp_path)

    def now(engine: str) -> str:
        options = LoadOptions(roles=("decoder",), engine=engine, device="cpu", weights_dir=tmp_path)
        return load(card, options).encoder_fingerprint

    before = {engine: now(engine) for engine in ("openvino", "torch")}
    assert before["openvino"] != before["torch"]
    tensors = safetensors.load_file(tmp_path / "street.safetensors")
    last = max(name for name in tensors if name.startswith("decoder."))
    safetensors.save_file(tensors | {last: tensors[last] + 1}, tmp_path / "street.safetensors")
    assert {engine: now(engine) for engine in before} == before
    first = min(name for name in tensors if name.startswith("dense."))
    safetensors.save_file(tensors | {first: tensors[first] + 1}, tmp_path / "street.safetensors")
    graph = tmp_path / "street.bin"
    data = bytearray(graph.read_bytes())
    data[0] ^= 1
    os.unlink(graph)
    graph.write_bytes(data)
    assert now("torch") != before["torch"]
    assert now("openvino") != before["openvino"]
