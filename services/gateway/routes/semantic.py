"""`POST /v1/semantic`: an image in, the class of every pixel out."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.documentation import documented
from services.gateway.routes import dense, task
from services.gateway.routes.plain import PlainRoute
from shared.schemas.answers import SemanticAnswer
from shared.schemas.options import SemanticOptions

router = APIRouter(tags=["segmentation"], route_class=PlainRoute)


@router.post("/v1/semantic", **documented(SemanticOptions, SemanticAnswer, png="The label map, 255 = void."))
async def semantic(request: Request) -> Response:
    """Give every pixel of an image its class. One segment comes back for each class present."""
    return await task.answer(request, dense.KINDS["semantic"])
