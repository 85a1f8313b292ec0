"""A model inside a Serve replica: loaded and warmed at the start, then calls are passed to its pipelines.

A refusal (bad input, overload, deadline) is returned as a value, not raised, so that Serve neither logs a traceback
nor counts an error for it; only failures of ours are raised.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

from ray import serve
from ray.serve import Application

from shared.calls import Answer, DenseCall, ModelInfo
from shared.errors import InternalError, ModelNotFound, SegServeError
from shared.protocols import DenseService
from shared.serving.args import ServiceArgs, UserConfig
from shared.serving.assembly import LoadedCard, assemble_dense
from shared.serving.ingress import NO_ACCESS_LOG
from shared.serving.leftovers import give_back
from shared.serving.sink import RaySink
from shared.serving.straight import Introduced, Introduction
from shared.settings import settings
from shared.telemetry import logs
from shared.telemetry.build import tell_build
from shared.types import DenseTask

Result = TypeVar("Result")
LIVE_OPTIONS = ("score_threshold", "min_confidence", "max_instances")
"""Options of a request that `user_config` may give a default to."""
logger = logging.getLogger(__name__)

DEPLOYMENT_OPTIONS: dict[str, Any] = {
    # A new version starts beside the old one and takes over when it is warm; 0 would stop the only replica first.
    "max_surge_percent": 100,
    # Far above any batch cap, so that batches can fill; our own permits and queue refuse long before.
    "max_ongoing_requests": 512,
    "max_queued_requests": 4096,
    # A stopping replica finishes what it has: looked at every half second, for a minute at most.
    "graceful_shutdown_wait_loop_s": 0.5,
    "graceful_shutdown_timeout_s": 60,
    # An empty configuration is applied too, so that what an earlier one changed is undone.
    "user_config": {},
    "health_check_period_s": 10,
    "health_check_timeout_s": 60,
    # A model that does not load will not load the twentieth time either.
    "max_constructor_retry_count": 3,
    "logging_config": NO_ACCESS_LOG,
}
"""What every model's deployment begins with; the Serve YAML may say otherwise for each."""


async def refusal_as_value(request_id: str, work: Awaitable[Result]) -> Result | SegServeError:
    """The result, or the refusal as a value; logged under the request's id. Raises `InternalError` and what is not
    ours."""
    with logs.bound(request_id):
        try:
            return await work
        except InternalError:
            raise
        except SegServeError as error:
            return error


async def refusal_as_item(request_id: str, items: AsyncIterator[Result]) -> AsyncIterator[Result | SegServeError]:
    """The items; a refusal comes as the last one. Raises `InternalError` and what is not ours."""
    logs.request_id.set(request_id)  # never reset: Serve runs each request in a task of its own
    try:
        async for item in items:
            yield item
    except InternalError:
        raise
    except SegServeError as error:
        yield error


class ModelReplica:
    """What every replica of a model answers to Serve and to the gateway. Subclasses set `loaded` and define no
    `__call__`: Serve's own HTTP ports reach nothing here."""

    loaded: LoadedCard
    _introduction: Introduction | None = None

    def __init__(self, args: ServiceArgs) -> None:
        self.args = args
        self.settings = settings()
        logs.configure(self.settings.log_level)
        self.sink = RaySink()
        tell_build(self.sink)
        self.live: UserConfig | None = None

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Apply `user_config`. At the start a bad one raises `ValidationError` or `ValueError` naming the field; a
        replica that serves already keeps what it has and logs the error, since Serve would stop it for raising."""
        try:
            live = self.args.live(config)
        except ValueError:
            if self.live is None:
                raise
            logger.exception("user_config is not valid: %s keeps the one it has", self.loaded.info.name)
            return
        self.loaded.reconfigure(live)
        if self.live is None:
            give_back()
        self.live = live

    async def check_health(self) -> None:
        """Raises when the model no longer answers; Serve then replaces the replica."""
        await self.loaded.pulse.check()

    async def describe(self) -> ModelInfo:
        """What this application serves."""
        return self.loaded.info

    def __del__(self) -> Awaitable[None] | None:
        """Called by Serve when the replica has answered its last request; it awaits what is returned."""
        if self._introduction is not None:
            self._introduction.close()
        return None


class DenseReplica(ModelReplica):
    """The dense tasks of one model."""

    _introduction: Introduction

    def __init__(self, args: ServiceArgs) -> None:
        super().__init__(args)
        assembly = assemble_dense(args, self.settings, self.sink)
        self.loaded, self._service = assembly.loaded, LiveDense(self, assembly.services)
        self._introduction = Introduction("segment", self.segment)

    async def segment(self, call: DenseCall) -> Answer | SegServeError:
        """An encoded answer, or the refusal."""
        return await refusal_as_value(call.caller.request_id, self._service.segment(call))

    async def introduced(self, call: DenseCall) -> Introduced | SegServeError:
        """`segment`, and where the next calls may come straight to."""
        return await self._introduction.answer(call)


class LiveDense:
    """The dense tasks of a replica's model as one `DenseService`, with the replica's live defaults."""

    def __init__(self, replica: ModelReplica, services: Mapping[DenseTask, DenseService]) -> None:
        self._replica, self._services = replica, services

    def describe(self) -> ModelInfo:
        """What this application serves."""
        return self._replica.loaded.info

    async def segment(self, call: DenseCall) -> Answer:
        """Raises `ModelNotFound` for a task that this application does not serve, and what the pipeline raises."""
        service = self._services.get(call.task)
        if service is None:
            raise ModelNotFound.of("model", self.describe().name, reason=f"does not serve {call.task}")
        return await service.segment(self._with_defaults(call))

    def _with_defaults(self, call: DenseCall) -> DenseCall:
        """The call with the live defaults where it leaves an option open."""
        live = self._replica.live or UserConfig()
        options = {name: getattr(live, name) for name in LIVE_OPTIONS if getattr(call.options, name) is None}
        options = {name: value for name, value in options.items() if value is not None}
        return dataclasses.replace(call, options=dataclasses.replace(call.options, **options)) if options else call


def dense_application(name: str, task: DenseTask, args: ServiceArgs) -> Application:
    """The application of a dense service: one deployment, `name`, serving `task` unless `args.tasks` says more."""
    chosen = args.model_copy(update={"tasks": args.tasks or (task,)})
    return serve.deployment(name=name, **DEPLOYMENT_OPTIONS)(DenseReplica).bind(chosen)
