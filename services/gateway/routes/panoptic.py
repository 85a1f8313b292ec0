"""`POST /v1/panoptic`: an image in, disjoint things and stuff out."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.documentation import documented
from services.gateway.routes import dense, task
from services.gateway.routes.plain import PlainRoute
from shared.schemas.answers import PanopticAnswer
from shared.schemas.options import PanopticOptions

router = APIRouter(tags=["segmentation"], route_class=PlainRoute)

_PNG = "COCO's id picture: id = R + 256 G + 65536 B, 0 = void. `X-Segments`: its segments as base64 JSON."


@router.post("/v1/panoptic", **documented(PanopticOptions, PanopticAnswer, png=_PNG))
async def panoptic(request: Request) -> Response:
    """Assign every pixel of an image to one thing, one stuff region or void."""
    return await task.answer(request, dense.KINDS["panoptic"])
