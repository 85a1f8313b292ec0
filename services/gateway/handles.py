"""The model directory over Ray Serve: follows the applications that run, and calls them over their handles.

Serve's status is polled in a thread. A new application is asked what it serves and then appears; one that changed is
asked again; one that is being deleted disappears. Every call has our errors (`shared.serving.remote`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve._private.common import DeploymentStatus, ReplicaState
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from services.gateway.backends import ApplicationState, Readiness, select
from shared.calls import Answer, DenseCall, EmbedAnswer, EmbedCall, EverythingCall, ModelInfo, PromptCall, StreamEvent
from shared.errors import ModelNotFound, ModelUnavailable, SegServeError
from shared.protocols import DenseService, PromptableService
from shared.serving.remote import call, stream
from shared.serving.statuses import statuses
from shared.serving.straight import Lines, Spread, Straight
from shared.types import DenseTask, Task

logger = logging.getLogger(__name__)

CHANGING_POLL_S = 0.5
SETTLED_POLL_S = 5.0
"""How often Serve's status is read: often while an application changes; each reading costs some CPU."""
DESCRIBE_S = 10.0
"""How long an application may take to say what it serves."""
PATIENCE_S = 0.5
"""How much of that a reading of Serve's status waits for: the others' next change is read after it."""
STARTING_S = 2.0
"""When a caller may ask again for a model that may be starting."""
DENSE_DEPLOYMENTS = ("Semantic", "Instance", "Panoptic")
PROMPTABLE_DEPLOYMENT = "Decoder"
"""Deployment names by which an application is known to serve a model, and where its calls go."""


LINE_BYTES = 2**20
"""An image of more bytes goes by the handle: Serve's part of a call is small beside it."""


class DenseOverHandle:
    """`DenseService` of another process, of which `replicas` says how many run."""

    def __init__(
        self, handle: DeploymentHandle[Any], info: ModelInfo, lines: Lines, replicas: Callable[[], int]
    ) -> None:
        self._handle, self._info = handle, info
        self._spread = Spread(handle, "segment", "introduced", lines, replicas)

    def describe(self) -> ModelInfo:
        """What it said of itself when it was last asked."""
        return self._info

    async def segment(self, request: DenseCall) -> Answer:
        """Raises `shared.errors` only."""
        deadline, behind = request.caller.deadline, request.options.effect.background_image
        answer: Answer
        if len(request.image) + len(behind or b"") <= LINE_BYTES:
            answer = await self._spread.call(request, deadline=deadline)
        else:
            answer = await call(self._handle, "segment", request, deadline=deadline)
        return answer


class PromptableOverHandle:
    """`PromptableService` of another process: an image's calls go to the replica that its id hashes to, whose memory
    has its embedding. Clicks, which are small and many, go straight to it once it is known."""

    def __init__(self, handle: DeploymentHandle[Any], info: ModelInfo, lines: Lines) -> None:
        self._handle, self._info = handle, info
        self._clicks = Straight(handle, "segment", "introduced", lines)

    def describe(self) -> ModelInfo:
        """What it said of itself when it was last asked."""
        return self._info

    async def segment(self, request: PromptCall) -> Answer:
        """Raises `shared.errors` only."""
        deadline, key = request.caller.deadline, request.image_id
        answer: Answer
        if request.image is None and request.options.effect.background_image is None:
            answer = await self._clicks.call(request, deadline=deadline, key=key)
        else:
            answer = await call(self._handle, "segment", request, deadline=deadline, key=key)
        return answer

    async def everything(self, request: EverythingCall) -> AsyncGenerator[StreamEvent | Answer, None]:
        """Raises `shared.errors` only."""
        call_deadline, key = request.caller.deadline, request.image_id
        async with aclosing(stream(self._handle, "everything", request, deadline=call_deadline, key=key)) as items:
            async for item in items:
                yield item

    async def embed(self, request: EmbedCall) -> EmbedAnswer:
        """Raises `shared.errors` only."""
        answer: EmbedAnswer = await call(
            self._handle, "embed", request, deadline=request.caller.deadline, key=request.image_id
        )
        return answer


