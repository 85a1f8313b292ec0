"""A process with its own Ray and one tiny application, told what to do line by line: what the metrics tests watch.

Lines in: `send N` (N calls at once) or `endpoints`. Lines out: JSON. The end of its input ends Ray and the process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import serve

from deploy import node
from shared.serving.batcher import Batcher
from shared.serving.nodes import metrics_endpoints
from shared.serving.sink import RaySink

MAX_BATCH = 8
PASS_S = 0.02


class Tiny:
    """A replica with the platform's own batcher and sink. The sink travels here from the driver, as an argument."""

    def __init__(self, sink: RaySink) -> None:
        sink.gauge("segserve_build_info", 1, version="test", python="3")
        self._missing = 0
        self._all_here = threading.Event()
        self._batcher = Batcher(
            self._double,
            max_batch=MAX_BATCH,
            max_cost=1000,
            max_queue=200,
            cost=lambda item: 1,
            sink=sink,
            model="tiny",
            role="semantic",
        )

    def _double(self, batch: Sequence[int]) -> list[int]:
        """The model: its passes end when every expected call is here, so that the calls pile up on any machine."""
        self._all_here.wait()
        time.sleep(PASS_S)
        return [2 * item for item in batch]

    async def expect(self, calls: int) -> None:
        """So many calls will come."""
        self._missing = calls
        self._all_here.clear()

    async def predict(self, item: int) -> int:
        """Twice the number."""
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
        return await self._batcher.submit(item)

    async def endpoints(self) -> list[str]:
        """The metrics pages, as a replica sees them."""
        return await metrics_endpoints()


async def answer(line: str, handle: Any) -> object:
    """What one line asks for."""
    command, _, argument = line.strip().partition(" ")
    if command == "send":
        await handle.expect.remote(int(argument))
        return await asyncio.gather(*(handle.predict.remote(item) for item in range(int(argument))))
    return await handle.endpoints.remote()


def main() -> None:
    """Start, obey, end."""
    folder = Path(sys.argv[1])
    address = node.start(folder, int(sys.argv[2]), dashboard=False).address
    ray.init(address=address, namespace="serve", log_to_driver=False)
    try:
        serve.start(proxy_location="Disabled")
        sink = RaySink()
        sink.count("segserve_encoder_runs_total", model="driver")
        sink.gauge("segserve_in_flight_requests", 3)
        deployment: Any = serve.deployment(max_ongoing_requests=200, ray_actor_options={"num_cpus": 0.1})(Tiny)
        handle = serve.run(deployment.bind(sink), name="tiny", route_prefix=None)
        write("ready")
        for line in sys.stdin:
            write(asyncio.run(answer(line, handle)))
    finally:
        ray.shutdown()
        end_children()


def end_children() -> None:
    """End what the node left running: it outlives `ray.shutdown`, as a platform's does."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=10)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def write(value: object) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
