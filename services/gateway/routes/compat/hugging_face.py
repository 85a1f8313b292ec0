"""Hugging Face's `image-segmentation` and `mask-generation`: an image in, as bytes or as JSON, one PNG a mask out.

`huggingface_hub.InferenceClient(model=URL)` posts to that very URL: bytes without a content type where no parameter is
given, else `{"inputs": base64, "parameters": {...}}`. Errors are `{"error": text}`.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import Sent, check_encoding, read_bytes
from services.gateway.context import Gateway, gateway
from services.gateway.routes import dense, everything
from services.gateway.routes.compat.documentation import door, image_or
from services.gateway.routes.compat.door import Fields, Visit, answered, ask, checked, each_mask
from services.gateway.uploads import from_base64
from shared.errors import ModelNotFound
from shared.imaging.png import mask_png
from shared.schemas import door_examples as examples
from shared.schemas.doors import (
    HuggingFaceInput,
    HuggingFaceParameters,
    HuggingFaceSegment,
    MaskGenerationAnswer,
    MaskGenerationInput,
    MaskGenerationParameters,
)
from shared.telemetry.stages import Stages
from shared.types import BoolArray, DenseTask

DOOR = "/hf"
PREFERRED: tuple[DenseTask, ...] = ("panoptic", "instance", "semantic")
"""The first that a model serves is its answer where no `subtask` is named, as in the pipeline."""
_NATIVE = {
    "points_per_crop": "points_per_side",
    "crops_n_layers": "crop_n_layers",
    "crops_nms_thresh": "crop_nms_thresh",
}
"""The pipeline's names of SAM's parameters, where they differ."""
_OUTPUTS = {"output_rle_mask", "output_bboxes_mask"}

router = APIRouter(tags=["compatible"])


@router.post(
    f"{DOOR}/image-segmentation", **door(list[HuggingFaceSegment], examples.HF_SEGMENTS, image_or(HuggingFaceInput))
)
async def image_segmentation(request: Request) -> Response:
    """For `huggingface_hub.InferenceClient(model="http://HOST/hf/image-segmentation").image_segmentation(image)`; by
    the default model."""
    return await _segmented(request, None)


@router.post(
    f"{DOOR}/image-segmentation/{{model}}",
    **door(list[HuggingFaceSegment], examples.HF_SEGMENTS, image_or(HuggingFaceInput)),
)
async def image_segmentation_by(request: Request, model: str) -> Response:
    """The same by a model of your choice: `name` or `name@version`."""
    return await _segmented(request, model)


@router.post(f"{DOOR}/mask-generation", **door(MaskGenerationAnswer, examples.HF_MASKS, image_or(MaskGenerationInput)))
async def mask_generation(request: Request) -> Response:
    """Every mask of an image by the default promptable model: the pipeline `mask-generation`."""
    return await _generated(request, None)


@router.post(
    f"{DOOR}/mask-generation/{{model}}", **door(MaskGenerationAnswer, examples.HF_MASKS, image_or(MaskGenerationInput))
)
async def mask_generation_by(request: Request, model: str) -> Response:
    """The same by a model of your choice: `name` or `name@version`."""
    return await _generated(request, model)


async def _segmented(request: Request, model: str | None) -> Response:
    here = gateway(request)
    with here.admit(request) as caller:
        image, sent = await _read(request, here, HuggingFaceInput)
        asked = (sent and sent.parameters) or HuggingFaceParameters()
        task = asked.subtask or _served(here, model)
        values: dict[str, Any] = {} if model is None else {"model": model}
        if asked.threshold is not None and task != "semantic":
            values["score_threshold"] = asked.threshold
        visit = Visit(here, caller, Stages(here.sink, task))
        found = await ask(request, visit, dense.KINDS[task], Sent(images=(image,), values=values))
        with visit.stages.stage("encode"):
            entries = found["instances" if task == "instance" else "segments"]
            masks = await each_mask((entry["rle"] for entry in entries), _png)
            shown = zip(entries, masks, strict=True)
            return answered([{"label": e["label"], "score": e["score"], "mask": mask} for e, mask in shown], visit)


async def _generated(request: Request, model: str | None) -> Response:
    here = gateway(request)
    with here.admit(request) as caller:
        image, sent = await _read(request, here, MaskGenerationInput)
        asked = (sent and sent.parameters) or MaskGenerationParameters()
        given = asked.model_dump(exclude_none=True, exclude=_OUTPUTS)
        values = {_NATIVE.get(name, name): value for name, value in given.items()}
        values |= {} if model is None else {"model": model}
        visit = Visit(here, caller, Stages(here.sink, everything.KIND.stage_task))
        found = await ask(request, visit, everything.KIND, Sent(images=(image,), values=values))
        with visit.stages.stage("encode"):
            return answered(await _all_masks(found["masks"], asked), visit)


async def _all_masks(entries: list[dict[str, Any]], asked: MaskGenerationParameters) -> dict[str, Any]:
    """The pipeline's answer to masks as `/v1/promptable/everything` gives them."""
    rles = [entry["rle"] for entry in entries]
    answer: dict[str, Any] = {
        "masks": await each_mask(rles, _png),
        "scores": [entry["predicted_iou"] for entry in entries],
    }
    if asked.output_rle_mask:
        counts = await each_mask(rles, _counts)
        answer["rle_mask"] = [{"size": rle["size"], "counts": runs} for rle, runs in zip(rles, counts, strict=True)]
    if asked.output_bboxes_mask:
        answer["bounding_boxes"] = [entry["box"] for entry in entries]
    return answer


async def _read(request: Request, here: Gateway, fields: type[Fields]) -> tuple[bytes, Any]:
    """The image, and what came with it (None where the body was the image itself)."""
    check_encoding(request)
    body = await read_bytes(request, here.settings.max_body_bytes)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return body, None
    sent: Any = await checked(body, here.settings, fields)
    return await from_base64(sent.inputs, "inputs"), sent


def _served(here: Gateway, model: str | None) -> DenseTask:
    """The first task of the pipeline's order that this model (None: any default) serves. Raises as `dense` does."""
    missing: ModelNotFound | None = None
    for task in PREFERRED:
        try:
            here.directory.dense(task, model)
        except ModelNotFound as error:
            missing = missing or error
        else:
            return task
    raise missing or ModelNotFound()


def _png(mask: BoolArray) -> str:
    return b64encode(mask_png(mask)).decode("ascii")


def _counts(mask: BoolArray) -> list[int]:
    """Run lengths down the columns, zeros first, as COCO's uncompressed notation has them."""
    turns = np.flatnonzero(np.diff(mask.T.ravel(), prepend=np.False_))
    found: list[int] = np.diff(turns, prepend=0, append=mask.size).tolist()
    return found
