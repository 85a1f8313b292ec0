"""A request for a task in, its answer out, or a job of it where `Prefer: respond-async` asks for one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.context import gateway
from services.gateway.jobs.submission import prefers_job, submitted
from services.gateway.responses import respond
from services.gateway.tasks import TaskKind
from services.gateway.uploads import receive
from shared.telemetry.stages import Stages


async def answer(request: Request, kind: TaskKind) -> Response:
    """Answer one request. Raises the errors of the upload, the model's name and the service."""
    here = gateway(request)
    if "prefer" in request.headers and prefers_job(request):
        with here.admit(request) as caller:
            return await submitted(request, here, caller, kind, await receive(request, here, kind.options), True)
    with here.admit(request) as caller:
        stages = Stages(here.sink, kind.stage_task)
        with stages.stage("receive"):
            upload = await receive(request, here, kind.options, stages)
            work = await kind.prepare(here, caller, upload, request.headers.get("accept", ""))
        with stages.stage("service"):
            found = await work()
        return respond(found, stages)
