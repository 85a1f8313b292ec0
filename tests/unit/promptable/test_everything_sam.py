"""Everything mode of SAM and SAM 2 against the reference algorithm on transformers' own model, where many masks stay.

The checkpoints are random, but lively: what they make of a click depends on where it is, and covers parts of the image.
"""

from __future__ import annotations

import dataclasses
import json
import time
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest

from load_tests.promptable.everything import best_ious
from shared.calls import Answer, Caller, EverythingCall, EverythingOptions
from shared.catalog.card import HubWeights
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.imaging.rle import encode
from shared.models.geometry import place
from shared.protocols import Model, PromptableService
from shared.serving.args import ServiceArgs
from shared.serving.whole import assemble_whole
from shared.settings import Settings
from shared.store.keys import image_id
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from shared.types import Embedding, EncoderInput, Float32Array, Region, UInt8Array
from tests.unit.promptable.blobs import scene
from tests.unit.promptable.intensity import png
from tests.unit.promptable.reference import generate

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SEED = 2
LIKELIEST = 0.98
"""Box suppression: high, for boxes of random masks overlap more than those of things."""
SIZES = {(300, 600): 12, (1024, 1024): 12, (2000, 3000): 8}
"""(height, width) of an image, and clicks a side."""
PEAK_MIB = 100
"""Of numpy's and Python's memory on the largest image, which itself has 17 MiB of pixels."""


@dataclass(frozen=True)
class Checkpoint:
    """A network of transformers, its processor, and the same in the service."""

    model: Any
    processor: Any
    coordinates: Any
    encoder: Model[EncoderInput, Embedding]
    service: PromptableService

    def answers(self) -> Any:
        """The library's logits at the size of an image or a crop of it [3,h,w] and predicted IoUs [3] of a click, on
        the tensors that the service's encoder makes of it (`test_sam.py` compares those)."""
        seen: dict[int, tuple[UInt8Array, list[Any]]] = {}

        def answer(pixels: UInt8Array, x: float, y: float) -> tuple[Float32Array, Float32Array]:
            if id(pixels) not in seen:
                (embedding,) = self.encoder.predict([EncoderInput(np.ascontiguousarray(pixels))])
                seen[id(pixels)] = pixels, [torch.from_numpy(each).float()[None] for each in embedding.tensors]
            tensors = seen[id(pixels)][1]
            one = len(tensors) == 1
            given = {"input_points": [[[[x, y]]]], "input_labels": [[[1]]]}
            inputs = self.coordinates(images=pixels, return_tensors="pt", **given)
            own = [each.clone() for each in tensors]
            asked = {name: inputs[name] for name in given}
            with torch.no_grad():
                output = self.model(image_embeddings=own[0] if one else own, multimask_output=True, **asked)
            sizes = [inputs["original_sizes"], *([inputs["reshaped_input_sizes"]] if one else [])]
            masks = self.processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0][0]
            return masks.numpy(), output.iou_scores[0, 0].numpy()

        return answer


def enliven(model: Any) -> None:
    """Masks over parts of the image, other ones for other clicks: sharper attention, less of the finer levels that no
    click changes, and one constant feature that all else must exceed."""
    from tests.contract.tiny import draw

    draw(model)
    decoder = model.mask_decoder
    sigmoid = hasattr(decoder, "conv_s0")
    shift, scale = (20.0, 12.0) if sigmoid else (15.0, 10.0)
    for name, layer in decoder.named_children():
        if name in ("conv_s0", "conv_s1"):
            layer.weight.mul_(0.1)
            layer.bias.mul_(0.1)
    for name, parameter in decoder.transformer.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            parameter.mul_(4)
    if not sigmoid:
        decoder.iou_prediction_head.proj_out.bias.add_(2)
    decoder.upscale_conv2.weight[:, 0] = 0
    decoder.upscale_conv2.bias[0] = 10
    for readout in decoder.output_hypernetworks_mlps:
        readout.proj_out.weight.mul_(scale)
        readout.proj_out.bias.mul_(scale)
        readout.proj_out.weight[0] = 0
        readout.proj_out.bias[0] = -shift / 10


