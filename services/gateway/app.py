"""The gateway's wiring: settings, limits, middleware, errors, routes. A request passes the middleware top down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from services.gateway import documentation
from services.gateway.auth import KeyRing
from services.gateway.backends import ModelDirectory
from services.gateway.context import Gateway, MetricsPage
from services.gateway.errors import ErrorAnswers
from services.gateway.fetching import Fetcher
from services.gateway.jobs.worker import working
from services.gateway.limits import Permits
from services.gateway.middleware import AccessMetrics, Arrivals, CallerWatch, ErrorBoundary, InFlight
from services.gateway.routes import (
    everything,
    health,
    instance,
    models,
    panoptic,
    promptable,
    semantic,
    stored_images,
    stream,
)
from services.gateway.routes import jobs as jobs_routes
from services.gateway.routes.compat import cvat, hugging_face, label_studio, open_inference, roboflow
from services.gateway.routes.compat.door import error_text
from services.gateway.routes.plain import direct
from shared.errors import SegServeError
from shared.protocols import Sink
from shared.settings import Settings
from shared.store.images import ImageStore
from shared.store.jobs import JobStore
from shared.store.jobs_memory import MemoryJobStore
from shared.store.opening import caps_of

DESCRIPTION = """Image segmentation over HTTP. Coordinates are pixels of the upright image (after EXIF), the origin at
the top-left corner of the top-left pixel; boxes are `[x0, y0, x1, y1]`, half-open. Every answer has `X-Request-ID`."""

Close = Callable[[], Awaitable[None]]
"""Gives back what the application works with."""

MODULES = (
    promptable,
    semantic,
    instance,
    panoptic,
    everything,
    stream,
    stored_images,
    jobs_routes,
    models,
    health,
    hugging_face,
    open_inference,
    cvat,
    label_studio,
    roboflow,
)
"""Looked through in this order, by Serve too: clicks, the most frequent, come first; the documentation's come last."""

DOORS = dict.fromkeys((each.DOOR for each in (hugging_face, open_inference, cvat, label_studio)), error_text)
"""How errors are written for clients of other servers, by what their paths begin with."""


def create_app(
    settings: Settings,
    directory: ModelDirectory,
    images: ImageStore,
    sink: Sink,
    metrics_page: MetricsPage,
    closes: Sequence[Close] = (),
    jobs: JobStore | None = None,
) -> FastAPI:
    """The whole HTTP interface over these models, these stores and these metrics; `closes` are awaited when it has
    answered its last request. `jobs` None: in this process's memory. They are worked on during its lifespan."""
    routes = [route for module in MODULES for route in module.router.routes]
    errors = ErrorAnswers(sink, routes, DOORS)
    app = FastAPIOffline(
        title="SegServe",
        description=DESCRIPTION,
        redoc_url=None,
        static_url="/docs/static",
        redirect_slashes=False,
        lifespan=_life(closes),
        # Asked of the environment for each request; what we measure is in `shared.telemetry`.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        middleware=[
            Middleware(Arrivals, timeout_s=settings.request_timeout_s),
            Middleware(AccessMetrics, sink=sink, in_flight=InFlight(sink)),
            Middleware(ErrorBoundary, answers=errors),
            Middleware(CallerWatch, sink=sink),
        ],
        exception_handlers=dict.fromkeys((SegServeError, HTTPException, RequestValidationError), errors.handle),
    )
    app.state.gateway = Gateway(
        settings=settings,
        directory=directory,
        images=images,
        jobs=jobs or MemoryJobStore(caps_of(settings), settings.job_memory_bytes),
        sink=sink,
        metrics_page=metrics_page,
        keys=KeyRing(settings.api_keys),
        permits=Permits(settings.max_concurrent_requests, settings.max_concurrent_per_tenant),
        streams=Permits(settings.max_streams, settings.max_streams),
        waits=Permits(settings.max_streams, settings.max_streams),
        errors=errors,
        fetcher=Fetcher(settings, sink),
    )

    ahead = len(app.router.routes)
    for module in MODULES:
        app.include_router(module.router)
    app.router.routes[:] = [*app.router.routes[ahead:], *app.router.routes[:ahead]]
    _answer_heads(app, [*routes, *app.routes])
    documentation.complete(app)
    direct(app, routes)
    return app


def _answer_heads(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Whatever can be got can be asked about: `HEAD` wherever there is `GET`."""
    for route in routes:
        if isinstance(route, APIRoute) and route.methods == {"GET"}:
            app.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)


def _life(closes: Sequence[Close]) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """An application's life: it works on jobs, and ends with each of `closes`, whatever another of them raises."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for close in closes:
                stack.push_async_callback(close)
            await stack.enter_async_context(working(app.state.gateway, jobs_routes.KINDS))
            yield

    return life
