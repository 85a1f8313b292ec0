"""The gateway's view of what is served: a directory of models, each resolved to a typed service.

Task and model name in, a service out. Two implementations: `handles.py` over Ray Serve, `inprocess.py` in this process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.calls import ModelInfo
from shared.errors import InvalidOption, ModelNotFound, detail
from shared.protocols import DenseService, PromptableService
from shared.types import DenseTask, Task


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """One application as `/readyz` shows it: its status in the backend's words, healthy replicas, and why."""

    status: str
    replicas: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether every required application can answer (or is at zero on purpose), and each one's state by name."""

    ready: bool
    applications: Mapping[str, ApplicationState] = field(default_factory=dict)


class ModelDirectory(Protocol):
    """What is served just now. An implementation follows models that come and go by itself.

    `models`, `dense` and `promptable` never block and never wait: they answer from what the directory knows already.
    A model that serves its tasks from several applications appears once for each, with that application's tasks.
    """

    def models(self) -> Sequence[ModelInfo]:
        """Every served model, in the order of the deployment."""
        ...

    def dense(self, task: DenseTask, model: str | None) -> DenseService:
        """The service for `model` (`name` or `name@version`; None: the task's default). Raises `ModelNotFound`, or
        `ModelUnavailable` while it may be one that starts."""
        ...

    def promptable(self, model: str | None) -> PromptableService:
        """The promptable service for `model`, chosen as in `dense`; raises as it does."""
        ...

    async def known(self) -> None:
        """Return once it is known what is served: whoever asks before may be told of a model that there is none."""
        ...

    async def readiness(self) -> Readiness:
        """Ask the backend for the state of every application."""
        ...


def select(models: Iterable[ModelInfo], task: Task, model: str | None) -> int:
    """The index in `models` of the one that answers `task` when a request names `model`.

    None is the model that is `default_for` the task, else the only one. A bare name with several versions is the
    default one of them, else the highest version. Raises `ModelNotFound` naming what is served for the task, and
    `InvalidOption` for a name that ends in `@`.
    """
    serving = [(index, info) for index, info in enumerate(models) if task in info.tasks]
    name, at, version = (model or "").partition("@")
    if at and not version:
        raise InvalidOption.of("model", model, "name or name@version", "the version is empty")
    candidates = [
        (index, info)
        for index, info in serving
        if model is None or (info.name == name and version in ("", info.version))
    ]
    defaults = [index for index, info in candidates if task in info.default_for]
    if defaults:
        return defaults[0]
    if len(candidates) == 1 or (candidates and model is not None):
        return max(candidates, key=lambda candidate: newest(candidate[1]))[0]
    raise _not_found(task, model, [info for _, info in serving])


def newest(info: ModelInfo) -> list[tuple[int, str]]:
    """A sort key by version, under which "10" follows "9"."""
    parts = re.split(r"(\d+)", info.version)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]


def _not_found(task: Task, model: str | None, serving: Sequence[ModelInfo]) -> ModelNotFound:
    names = ", ".join(dict.fromkeys(info.name for info in serving)) or "none"
    if model is None:
        reason = f"several models serve {task} and none is its default: name one" if serving else f"none serves {task}"
    else:
        reason = f"no such model is served for {task}"
    return ModelNotFound(f"model: {reason}", (detail("model", model, names, reason),))
