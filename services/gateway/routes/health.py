"""`/healthz` (this process), `/readyz` (every required application) and `/metrics` (the whole cluster's numbers)."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.context import gateway
from services.gateway.documentation import readiness, text
from services.gateway.openapi import answers
from services.gateway.responses import fresh
from shared.schemas.resources import HealthAnswer
from shared.telemetry.prometheus import CONTENT_TYPE

router = APIRouter(tags=["operation"])


@router.get("/healthz", **answers(HealthAnswer, ()))
async def healthz() -> Response:
    """The gateway's process runs and its event loop turns."""
    return fresh({"status": "ok"})


@router.get("/readyz", **readiness())
async def readyz(request: Request) -> Response:
    """Ready (200) when every required application can answer, else 503; with each application's state."""
    found = await gateway(request).directory.readiness()
    states = {name: asdict(state) for name, state in found.applications.items()}
    return fresh({"ready": found.ready, "applications": states}, 200 if found.ready else 503)


@router.get("/metrics", response_class=Response, **text(CONTENT_TYPE))
async def metrics(request: Request) -> Response:
    """Metrics of the whole cluster in Prometheus's text format. Asks for an API key where the server has keys."""
    here = gateway(request)
    here.identify(request)
    return Response(await here.metrics_page(), media_type=CONTENT_TYPE)
