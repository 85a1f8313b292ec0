"""Roboflow's `/sam2/embed_image` and `/sam2/segment_image` for clients that move from there.

Boxes are `{x, y, width, height}` about their centre. Masks come as polygons (outer rings: the format has no holes) or,
with `format: "rle"`, as COCO's run lengths. Errors are the native ones, whose `message` Roboflow's client reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import Sent
from services.gateway.bulk import kept
from services.gateway.context import Gateway, gateway
from services.gateway.fields import IMAGE_ID, IMAGE_URL
from services.gateway.routes.compat.documentation import json_of, native_errors
from services.gateway.routes.compat.door import Visit, answered, json_fields
from services.gateway.routes.compat.prompted import ask_prompts, best_masks
from services.gateway.scopes import arrival
from services.gateway.uploads import from_base64
from shared.errors import InvalidOption, ModelNotFound, told_of
from shared.protocols import PromptableService
from shared.schemas import door_examples as examples
from shared.schemas import roboflow as wire
from shared.telemetry.stages import Stages

DOOR = "/sam2"
VERSIONS: Mapping[str, str] = {
    "hiera_tiny": "sam2.1-hiera-tiny",
    "hiera_small": "sam2.1-hiera-small",
    "hiera_b_plus": "sam2.1-hiera-base-plus",
    "hiera_large": "sam2.1-hiera-large",
}
"""Our names of Roboflow's versions. Its client always names one; where it is not served, the default model answers."""

router = APIRouter(tags=["compatible"])


@router.post(
    f"{DOOR}/embed_image",
    **native_errors(wire.EmbedAnswer, examples.EMBED, json_of(wire.EmbedFields, examples.EMBED_REQUEST)),
)
async def embed_image(request: Request) -> Response:
    """Store an image and its embedding. `image_id` of the answer may stand for the image from then on."""
    here = gateway(request)
    with here.admit(request) as caller:
        asked = await json_fields(request, here.settings, wire.EmbedFields)
        visit = Visit(here, caller, Stages(here.sink, "images"))
        with visit.stages.stage("receive"):
            model, service = _service(here, asked.sam2_version_id)
            image = await _bytes(here, request, asked.image)
        with visit.stages.stage("service"):
            stored = await kept(here, caller, image, {model: service})
        return answered({"image_id": stored["image_id"], "time": _seconds(visit), "model": model}, visit)


@router.post(
    f"{DOOR}/segment_image",
    **native_errors(wire.SegmentAnswer, examples.SEGMENT, json_of(wire.SegmentFields, examples.SEGMENT_REQUEST)),
)
async def segment_image(request: Request) -> Response:
    """The best mask of each prompt, on an image or on one that `embed_image` has stored."""
    here = gateway(request)
    with here.admit(request) as caller:
        asked = await json_fields(request, here.settings, wire.SegmentFields)
        visit = Visit(here, caller, Stages(here.sink, "promptable"))
        model, _ = _service(here, asked.sam2_version_id)
        form = "polygon" if asked.format == "json" else "rle"
        options = {"multimask": asked.multimask_output, "format": form}
        sent = await _sent(asked)
        found = await ask_prompts(
            request, visit, model, sent, [_prompt(each) for each in asked.prompts.prompts], **options
        )
        predictions = [_prediction(mask, form) for mask in best_masks(found)]
        return answered({"predictions": predictions, "time": _seconds(visit), "model": model}, visit)


def _service(here: Gateway, version: str | None) -> tuple[str, PromptableService]:
    """The model of this version where it is served, else the default one. Raises `ModelNotFound`."""
    wanted = VERSIONS.get(version or "")
    try:
        service = here.directory.promptable(wanted)
    except ModelNotFound:
        if wanted is None:
            raise
        service = here.directory.promptable(None)
    info = service.describe()
    return f"{info.name}@{info.version}", service


async def _bytes(here: Gateway, request: Request, image: wire.ImageFields) -> bytes:
    """The image itself. Raises the errors of base64 or of fetching by URL."""
    with told_of("image.value"):
        if image.type == "url":
            return await here.fetcher.fetch(image.value, arrival(request.scope).deadline)
        return await from_base64(image.value, "image.value")


async def _sent(asked: wire.SegmentFields) -> Sent:
    """The image, or where it is; an id of the client's own beside it is passed over: ours is the image's hash."""
    if asked.image is None:
        if asked.image_id is None:
            raise InvalidOption.of("image", None, "image or image_id", "an image or an image_id is required")
        return Sent(values={IMAGE_ID: asked.image_id})
    if asked.image.type == "url":
        return Sent(values={IMAGE_URL: asked.image.value})
    return Sent(images=(await from_base64(asked.image.value, "image.value"),))


def _prompt(sent: wire.SamPrompt) -> dict[str, Any]:
    prompt: dict[str, Any] = {}
    if sent.points:
        prompt |= {"points": [[point.x, point.y] for point in sent.points]}
        prompt |= {"labels": [int(point.positive) for point in sent.points]}
    if (box := sent.box) is not None:
        x0, y0 = box.x - box.width / 2, box.y - box.height / 2
        prompt["box"] = [x0, y0, x0 + box.width, y0 + box.height]
    return prompt


def _prediction(mask: Mapping[str, Any], form: str) -> dict[str, Any]:
    if form == "rle":
        return {"masks": mask["rle"], "confidence": mask["predicted_iou"], "format": "rle"}
    rings = [polygon[0] for polygon in mask["polygons"]]
    return {"masks": rings, "confidence": mask["predicted_iou"], "format": "polygon"}


def _seconds(visit: Visit) -> float:
    return sum(seconds for _, seconds in visit.stages.timings())
