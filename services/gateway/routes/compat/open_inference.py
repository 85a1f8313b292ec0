"""The Open Inference Protocol, version 2, as KServe and Triton's clients speak it: health, metadata and inference.

Inputs: `image` (an encoded image as BYTES[1], in JSON as base64, or pixels UINT8[H,W,3]), and for prompts
`point_coords` FP32[N,P,2], `point_labels` INT32[N,P] (1 in, 0 out, -1 none) and `boxes` FP32[N,4]. Outputs: `label_map`
UINT16[H,W] (65535 is void), `masks` BOOL[N,H,W], `scores` FP32[N], `labels` BYTES[N].
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import check_encoding, read_bytes
from services.gateway.context import gateway
from services.gateway.responses import fresh, tagged
from services.gateway.routes.compat import inference_inputs as inputs
from services.gateway.routes.compat import inference_models as models
from services.gateway.routes.compat.documentation import READ_ERRORS, door, json_of
from services.gateway.routes.compat.door import Visit, ask, checked
from services.gateway.routes.compat.inference_outputs import made
from services.gateway.routes.compat.tensors import HEADER_LENGTH, binary_parts, split, written
from shared.errors import Forbidden
from shared.schemas import door_examples as examples
from shared.schemas import inference as wire
from shared.telemetry.stages import Stages, server_timing

DOOR = "/v2"
_MODEL = f"{DOOR}/models/{{model}}"
_VERSION = f"{_MODEL}/versions/{{version}}"
_INFER = door(wire.InferAnswer, examples.INFER, json_of(wire.InferRequest, examples.INFER_REQUEST))
_METADATA = door(wire.ModelMetadata, examples.METADATA, errors=READ_ERRORS)
_READY = door(wire.ModelReady, {"name": "street", "ready": True}, errors=(*READ_ERRORS, 503))

router = APIRouter(tags=["compatible"])


@router.get(DOOR, **door(wire.ServerMetadata, examples.SERVER, errors=(401,)))
async def server(request: Request) -> Response:
    """What this server is. For `tritonclient.http.InferenceServerClient("HOST:PORT")` and KServe's clients."""
    gateway(request).identify(request)
    return tagged(request, examples.SERVER)


@router.get(f"{DOOR}/health/live", **door(wire.ServerLive, {"live": True}, errors=()))
async def live() -> Response:
    """The gateway's process runs."""
    return fresh({"live": True})


@router.get(f"{DOOR}/health/ready", **door(wire.ServerReady, {"ready": True}, errors=()))
async def ready(request: Request) -> Response:
    """As `/readyz`: 200, or 503 where a required application cannot answer."""
    found = await gateway(request).directory.readiness()
    return fresh({"ready": found.ready}, 200 if found.ready else 503)


@router.get(_MODEL, **_METADATA)
async def metadata(request: Request, model: str) -> Response:
    """What a model takes and gives, of all the tasks that it serves."""
    return tagged(request, models.metadata(models.found(request, model)))


@router.get(_VERSION, **_METADATA)
async def metadata_of_version(request: Request, model: str, version: str) -> Response:
    """The same of one version."""
    return tagged(request, models.metadata(models.found(request, model, version)))


@router.get(f"{_MODEL}/ready", **_READY)
async def model_ready(request: Request, model: str) -> Response:
    """Whether a model can answer: 200, or an error."""
    return fresh({"name": models.available(request, model).name, "ready": True})


@router.get(f"{_VERSION}/ready", **_READY)
async def version_ready(request: Request, model: str, version: str) -> Response:
    """The same of one version."""
    return fresh({"name": models.available(request, model, version).name, "ready": True})


@router.get(f"{_MODEL}/config", **door(dict[str, Any], examples.CONFIG, errors=READ_ERRORS))
async def config(request: Request, model: str) -> Response:
    """A model's tensors as Triton's configuration has them."""
    return tagged(request, models.config(models.found(request, model)))


@router.post(f"{_MODEL}/infer", **_INFER)
async def infer(request: Request, model: str) -> Response:
    """Segment an image. `parameters`: `task` (default: `promptable` where prompts came, else the first of semantic,
    panoptic and instance that the model serves), and the task's own options. `masks` of semantic and panoptic are made
    where they are asked for. The binary extension is taken and given."""
    return await _inferred(request, model, None)


@router.post(f"{_VERSION}/infer", **_INFER)
async def infer_by_version(request: Request, model: str, version: str) -> Response:
    """The same by one version."""
    return await _inferred(request, model, version)


@router.post(f"{DOOR}/repository/index", **door(list[wire.RepositoryEntry], examples.REPOSITORY, errors=(401,)))
async def index(request: Request) -> Response:
    """Every served model, as Triton's client asks for them."""
    return tagged(request, models.index(request))


@router.post(f"{DOOR}/repository/models/{{model}}/load", **door(dict[str, Any], {}, errors=(401, 403)))
@router.post(f"{DOOR}/repository/models/{{model}}/unload", **door(dict[str, Any], {}, errors=(401, 403)))
async def change(request: Request, model: str) -> Response:
    """Refused: which models run is said by whoever deploys the platform."""
    gateway(request).identify(request)
    reason = "loading and unloading by API is switched off: models come and go with the applications that are deployed"
    raise Forbidden.of("model", model, reason=reason)


async def _inferred(request: Request, model: str, version: str | None) -> Response:
    here = gateway(request)
    with here.admit(request) as caller:
        served = models.found(request, model, version)
        check_encoding(request)
        body = await read_bytes(request, here.settings.max_body_bytes)
        text, data = split(body, request.headers.get(HEADER_LENGTH))
        asked = await checked(text, here.settings, wire.InferRequest)
        kind, sent = await inputs.native(here, served, asked, binary_parts(asked.inputs, data))
        visit = Visit(here, caller, Stages(here.sink, kind.stage_task))
        found = await ask(request, visit, kind, sent)
        with visit.stages.stage("encode"):
            head = {"model_name": served.name, "model_version": found["model_version"]}
            head |= {} if asked.id is None else {"id": asked.id}
            answer, length = written(head, await made(kind.name, found, asked))
        headers = {"Cache-Control": "no-store", "Server-Timing": server_timing(visit.stages.timings())}
        headers |= {} if length is None else {HEADER_LENGTH: str(length)}
        media_type = "application/json" if length is None else "application/octet-stream"
        return Response(answer, headers=headers, media_type=media_type)
