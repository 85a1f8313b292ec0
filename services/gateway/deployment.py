"""The gateway on Ray Serve: `create_app` over the handles of whatever applications run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from services.gateway.app import create_app
from services.gateway.handles import ServeDirectory
from services.gateway.metrics_page import ClusterPage
from shared.serving.ingress import NO_ACCESS_LOG
from shared.serving.leftovers import give_back
from shared.serving.nodes import metrics_endpoints
from shared.serving.sink import RaySink
from shared.settings import settings
from shared.store.opening import open_stores
from shared.telemetry import logs
from shared.telemetry.build import tell_build

OPTIONS: dict[str, Any] = {
    # A new gateway takes over from the old one without a gap.
    "max_surge_percent": 100,
    # Above the gateway's own permits (`SEGSERVE_MAX_CONCURRENT_REQUESTS`), which refuse first and say how to go on.
    "max_ongoing_requests": 2048,
    "graceful_shutdown_wait_loop_s": 0.5,
    "graceful_shutdown_timeout_s": 60,
    "health_check_period_s": 10,
    "health_check_timeout_s": 30,
    "logging_config": NO_ACCESS_LOG,
}


class GatewayArgs(BaseModel):
    """The gateway has no arguments: what it does is in its settings (`SEGSERVE_*`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewayReplica:
    """The FastAPI application in a replica, with the task that follows what is served."""

    def __init__(self) -> None:
        here = settings()
        logs.configure(here.log_level)
        self._settings, self._sink = here, RaySink()
        tell_build(self._sink)
        self._directory = ServeDirectory(here.required_models)
        self._stores = open_stores(here, self._sink)
        self._following = asyncio.get_running_loop().create_task(self._directory.follow())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve in the replica: the application itself never travels, and its life ends with the replica."""
        page, stores = cluster_page(), self._stores
        closes = (stores.close, page.close)
        app = create_app(self._settings, self._directory, stores.images, self._sink, page.render, closes, stores.jobs)
        give_back()
        return app

    async def check_health(self) -> None:
        """Raises when the gateway no longer follows what is served. Serve asks once before the first request: that is
        answered when the models are known, since a new gateway takes the place of one that knows them."""
        await self._directory.known()
        if self._following.done():
            raise RuntimeError("the directory of models is no longer followed") from self._following.exception()


def found_again(deployment: Any, name: str, module: str) -> Any:
    """The class under the name by which it is found again in the replica, instead of travelling there."""
    deployment.__qualname__ = deployment.__name__ = name
    deployment.__module__ = module
    return deployment


GatewayDeployment = found_again(serve.ingress()(GatewayReplica), "GatewayDeployment", __name__)


def build(args: dict[str, Any]) -> Application:
    """What `import_path: services.gateway.deployment:build` runs. Its deployment is named `Gateway`."""
    GatewayArgs.model_validate(args)
    return serve.deployment(name="Gateway", **OPTIONS)(GatewayDeployment).bind()


def cluster_page() -> ClusterPage:
    """What `GET /metrics` of this process shows."""
    return ClusterPage(_pages)


async def _pages() -> Sequence[str]:
    """The metrics pages that the settings name, else those of every living node."""
    return settings().metrics_endpoints or await metrics_endpoints()
