"""Label Studio's machine learning backend: a task and what was clicked in, brush strokes of the mask out.

Label Studio appends `predict`, `setup` and `health` to the URL that it is given. The image is a `data:` URI, the id of
a stored image, or a URL where the server fetches any. Percentages of the image become its pixels.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.body import Sent
from services.gateway.context import Gateway, gateway
from services.gateway.fields import IMAGE_ID, IMAGE_URL, shown
from services.gateway.responses import fresh
from services.gateway.routes.compat.documentation import door, json_of
from services.gateway.routes.compat.door import Visit, answered, each_mask, json_fields
from services.gateway.routes.compat.prompted import ask_prompts, best_masks
from services.gateway.uploads import from_base64
from shared.errors import InvalidOption, told_of
from shared.imaging.brush import brush_rle
from shared.schemas import door_examples as examples
from shared.schemas import label_studio as wire
from shared.telemetry.stages import Stages

DOOR = "/label-studio"
_HEALTH = door(wire.BackendHealth, examples.BACKEND_HEALTH, errors=())
_SETUP = door(wire.BackendSetup, examples.BACKEND_SETUP)
_PREDICT = door(wire.Predictions, examples.PREDICTIONS, json_of(wire.PredictFields, examples.PREDICT))
_TAG = re.compile(r"<(BrushLabels|Image)\b([^<>]*)>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*["']([^"']*)["']""")

router = APIRouter(tags=["compatible"])


@router.get(f"{DOOR}/health", **_HEALTH)
@router.get(f"{DOOR}/{{model}}/health", **_HEALTH)
async def health() -> Response:
    """The backend is up. In Label Studio, add the model `http://HOST/label-studio`, or `.../label-studio/MODEL`; an API
    key is the password of its basic authentication."""
    return fresh({"status": "UP", "model_class": "SegServe"})


@router.post(f"{DOOR}/setup", **_SETUP)
async def setup(request: Request) -> Response:
    """Which model answers."""
    return _told_version(request, None)


@router.post(f"{DOOR}/{{model}}/setup", **_SETUP)
async def setup_by(request: Request, model: str) -> Response:
    """The same by a model of your choice."""
    return _told_version(request, model)


@router.post(f"{DOOR}/predict", **_PREDICT)
async def predict(request: Request) -> Response:
    """The mask under a smart keypoint or inside a smart rectangle, as a brush region; before any there is none."""
    return await _predicted(request, None)


@router.post(f"{DOOR}/{{model}}/predict", **_PREDICT)
async def predict_by(request: Request, model: str) -> Response:
    """The same by a model of your choice: `name` or `name@version`."""
    return await _predicted(request, model)


def _told_version(request: Request, model: str | None) -> Response:
    here = gateway(request)
    here.identify(request)
    return fresh({"model_version": _version(here, model)})


def _version(here: Gateway, model: str | None) -> str:
    info = here.directory.promptable(model).describe()
    return f"{info.name}@{info.version}"


async def _predicted(request: Request, model: str | None) -> Response:
    here = gateway(request)
    with here.admit(request) as caller:
        asked = await json_fields(request, here.settings, wire.PredictFields)
        version = _version(here, model)
        regions = asked.params.context.result if asked.params.context else []
        if not regions:
            return fresh({"results": [], "model_version": version})
        tags = _tags(asked.label_config)
        visit = Visit(here, caller, Stages(here.sink, "promptable"))
        prompt = _prompt(regions)
        sent = await _image(asked.tasks[0].data.get(tags["Image"]["value"].removeprefix("$")))
        found = await ask_prompts(request, visit, model, sent, [prompt])
        with visit.stages.stage("encode"):
            results = await _results(found, tags["BrushLabels"], regions[-1].label())
            score = max((each["score"] for each in results), default=0.0)
            prediction = {"result": results, "score": score, "model_version": version}
            return answered({"results": [prediction], "model_version": version}, visit)


def _tags(label_config: str) -> dict[str, dict[str, str]]:
    """Attributes of the first image and brush of a labeling configuration. Raises `InvalidOption`."""
    found: dict[str, dict[str, str]] = {}
    for name, attributes in _TAG.findall(label_config):
        found.setdefault(name, dict(_ATTRIBUTE.findall(attributes)))
    for name, wanted in (("Image", {"value"}), ("BrushLabels", {"name", "toName"})):
        if not wanted <= found.get(name, {}).keys():
            raise InvalidOption.of("label_config", name, ", ".join(sorted(wanted)), f"needs a tag {name}")
    return found


def _prompt(regions: list[wire.Region]) -> dict[str, Any]:
    """What was clicked and drawn so far as one prompt, in pixels. Raises `InvalidOption` for other regions."""
    prompt: dict[str, Any] = {}
    for index, region in enumerate(regions):
        width, height = region.original_width, region.original_height
        x, y = region.value.x * width / 100, region.value.y * height / 100
        if region.type == "rectanglelabels":
            sides = (region.value.width or 0.0) * width / 100, (region.value.height or 0.0) * height / 100
            prompt["box"] = [x, y, min(x + sides[0], width), min(y + sides[1], height)]
        elif region.type == "keypointlabels":
            prompt.setdefault("points", []).append([x, y])
            prompt.setdefault("labels", []).append(int(region.is_positive is not False))
        else:
            name = f"params.context.result[{index}].type"
            raise InvalidOption.of(
                name, region.type, "keypointlabels, rectanglelabels", "takes keypoints and rectangles"
            )
    return prompt


async def _image(value: Any) -> Sent:
    """Where the image is, by what the task's data says. Raises `InvalidOption` or `Malformed`."""
    name = "tasks[0].data"
    if not isinstance(value, str):
        raise InvalidOption.of(name, shown(value), None, "has no image under the name that label_config says")
    if value.startswith("data:"):
        with told_of(name):
            return Sent(images=(await from_base64(value, name),))
    if value.startswith("sha256:"):
        return Sent(values={IMAGE_ID: value})
    if value.startswith(("https://", "http://")):
        return Sent(values={IMAGE_URL: value})
    reason = (
        "should be a whole URL, a data: URI or the id of a stored image: paths of Label Studio's own are not followed"
    )
    raise InvalidOption.of(name, shown(value), "https://, http://, data:, sha256:", reason)


async def _results(found: dict[str, Any], brush: dict[str, str], label: str) -> list[dict[str, Any]]:
    masks = best_masks(found)
    packed = await each_mask([mask["rle"] for mask in masks], brush_rle)
    return [
        {
            "id": uuid.uuid4().hex[:10],
            "from_name": brush["name"],
            "to_name": brush["toName"],
            "original_width": found["width"],
            "original_height": found["height"],
            "image_rotation": 0,
            "type": "brushlabels",
            "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
            "score": mask["predicted_iou"],
            "readonly": False,
        }
        for mask, rle in zip(masks, packed, strict=True)
    ]
