"""A gateway over two tiny services, spoken to over ASGI without a socket: `async with running() as gateway`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.protocols import DenseService, PromptableService
from shared.settings import Settings
from shared.store.images_memory import MemoryImageStore
from shared.store.jobs import JobStore
from shared.telemetry.prometheus import PrometheusSink
from shared.telemetry.recording import RecordingSink
from tests.unit.gateway.tiny import Brightness, Wand, info


@dataclass(frozen=True)
class Running:
    """A gateway, a client of it, what it counted, and the store and services behind it."""

    app: FastAPI
    client: httpx.AsyncClient
    sink: RecordingSink
    images: MemoryImageStore
    dense: Brightness
    wand: Wand


@asynccontextmanager
async def running(
    dense: Brightness | None = None,
    wand: Wand | None = None,
    more: tuple[list[DenseService], list[PromptableService]] = ([], []),
    images: type[MemoryImageStore] = MemoryImageStore,
    settings: Settings | None = None,
    jobs: JobStore | None = None,
    directory: type[InProcessDirectory] = InProcessDirectory,
) -> AsyncIterator[Running]:
    """A gateway with these services (by default a threshold and a wand), these settings and this store of jobs."""
    dense = dense or Brightness(info("threshold", "semantic", "panoptic"))
    wand = wand or Wand(info("wand", "promptable"))
    sink = RecordingSink()
    store = images(2**24, 60, sink)
    served = directory([dense, *more[0]], [wand, *more[1]])

    async def page() -> bytes:
        return PrometheusSink().page()

    app = create_app(settings or Settings(), served, store, sink, page, jobs=jobs)
    transport = httpx.ASGITransport(app=app)
    client = httpx.AsyncClient(transport=transport, base_url="http://gateway")
    async with app.router.lifespan_context(app), client:
        yield Running(app, client, sink, store, dense, wand)
