"""`/v1/images`: upload once, ask about it often; each upload may compute embeddings ahead, and bring hundreds of
images, whose progress comes as events where asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.bulk import Bulk, Report, kept, record_fields
from services.gateway.context import Gateway, gateway
from services.gateway.documentation import IMAGE_ERRORS, uploads
from services.gateway.events import Event, EventStream
from services.gateway.negotiation import wants_events
from services.gateway.openapi import answers
from services.gateway.responses import JSON_OPTIONS, fresh
from services.gateway.scopes import lengthen
from services.gateway.uploads import Uploads, receive_images
from shared.calls import Caller
from shared.errors import ImageNotFound, told_of
from shared.protocols import PromptableService
from shared.schemas.options import UploadOptions
from shared.schemas.resources import StoredImage, UploadedImage, UploadedImages
from shared.telemetry.stages import Stages

router = APIRouter(tags=["images"])


@router.post("/v1/images", **uploads(UploadOptions, UploadedImage, UploadedImages))
async def upload(request: Request) -> Response:
    """Store one image, or several as parts of one multipart body: then each one's entry says how it went.

    A body of more than a request's usual limit is worked on while it comes; its fields must then stand before its
    images. As events: `progress` {"done", "failed", "total"}; `image`, an entry with its `index`; at the end `result`,
    the whole answer.
    """
    here = gateway(request)
    if wants_events(request.headers.get("accept", "")):
        lengthen(request.scope, here.settings.stream_timeout_s)
        return EventStream(_events(request, here), here.errors)
    with here.admit(request) as caller:
        stages = Stages(here.sink, "images")
        with stages.stage("receive"):
            sent = await receive_images(request, here, UploadOptions, stages)
        with stages.stage("service"):
            if sent.only is not None:
                found = await kept(here, caller, sent.only, _services(here, sent))
            else:
                found = await _several(request, here, caller, sent)
        return fresh(found, stages=stages)


@router.get("/v1/images/{image_id}", **answers(StoredImage, IMAGE_ERRORS))
async def record(request: Request, image_id: str) -> Response:
    """What is known of a stored image. `HEAD` says only whether it is there."""
    here = gateway(request)
    return fresh(record_fields(await here.images.head(here.identify(request).tenant, image_id)))


@router.delete("/v1/images/{image_id}", status_code=204, **answers(None, IMAGE_ERRORS))
async def delete(request: Request, image_id: str) -> Response:
    """Forget a stored image and its embeddings: in the store at once, in the memory of every model's replica within
    seconds. Requests that name it are refused from now on; another tenant's image of the same bytes stays."""
    here = gateway(request)
    if not await here.images.delete(here.identify(request).tenant, image_id):
        raise ImageNotFound.of("image_id", image_id, reason="no such image is stored")
    return Response(status_code=204)


@asynccontextmanager
async def _events(request: Request, here: Gateway) -> AsyncIterator[AsyncIterator[Event]]:
    with here.admit(request) as caller:
        sent = await receive_images(request, here, UploadOptions)
        bulk = _bulk(here, caller, sent)
        async with aclosing(bulk.reports(sent.images)) as reports:
            yield _told(bulk, reports)


async def _told(bulk: Bulk, reports: AsyncIterator[Report]) -> AsyncIterator[Event]:
    async for report in reports:
        if report.entry is not None:
            yield _event("image", {"index": report.index, **report.entry})
        yield _event("progress", {"done": report.done, "failed": report.failed, "total": report.total})
    yield _event("result", _answer(bulk))


async def _several(request: Request, here: Gateway, caller: Caller, sent: Uploads[UploadOptions]) -> dict[str, Any]:
    """The whole answer about several images, once all are through."""
    if sent.while_it_comes:
        lengthen(request.scope, here.settings.stream_timeout_s)
        caller = here.identify(request)
    bulk = _bulk(here, caller, sent)
    async with aclosing(bulk.reports(sent.images)) as reports:
        async for _ in reports:
            pass
    return _answer(bulk)


def _event(name: str, content: object) -> Event:
    return Event(name, orjson.dumps(content, option=JSON_OPTIONS))


def _bulk(here: Gateway, caller: Caller, sent: Uploads[UploadOptions]) -> Bulk:
    return Bulk(here, caller, _services(here, sent))


def _services(here: Gateway, sent: Uploads[UploadOptions]) -> dict[str, PromptableService]:
    with told_of("embed"):
        return {name: here.directory.promptable(name) for name in dict.fromkeys(sent.options.embed or ())}


def _answer(bulk: Bulk) -> dict[str, Any]:
    return {"images": [entry for _, entry in sorted(bulk.entries.items())]}
