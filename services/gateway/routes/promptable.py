"""`POST /v1/promptable`: an image (or the id of a stored one) and prompts in, masks for each prompt out.

The image is stored while its prompts are answered, so that the next prompt need not bring it. With only an id the
service is asked without the image first: a cached embedding needs no upload, no decoding and no encoder.
"""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.context import Gateway
from services.gateway.documentation import documented
from services.gateway.effects import effect_of
from services.gateway.negotiation import answer_format
from services.gateway.prompts import typed_aside
from services.gateway.routes import task
from services.gateway.routes.plain import PlainRoute
from services.gateway.subjects import kept, subject_of
from services.gateway.tasks import TaskKind, Work
from services.gateway.uploads import Upload
from shared.calls import Answer, Caller, PromptCall, PromptOptions
from shared.errors import ImageNotFound, ImageStoreUnavailable
from shared.protocols import PromptableService
from shared.schemas.answers import PromptableAnswer
from shared.schemas.options import PromptableOptions
from shared.serving.prompts import Bounds
from shared.types import Task

TASK: Task = "promptable"

router = APIRouter(tags=["segmentation"], route_class=PlainRoute)


@router.post("/v1/promptable", **documented(PromptableOptions, PromptableAnswer))
async def promptable(request: Request) -> Response:
    """Segment what the prompts point at: points, a box, an earlier mask, or a phrase where the model takes one."""
    return await task.answer(request, KIND)


async def prepared(here: Gateway, caller: Caller, upload: Upload[PromptableOptions], accept: str) -> Work:
    """See `TaskKind`."""
    service = here.directory.promptable(upload.options.model)
    subject = await subject_of(here, caller, upload.image, upload.image_id)
    prompts = await typed_aside(upload.options.prompts, Bounds(subject.size, service.describe().text_prompts))
    options = await _options(here, caller, upload, accept)
    call = PromptCall(subject.image_id, prompts, caller, subject.data, options, subject.stored)

    async def work() -> Answer:
        async with kept(here, caller, subject, options.store):
            return await segmented(here, service, call)

    return work


KIND = TaskKind("promptable", TASK, PromptableOptions, prepared)


async def _options(here: Gateway, caller: Caller, upload: Upload[PromptableOptions], accept: str) -> PromptOptions:
    fields = upload.options
    form = answer_format(fields.format, accept, has_label_map=False)
    effect = await effect_of(here, caller, fields, form, upload.background, accept)
    return PromptOptions(form, fields.multimask, fields.return_logits, fields.simplify, fields.store, effect)


async def segmented(here: Gateway, service: PromptableService, call: PromptCall) -> Answer:
    """Ask, without the image where only its id came; a service that needs it gets it from here, if we can reach it."""
    try:
        return await service.segment(call)
    except (ImageNotFound, ImageStoreUnavailable):
        if call.image is not None:
            raise
        if call.stored is False:
            raise ImageStoreUnavailable from None
        return await service.segment(replace(call, image=await here.images.get(call.caller.tenant, call.image_id)))
