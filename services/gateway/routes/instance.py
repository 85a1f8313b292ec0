"""`POST /v1/instance`: an image in, its objects out, each with its own mask."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.documentation import documented
from services.gateway.routes import dense, task
from services.gateway.routes.plain import PlainRoute
from shared.schemas.answers import InstanceAnswer
from shared.schemas.options import InstanceOptions

router = APIRouter(tags=["segmentation"], route_class=PlainRoute)


@router.post("/v1/instance", **documented(InstanceOptions, InstanceAnswer))
async def instance(request: Request) -> Response:
    """Find the objects of an image, best score first, each with mask, box and score."""
    return await task.answer(request, dense.KINDS["instance"])
