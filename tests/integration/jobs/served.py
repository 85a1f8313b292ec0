"""A gateway as a process of its own over one tiny service, to be killed: `python -m tests.integration.jobs.served FD`.

Its settings come from the environment, its socket from whoever starts it. The service writes a line to the file
`SERVED_CALLS` when it is asked, and answers once the file `SERVED_HELD` is gone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvicorn

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.calls import DenseCall
from shared.settings import settings
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from tests.unit.gateway.tiny import Brightness, info

CALLS, HELD = "SERVED_CALLS", "SERVED_HELD"


async def held(call: DenseCall) -> None:
    """Says that it was asked, and waits."""
    with Path(os.environ[CALLS]).open("a", encoding="utf-8") as file:  # noqa: ASYNC230
        file.write(f"{os.getpid()} {call.caller.request_id}\n")
    while Path(os.environ[HELD]).exists():  # noqa: ASYNC110, ASYNC240 - another process's doing
        await asyncio.sleep(0.01)


async def page() -> bytes:
    return b""


async def main(descriptor: int) -> None:
    """Serves until it is told to stop."""
    sink = RecordingSink()
    stores = open_stores(settings(), sink)
    directory = InProcessDirectory([Brightness(info("threshold", "semantic"), held)])
    app = create_app(settings(), directory, stores.images, sink, page, (stores.close,), stores.jobs)
    await uvicorn.Server(uvicorn.Config(app, fd=descriptor, log_level="error", ws="none")).serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
