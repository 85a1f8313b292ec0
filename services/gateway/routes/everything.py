"""`POST /v1/promptable/everything`: an image in, every mask of it out; as they are found with `Accept:
text/event-stream`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.context import Gateway, gateway
from services.gateway.documentation import documented
from services.gateway.effects import effect_of
from services.gateway.events import Event, EventStream
from services.gateway.negotiation import answer_format, wants_events
from services.gateway.routes import task
from services.gateway.scopes import lengthen
from services.gateway.subjects import Subject, kept, subject_of
from services.gateway.tasks import TaskKind, Work
from services.gateway.uploads import Upload, receive
from shared.calls import Answer, Caller, EverythingCall, EverythingOptions, StreamEvent
from shared.errors import ImageNotFound, ImageStoreUnavailable, InternalError
from shared.protocols import PromptableService
from shared.schemas.answers import EverythingAnswer
from shared.schemas.options import EffectFields, EverythingFields

Items = AsyncGenerator[StreamEvent | Answer, None]

router = APIRouter(tags=["segmentation"])


@router.post("/v1/promptable/everything", **documented(EverythingFields, EverythingAnswer, events=True))
async def everything(request: Request) -> Response:
    """Find every object and part: a grid of clicks, filtered by quality and rid of duplicates.

    As events: `progress` {"done", "total", "masks"}; `mask`, one that stands for now, with an `id` (the same id again
    replaces it); `dropped` {"ids"}; at the end `result`, the whole answer, or `error`.
    """
    here = gateway(request)
    if wants_events(request.headers.get("accept", "")):
        lengthen(request.scope, here.settings.stream_timeout_s)
        return EventStream(_events(request, here), here.errors)
    return await task.answer(request, KIND)


@dataclass(frozen=True, slots=True)
class _Work:
    """What was asked for, of whom."""

    service: PromptableService
    call: EverythingCall
    subject: Subject


async def prepared(here: Gateway, caller: Caller, upload: Upload[EverythingFields], accept: str) -> Work:
    """See `TaskKind`."""
    work = await _checked(here, caller, upload, accept, live=False)

    async def answered() -> Answer:
        async with aclosing(_items(here, work)) as items:
            answers = [item async for item in items if isinstance(item, Answer)]
        if len(answers) != 1:
            raise InternalError(f"{len(answers)} answers where one was due")
        return answers[0]

    return answered


KIND = TaskKind("everything", "promptable", EverythingFields, prepared)


async def _checked(here: Gateway, caller: Caller, upload: Upload[EverythingFields], accept: str, live: bool) -> _Work:
    service = here.directory.promptable(upload.options.model)
    subject = await subject_of(here, caller, upload.image, upload.image_id)
    options = await _options(here, caller, upload, accept)
    return _Work(service, EverythingCall(subject.image_id, caller, subject.data, options, live), subject)


async def _options(here: Gateway, caller: Caller, upload: Upload[EverythingFields], accept: str) -> EverythingOptions:
    fields = upload.options
    form = answer_format(fields.format, accept, has_label_map=False)
    effect = await effect_of(here, caller, fields, form, upload.background, accept)
    given = fields.model_dump(exclude={"model", "format", "point_grids", *EffectFields.model_fields})
    grids = None
    if fields.point_grids is not None:
        grids = tuple(tuple((x, y) for x, y in grid) for grid in fields.point_grids)
    return EverythingOptions(**given, format=form, point_grids=grids, effect=effect)


@asynccontextmanager
async def _events(request: Request, here: Gateway) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of a request that was received and admitted, for as long as they take."""
    with here.admit(request) as caller:
        upload = await receive(request, here, EverythingFields)
        work = await _checked(here, caller, upload, request.headers.get("accept", ""), live=True)
        async with aclosing(_items(here, work)) as items:
            yield _shown(items)


async def _shown(items: Items) -> AsyncIterator[Event]:
    async for item in items:
        yield Event("result", item.body) if isinstance(item, Answer) else Event(item.name, item.data)


async def _items(here: Gateway, work: _Work) -> AsyncGenerator[StreamEvent | Answer, None]:
    """What the service gives; one that needs the image and cannot reach it gets it from here."""
    call = work.call
    async with kept(here, call.caller, work.subject, call.options.store):
        begun = False
        try:
            async with aclosing(work.service.everything(call)) as items:
                async for item in items:
                    begun = True
                    yield item
            return
        except (ImageNotFound, ImageStoreUnavailable):
            if begun or call.image is not None:
                raise
        call = replace(call, image=await here.images.get(call.caller.tenant, call.image_id))
        async with aclosing(work.service.everything(call)) as items:
            async for item in items:
                yield item