@pytest.fixture(scope="module", params=["sam-vit-base", "sam2.1-hiera-tiny"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    card, folder = find_card(request.param).shrunk(), tmp_path_factory.mktemp(request.param)
    made = getattr(transformers, card.network["class"])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        model = made(made.config_class(**card.network["config"])).eval()
        enliven(model)
    model.save_pretrained(folder / "weights")
    there = card.model_copy(update={"name": "lively", "weights": HubWeights(repo=str(folder / "weights"))})
    (folder / "cards").mkdir()
    (folder / "cards" / "lively.yaml").write_text(json.dumps(there.model_dump(mode="json")), encoding="utf-8")
    side = place(card.preprocess, 1, 1).canvas.height
    if card.network["class"] == "SamModel":
        padding = {"height": side, "width": side}
        processor = transformers.SamImageProcessor(size={"longest_edge": side}, pad_size=padding)
        coordinates = transformers.SamProcessor(processor)
    else:
        processor = transformers.Sam2ImageProcessor(size={"height": side, "width": side})
        coordinates = transformers.Sam2Processor(processor, target_size=side)
    args = ServiceArgs(model="lively", tasks=("promptable",), engine="torch", device="cpu")
    settings, sink = Settings(card_dirs=(folder / "cards",)), RecordingSink()
    service = assemble_whole(args, settings, sink, open_stores(settings, sink)).promptable
    assert service is not None
    encoder = load(there, LoadOptions(roles=("encoder",), engine="torch", device="cpu")).roles["encoder"]
    return Checkpoint(model, processor, coordinates, encoder, service)


async def served(service: PromptableService, image: bytes, options: EverythingOptions) -> list[dict[str, Any]]:
    call = EverythingCall(image_id(image), Caller("t", "request", time.time() + 600), image, options)
    (answer,) = [item async for item in service.everything(call)]
    assert isinstance(answer, Answer)
    masks: list[dict[str, Any]] = orjson.loads(answer.body)["masks"]
    return masks


CROPPED: dict[str, Any] = {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": LIKELIEST}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "crops": CROPPED,
    "tidied": {"min_mask_region_area": 400},
    "crops-tidied": {**CROPPED, "min_mask_region_area": 400},
}


@pytest.mark.parametrize(
    ("size", "more"),
    [*((size, "plain") for size in SIZES), *(((300, 600), name) for name in OPTIONS if name != "plain")],
    ids=lambda given: given if isinstance(given, str) else f"{given[1]}x{given[0]}",
)
@pytest.mark.timeout(900)
async def test_many_masks_are_the_references(checkpoint: Checkpoint, size: tuple[int, int], more: str) -> None:
    pixels = scene(*size, seed=5)
    side = SIZES[size]
    answer = checkpoint.answers()
    middles = [(index + 0.5) / side for index in range(side)]
    iou = np.array([answer(pixels, x * size[1], y * size[0])[1] for x in middles[::3] for y in middles[::3]])
    options = EverythingOptions(
        points_per_side=side,
        pred_iou_thresh=float(np.quantile(iou, 0.1)),
        stability_score_thresh=0.1,
        box_nms_thresh=LIKELIEST,
        **OPTIONS[more],
    )
    expected = generate(pixels, answer, options)
    found = await served(checkpoint.service, png(pixels), options)
    assert len(expected) >= 15
    assert abs(len(found) - len(expected)) <= 1 + len(expected) // 50, "scores may fall to either side of a threshold"
    mine = [mask["rle"] for mask in found]
    theirs = [encode(Region.from_mask(mask.mask)) for mask in expected]
    assert len({json.dumps(runs) for runs in mine}) == len(mine)
    assert best_ious(mine, theirs) > 0.99
    assert best_ious(theirs, mine) > 0.99
    if "crop_n_layers" in OPTIONS[more]:
        assert {mask.crop_area for mask in expected} > {size[0] * size[1]}, "masks of the image, and of crops"
    if "min_mask_region_area" in OPTIONS[more]:
        rough = generate(pixels, answer, dataclasses.replace(options, min_mask_region_area=0))
        assert best_ious(theirs, [encode(Region.from_mask(mask.mask)) for mask in rough]) < 1, "something was tidied"


async def test_memory_is_bounded_on_a_large_image(checkpoint: Checkpoint) -> None:
    image = png(scene(2000, 3000, seed=5))
    everything = EverythingOptions(points_per_side=7, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    tracemalloc.start()
    try:
        found = await served(checkpoint.service, image, everything)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert found
    assert peak < PEAK_MIB, f"{len(found)} masks of 5.7 MiB each"