@dataclasses.dataclass(slots=True)
class _Application:
    """One model's application: its last status, and what it serves once it has said so."""

    status: ApplicationStatusOverview
    described: ApplicationStatusOverview | None = None
    info: ModelInfo | None = None
    dense: DenseService | None = None
    promptable: PromptableService | None = None
    asking: asyncio.Task[None] | None = None
    """While it is asked what it serves."""

    @property
    def is_starting(self) -> bool:
        """Whether what it serves is not known yet, and will be."""
        return self.info is None and self.status.status != ApplicationStatus.DEPLOY_FAILED


class ServeDirectory:
    """`ModelDirectory` of a cluster. `follow` must run as a task for as long as the directory is used."""

    def __init__(self, required: Sequence[str] = ()) -> None:
        self._required = required
        self._applications: dict[str, _Application] = {}
        self._handles: dict[tuple[str, str], DeploymentHandle[Any]] = {}
        self._lines = Lines()
        self._unread = False
        """Whether Serve still reads an application, and nobody knows what it will serve."""
        self._looked = asyncio.Event()
        """Set once Serve's status was read, and what runs then has said what it serves or had the time to."""

    async def follow(self) -> None:
        """Poll until cancelled. A poll that fails leaves what is known as it is."""
        while True:
            try:
                await self.refresh()
            except Exception:
                logger.exception("could not read the state of Serve")
            await asyncio.sleep(SETTLED_POLL_S if self._settled() else CHANGING_POLL_S)

    def _settled(self) -> bool:
        """Whether every application runs and has said what it serves since it last changed."""
        return bool(self._applications) and all(
            (item.described == item.status or (item.info is not None and not _replicas(item.status)))
            and item.status.status == ApplicationStatus.RUNNING
            for item in self._applications.values()
        )

    async def refresh(self) -> None:
        """Read Serve's status once and have what is new or changed described. After the first time without waiting
        long for it: who says nothing keeps nobody else from being known."""
        found = await asyncio.to_thread(statuses)
        known, self._applications, self._unread = self._applications, {}, False
        for name, overview in found.items():
            application = known.get(name) or _Application(overview)
            if not overview.deployments:
                # While Serve reads an application anew it lists none, and its replicas go on as before.
                overview = dataclasses.replace(overview, deployments=application.status.deployments)
            self._unread |= not overview.deployments and overview.status == ApplicationStatus.DEPLOYING
            if overview.status != ApplicationStatus.DELETING and _service_deployment(overview):
                application.status = overview
                self._applications[name] = application
        if asking := [task for name, item in self._applications.items() if (task := self._asked(name, item))]:
            await asyncio.wait(asking, timeout=PATIENCE_S if self._looked.is_set() else DESCRIBE_S)
        self._looked.set()

    def _asked(self, name: str, application: _Application) -> asyncio.Task[None] | None:
        """The task that asks this application what it serves, begun unless nothing changed since it last said so. One
        that is at zero and has never said it is asked all the same, which wakes it: nobody could ask for a model that
        is not known."""
        overview = application.status
        if application.asking is None and overview != application.described:
            unknown_at_zero = application.info is None and overview.status == ApplicationStatus.RUNNING
            if _replicas(overview) or (unknown_at_zero and _at_zero(overview)):
                application.asking = asyncio.create_task(self._describe(name, application))
        return application.asking

    async def _describe(self, name: str, application: _Application) -> None:
        """Ask, and put what it says in place of what it served before."""
        try:
            overview = application.status
            deployment = _service_deployment(overview)
            if deployment is None:
                return
            handle = await self._handle(name, deployment)
            info: ModelInfo = await call(handle, "describe", deadline=time.time() + DESCRIBE_S)
            if info != application.info:
                logger.info("application %s serves %s@%s for %s", name, info.name, info.version, ", ".join(info.tasks))
            application.info, application.described = info, overview
            application.dense = application.promptable = None  # what it served before may have been the other
            if deployment == PROMPTABLE_DEPLOYMENT:
                application.promptable = PromptableOverHandle(handle, info, self._lines)
            else:
                application.dense = DenseOverHandle(handle, info, self._lines, lambda: _replicas(application.status))
        except SegServeError as error:
            logger.warning("application %s does not say what it serves: %s", name, error.message)
        except Exception:
            logger.exception("application %s cannot be asked what it serves", name)
        finally:
            application.asking = None

    async def _handle(self, name: str, deployment: str) -> DeploymentHandle[Any]:
        handle = self._handles.get((name, deployment))
        if handle is None:
            handle = await asyncio.to_thread(serve.get_deployment_handle, deployment, name)
            self._handles[name, deployment] = handle
        return handle

    def models(self) -> Sequence[ModelInfo]:
        """Every model that has said what it serves."""
        return [item.info for item in self._applications.values() if item.info]

    def dense(self, task: DenseTask, model: str | None) -> DenseService:
        """The service for `model`. Raises `ModelNotFound`, or `ModelUnavailable` while it may be one that starts."""
        services = [item.dense for item in self._applications.values() if item.dense]
        return services[self._selected([service.describe() for service in services], task, model)]

    def promptable(self, model: str | None) -> PromptableService:
        """The promptable service for `model`. Raises as `dense` does."""
        services = [item.promptable for item in self._applications.values() if item.promptable]
        return services[self._selected([service.describe() for service in services], "promptable", model)]

    def _selected(self, models: Sequence[ModelInfo], task: Task, model: str | None) -> int:
        """`select`, but that nobody can say of a model that it is not served while an application has yet to say what
        it serves."""
        try:
            return select(models, task, model)
        except ModelNotFound:
            if self._unread or any(item.is_starting for item in self._applications.values()):
                raise ModelUnavailable("A model is still starting: try again.", retry_after_s=STARTING_S) from None
            raise

    async def known(self) -> None:
        """See `ModelDirectory`."""
        await self._looked.wait()

    async def readiness(self) -> Readiness:
        """State of every application as last polled; required ones must have a replica or be at zero on purpose. Not
        ready while Serve still reads what will be the first model."""
        states: dict[str, ApplicationState] = {}
        ready = self._looked.is_set() and bool(self._applications or not self._unread)
        for name, item in self._applications.items():
            status = item.status
            states[name] = ApplicationState(status.status.value, _replicas(status), _told(status.message))
            if not self._required or (item.info and item.info.name in self._required):
                ready = ready and item.info is not None and (_replicas(status) > 0 or _at_zero(status))
        served = {info.name for info in self.models()}
        for name in set(self._required) - served:
            states[name] = ApplicationState("MISSING", 0, "required, and no application serves it")
            ready = False
        return Readiness(ready, states)


def _told(message: str) -> str:
    """Serve's message without the traceback that it may end in: nobody is asked for a key to see this."""
    first = message.partition("Traceback (most recent call last)")[0].partition("\n")[0].strip().rstrip(":")
    return first or (message and "Serve's log says why")


def _service_deployment(overview: ApplicationStatusOverview) -> str | None:
    """The deployment that takes a model application's calls; None for other applications."""
    return next((name for name in (*DENSE_DEPLOYMENTS, PROMPTABLE_DEPLOYMENT) if name in overview.deployments), None)


def _replicas(overview: ApplicationStatusOverview) -> int:
    """How many requests' worth of whole applications run: the fewest running replicas of any of its deployments."""
    return min((item.replica_states.get(ReplicaState.RUNNING, 0) for item in overview.deployments.values()), default=0)


def _at_zero(overview: ApplicationStatusOverview) -> bool:
    """Whether it has no replica because it is scaled to zero: Serve is content, and nothing starts or stops."""
    return all(
        item.status == DeploymentStatus.HEALTHY
        and (not item.replica_states or ReplicaState.RUNNING in item.replica_states)
        for item in overview.deployments.values()
    )
