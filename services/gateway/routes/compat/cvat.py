"""CVAT's interactors: an image and clicks in, a mask as rows of zeros and ones out.

CVAT asks Nuclio, whose functions forward to here: `{"image", "pos_points", "neg_points", "obj_bbox"}` as they get it.
"""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import Sent
from services.gateway.context import gateway
from services.gateway.routes.compat.documentation import door, json_of
from services.gateway.routes.compat.door import Visit, answered, each_mask, json_fields
from services.gateway.routes.compat.prompted import ask_prompts, best_masks
from services.gateway.uploads import from_base64
from shared.errors import InvalidOption
from shared.schemas import door_examples as examples
from shared.schemas.doors import InteractorAnswer, InteractorFields
from shared.telemetry.stages import Stages
from shared.types import BoolArray, UInt8Array

DOOR = "/cvat"
MAX_PIXELS = 2**24
"""Largest mask that goes into JSON, two bytes a pixel."""
_DOCUMENTED = door(InteractorAnswer, examples.INTERACTOR, json_of(InteractorFields, examples.INTERACTOR_REQUEST))

router = APIRouter(tags=["compatible"])


@router.post(f"{DOOR}/interactor", **_DOCUMENTED)
async def interactor(request: Request) -> Response:
    """What a CVAT interactor's function answers, by the default model: forward its event's body to here."""
    return await _answer(request, None)


@router.post(f"{DOOR}/interactor/{{model}}", **_DOCUMENTED)
async def interactor_by(request: Request, model: str) -> Response:
    """The same by a model of your choice: `name` or `name@version`."""
    return await _answer(request, model)


async def _answer(request: Request, model: str | None) -> Response:
    here = gateway(request)
    with here.admit(request) as caller:
        asked = await json_fields(request, here.settings, InteractorFields)
        visit = Visit(here, caller, Stages(here.sink, "promptable"))
        image = await from_base64(asked.image, "image")
        points = [*asked.pos_points, *asked.neg_points]
        labels = [1] * len(asked.pos_points) + [0] * len(asked.neg_points)
        prompt = {"points": points, "labels": labels} if points else {}
        if asked.obj_bbox is not None:
            prompt["box"] = [side for corner in asked.obj_bbox for side in corner]
        found = await ask_prompts(request, visit, model, Sent(images=(image,)), [prompt])
        height, width = found["height"], found["width"]
        if height * width > MAX_PIXELS:
            raise InvalidOption.of("image", f"{width}x{height}", f"{MAX_PIXELS} pixels", "too large for a mask in JSON")
        with visit.stages.stage("encode"):
            masks = await each_mask([mask["rle"] for mask in best_masks(found)[:1]], _rows)
            return answered({"mask": masks[0] if masks else np.zeros((height, width), np.uint8)}, visit)


def _rows(mask: BoolArray) -> UInt8Array:
    return mask.view(np.uint8)
