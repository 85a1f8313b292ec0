"""A gateway as a process of its own over one tiny service, to be killed: `python -m tests.integration.jobs.served FD`.

Its settings come from the environment, its socket from whoever starts it. The service writes a line to the file
`SERVED_CALLS` when it is asked, and answers once the file `SERVED_HELD` is gone. A gateway that finds the file
`SERVED_DIES` takes it away and dies when it has made a job, before it says so.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.app import create_app
from services.gateway.doorway import Doorway
from services.gateway.inprocess import InProcessDirectory
from shared.calls import DenseCall
from shared.settings import settings
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from tests.unit.gateway.tiny import Brightness, info

CALLS, HELD, DIES = "SERVED_CALLS", "SERVED_HELD", "SERVED_DIES"


async def held(call: DenseCall) -> None:
    """Says that it was asked, and waits."""
    with Path(os.environ[CALLS]).open("a", encoding="utf-8") as file:  # noqa: ASYNC230
        file.write(f"{os.getpid()} {call.caller.request_id}\n")
    while Path(os.environ[HELD]).exists():  # noqa: ASYNC110, ASYNC240 - another process's doing
        await asyncio.sleep(0.01)


class Mortal:
    """Around a gateway: its end, and what HAProxy asks its health by."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message.get("status") == 202:
                with suppress(FileNotFoundError):
                    os.unlink(os.environ[DIES])
                    os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        healthy = {**scope, "path": "/healthz"} if scope.get("path") == "/-/healthz" else scope
        await self.app(healthy, receive, told)


async def page() -> bytes:
    return b""


async def main(descriptor: int) -> None:
    """Serves until it is told to stop."""
    sink = RecordingSink()
    stores = open_stores(settings(), sink)
    directory = InProcessDirectory([Brightness(info("threshold", "semantic"), held)])
    app = create_app(settings(), directory, stores.images, sink, page, (stores.close,), stores.jobs)
    door = Doorway(Mortal(app), lambda: "gateway")
    await uvicorn.Server(uvicorn.Config(door, fd=descriptor, log_level="error", ws="none")).serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
