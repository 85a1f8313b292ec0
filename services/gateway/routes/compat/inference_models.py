"""Models as the Open Inference Protocol shows them: which there are, and the tensors of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from services.gateway.backends import newest
from services.gateway.context import gateway
from shared.calls import ModelInfo
from shared.errors import ModelNotFound
from shared.types import Task

TASKS: tuple[Task, ...] = ("semantic", "panoptic", "instance", "promptable")
"""The first that a model serves is its own where none is named."""
_IMAGE = ("image", "BYTES", (1,))
_PROMPTS = (("point_coords", "FP32", (-1, -1, 2)), ("point_labels", "INT32", (-1, -1)), ("boxes", "FP32", (-1, 4)))
_MAP, _MASKS, _SCORES, _LABELS = (
    ("label_map", "UINT16", (-1, -1)),
    ("masks", "BOOL", (-1, -1, -1)),
    ("scores", "FP32", (-1,)),
    ("labels", "BYTES", (-1,)),
)
OUTPUTS: Mapping[Task, tuple[tuple[str, str, tuple[int, ...]], ...]] = {
    "semantic": (_MAP, _SCORES, _LABELS, _MASKS),
    "panoptic": (_MAP, _SCORES, _LABELS, _MASKS),
    "instance": (_MASKS, _SCORES, _LABELS),
    "promptable": (_MASKS, _SCORES),
}
"""What each task gives: name, datatype and shape."""
_TRITON = {
    "BYTES": "TYPE_STRING",
    "BOOL": "TYPE_BOOL",
    "FP32": "TYPE_FP32",
    "INT32": "TYPE_INT32",
    "UINT16": "TYPE_UINT16",
}


@dataclass(frozen=True, slots=True)
class Served:
    """A model that was asked for: `versions` of it that are served, its tasks, and how a native call names it."""

    name: str
    model: str
    versions: Sequence[str]
    tasks: Sequence[Task]
    engine: str


def found(request: Request, model: str, version: str | None = None) -> Served:
    """The model of this name to a caller with a key. Raises `Unauthorized` or `ModelNotFound`."""
    infos = _served(request)
    name, _, pinned = model.partition("@")
    version = version or pinned or None
    same = sorted((info for info in infos if info.name == name), key=newest)
    chosen = [info for info in same if version in (None, info.version)]
    if not chosen:
        names = ", ".join(dict.fromkeys(info.name for info in infos)) or "none"
        raise ModelNotFound.of(
            "model", model if version is None else f"{name}@{version}", names, "no such model is served"
        )
    tasks = [task for task in TASKS if any(task in info.tasks for info in chosen)]
    versions = list(dict.fromkeys(info.version for info in same))
    return Served(name, name if version is None else f"{name}@{version}", versions, tasks, chosen[-1].engine)


def available(request: Request, model: str, version: str | None = None) -> Served:
    """The same; raises `ModelUnavailable` too, as its service does where it has no replica."""
    served = found(request, model, version)
    directory = gateway(request).directory
    for task in served.tasks:
        if task == "promptable":
            directory.promptable(served.model)
        else:
            directory.dense(task, served.model)
    return served


def metadata(served: Served) -> dict[str, Any]:
    """Versions and tensors of all its tasks."""
    inputs, outputs = _tensors(served)
    return {
        "name": served.name,
        "versions": served.versions,
        "platform": f"segserve_{served.engine}",
        "inputs": [_shown(*each) for each in inputs],
        "outputs": [_shown(*each) for each in outputs],
    }


def config(served: Served) -> dict[str, Any]:
    """The same in the words of Triton's model configuration."""
    inputs, outputs = _tensors(served)
    return {
        "name": served.name,
        "platform": f"segserve_{served.engine}",
        "backend": "segserve",
        "max_batch_size": 0,
        "input": [{**_configured(*each), "optional": each is not _IMAGE} for each in inputs],
        "output": [_configured(*each) for each in outputs],
    }


def index(request: Request) -> list[dict[str, str]]:
    """Every served model and version once."""
    pairs = dict.fromkeys((info.name, info.version) for info in _served(request))
    return [{"name": name, "version": version, "state": "READY", "reason": ""} for name, version in pairs]


def no_such_output(name: str, task: Task) -> tuple[Any, ...]:
    """What `InvalidOption.of` is told of an output that the task does not have."""
    return name, None, ", ".join(each for each, _, _ in OUTPUTS[task]), f"the task {task} has no such output"


def _tensors(served: Served) -> tuple[Iterable[Any], Iterable[Any]]:
    prompts = _PROMPTS if "promptable" in served.tasks else ()
    return (_IMAGE, *prompts), dict.fromkeys(each for task in served.tasks for each in OUTPUTS[task])


def _shown(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [*shape]}


def _configured(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "data_type": _TRITON[datatype], "dims": [*shape]}


def _served(request: Request) -> Sequence[ModelInfo]:
    here = gateway(request)
    here.identify(request)
    return here.directory.models()
