"""The bundled files: graphs and torch weights are one network, in every bucket, and small enough to be in the
project.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import torch

from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions
from shared.imaging.sample import street_scene
from shared.models.adapters.street_exported import quantised
from shared.models.device import EngineError
from shared.models.files import BUNDLED, digest
from shared.models.networks.street_graph import DENSE_OUTPUTS, DecoderGraph, DenseGraph
from shared.models.networks.street_weights import Street, load_street
from shared.models.postprocess.street_prompts import render_prompts


@pytest.fixture(scope="module")
def street() -> Street:
    return load_street(BUNDLED / "street.safetensors")


def compiled(name: str, shapes: dict[str, list[int]]) -> ov.CompiledModel:
    core = ov.Core()
    model = core.read_model(BUNDLED / f"{name}.xml")
    model.reshape(shapes)
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2})


@pytest.mark.parametrize(("height", "width"), [(360, 480), (480, 272)])
def test_the_dense_graph_computes_what_torch_computes(street: Street, height: int, width: int) -> None:
    image = street_scene(width, height, 3)[0][None]
    graph = compiled("street", {"image": [1, height, width, 3]})
    result = graph(np.ascontiguousarray(image))
    with torch.no_grad():
        expected = dict(zip(DENSE_OUTPUTS, DenseGraph(street.dense)(torch.from_numpy(image.copy())), strict=True))
    assert (result["labels"] == expected["labels"].numpy()).mean() >= 0.9999
    for name, tolerance in {"confidence": 2e-3, "logits": 1e-3, "centres": 1e-3, "offsets": 1e-2}.items():
        difference = np.abs(result[name].astype(np.float32) - expected[name].float().numpy()).max()
        assert difference <= tolerance, name
    assert result["embedding"].dtype == np.float16


def test_the_decoder_graph_computes_what_torch_computes(street: Street) -> None:
    image = street_scene(480, 360, 1)[0][None]
    with torch.no_grad():
        embedding = DenseGraph(street.dense)(torch.from_numpy(image.copy()))[DENSE_OUTPUTS.index("embedding")]
    click = render_prompts(np.array([[240, 300]], np.float32), np.array([1], np.int32), None, None, 90, 120, 1.0)
    box = render_prompts(np.zeros((0, 2), np.float32), np.zeros(0, np.int32), (10, 20, 200, 300), None, 90, 120, 1.0)
    prompts = np.stack([click, box])
    graph = compiled("street_decoder", {"embedding": list(embedding.shape), "prompts": list(prompts.shape)})
    result = graph({"embedding": embedding.numpy(), "prompts": prompts})
    with torch.no_grad():
        masks, iou = DecoderGraph(street.decoder)(embedding, torch.from_numpy(prompts))
    assert np.abs(result["masks"] - masks.numpy()).max() <= 5e-3
    assert np.abs(result["iou"] - iou.numpy()).max() <= 1e-3


def test_all_bundled_files_together_are_under_thirty_megabytes() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 30_000_000


def test_the_quantised_graph_says_nearly_the_same() -> None:
    image = street_scene(480, 360, 3)[0][None]
    labels = []
    for name in ("street", "street_int8"):
        result = compiled(name, {"image": [1, 360, 480, 3]})(np.ascontiguousarray(image))
        assert result["embedding"].shape == (1, 80, 90, 120)
        labels.append(result["logits"].argmax(1))
    assert np.mean(labels[0] == labels[1]) > 0.95


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_a_drawn_street_that_training_never_saw_is_told_right(seed: int) -> None:
    image, labels = street_scene(480, 360, seed)
    logits = compiled("street_int8", {"image": [1, 360, 480, 3]})(np.ascontiguousarray(image[None]))["logits"]
    found = logits[0].argmax(0).repeat(2, 0).repeat(2, 1)
    assert np.mean(found == labels) > 0.9


def test_int8_is_refused_once_the_weights_have_changed() -> None:
    card, options = find_card("street"), LoadOptions(("semantic",), "openvino", "int8")
    weights = digest(BUNDLED / "street.safetensors")
    assert quantised(card, options, weights).name == "street_int8.xml"
    with pytest.raises(EngineError, match=r"quantised from other weights: `python -m shared\."):
        quantised(card, options, "0" * 64)
    with pytest.raises(EngineError, match="names none"):
        quantised(card.model_copy(update={"extras": {}}), options, weights)
