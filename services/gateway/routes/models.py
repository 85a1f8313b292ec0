"""`/v1/models` and `/v1/labels`: what is served, and what its label ids mean. Both carry an `ETag`.

Label spaces are files, read when first asked for: those routes are plain functions, which run in a thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.backends import newest
from services.gateway.context import gateway
from services.gateway.openapi import answers
from services.gateway.responses import tagged
from shared.calls import ModelInfo
from shared.errors import ModelNotFound, NotFound, detail
from shared.labels import label_space, label_spaces
from shared.schemas.resources import LabelSpaceAnswer, LabelSpacesAnswer, ModelEntry, ModelsAnswer

router = APIRouter(tags=["models"])


@router.get("/v1/models", **answers(ModelsAnswer, (401,)))
async def models(request: Request) -> Response:
    """Every model that is served just now."""
    return tagged(request, {"models": [_entry(info) for info in _served(request)]})


@router.get("/v1/models/{name}", **answers(ModelEntry, (401, 404)))
async def model(request: Request, name: str) -> Response:
    """One served model, by `name` (then its newest version) or `name@version`."""
    served = _served(request)
    bare, at, version = name.partition("@")
    found = [info for info in served if info.name == bare and (not at or version == info.version)]
    if not found:
        names = ", ".join(dict.fromkeys(info.name for info in served)) or "none"
        raise ModelNotFound(details=(detail("name", name, names, "no such model is served"),))
    return tagged(request, _entry(max(found, key=newest)))


@router.get("/v1/labels", **answers(LabelSpacesAnswer, (401,)))
def labels(request: Request) -> Response:
    """Every label space, by name."""
    gateway(request).identify(request)
    spaces = [{"name": name, "count": len(label_space(name).labels)} for name in label_spaces()]
    return tagged(request, {"label_spaces": spaces})


@router.get("/v1/labels/{space}", **answers(LabelSpaceAnswer, (401, 404)))
def labels_of(request: Request, space: str) -> Response:
    """One label space; a `label_id` of an answer is the index in `labels`."""
    gateway(request).identify(request)
    if space not in label_spaces():
        known = ", ".join(label_spaces())
        raise NotFound.of("space", space, known, f"no such label space; there are {known}")
    found = label_space(space)
    entries = [
        {
            "label_id": index,
            "name": label.name,
            "category_id": found.category_id(index),
            "isthing": label.isthing,
            "color": list(label.color),
        }
        for index, label in enumerate(found.labels)
    ]
    return tagged(request, {"name": space, "void": found.void, "labels": entries})


def _served(request: Request) -> list[ModelInfo]:
    """Every served model once, with the tasks of all applications that serve this version of it."""
    here = gateway(request)
    here.identify(request)
    found: dict[tuple[str, str], ModelInfo] = {}
    for info in here.directory.models():
        known = found.get((info.name, info.version))
        found[info.name, info.version] = info if known is None else _joined(known, info)
    return list(found.values())


def _joined(one: ModelInfo, other: ModelInfo) -> ModelInfo:
    return replace(
        one,
        tasks=tuple(dict.fromkeys((*one.tasks, *other.tasks))),
        default_for=tuple(dict.fromkeys((*one.default_for, *other.default_for))),
        encoder_fingerprint=one.encoder_fingerprint or other.encoder_fingerprint,
        text_prompts=one.text_prompts or other.text_prompts,
        tta=one.tta or other.tta,
        crf=one.crf or other.crf,
    )


def _entry(info: ModelInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "version": info.version,
        "tasks": info.tasks,
        "default_for": info.default_for,
        "label_space": info.label_space,
        "weights_sha256": info.weights_sha256,
        "engine": info.engine,
        "precision": info.precision,
        "parameters": info.parameters,
        "licence": info.licence,
        "summary": info.summary,
        "paper": info.paper,
        "text_prompts": info.text_prompts,
        "tta": info.tta,
        "crf": info.crf,
        "encoder_fingerprint": info.encoder_fingerprint,
        "figures": dict(info.figures),
    }
