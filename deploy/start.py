"""Starts what `deploy.session` keeps: Ray and the applications of a Serve YAML; ends when they are ready.

A process of its own, because what starts Ray and Serve has them in its memory, 100 MB that nobody needs afterwards.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from deploy import cluster
from deploy.cluster import STATE
from deploy.progress import Failed, Progress
from deploy.supervisor import Stopped, end_with_parent, stop_on_signals
from deploy.transport import choose
from shared.settings import settings, url_of

if TYPE_CHECKING:
    from deploy.applications import Prepared

GATEWAY_READY_WITHIN_S = 180.0
"""Longest that the gateway may take to find the applications that run."""


def start_ray(folder: Path, temp: Path, dashboard: bool, variables: Mapping[str, str]) -> None:
    """Start Ray below this process and note where it is, and the transport's variables."""
    import ray

    from deploy import node

    started = node.start(temp, settings().metrics_port or cluster.free_port(), dashboard=dashboard)
    address = started.address
    context: Any = ray.init(address=address, namespace="serve", log_to_driver=False, logging_level=logging.WARNING)
    stop_on_signals()  # Ray puts its own handler of SIGTERM in the place of ours
    if not dashboard:
        nobody_to_tell()
    state = {**asdict(started), "dashboard": context.dashboard_url, "transport": dict(variables)}
    whole = folder / f"{STATE}.new"
    whole.write_text(json.dumps(state), encoding="utf-8")
    whole.replace(folder / STATE)


def nobody_to_tell() -> None:
    """Give the node's agent an address to report events to, where nobody listens: without one it looks for a dashboard
    every second, for ever, and writes a traceback into its log each time."""
    from ray._private import ray_constants
    from ray.experimental import internal_kv

    name, space = ray_constants.DASHBOARD_ADDRESS.encode(), ray_constants.KV_NAMESPACE_DASHBOARD
    internal_kv._internal_kv_put(name, b"http://127.0.0.1:9", namespace=space)


def prepare(config: Path) -> Prepared:
    """Read the YAML and build its applications: seconds of importing, spent while Ray starts."""
    from deploy.applications import Prepared

    return Prepared.read(config)


def wait_until_ready(url: str) -> list[dict[str, object]]:
    """The models as the gateway lists them, once `/readyz` says yes; none where it asks for a key, of which we know the
    hash only. Raises `Failed` when it does not."""
    deadline = time.monotonic() + GATEWAY_READY_WITHIN_S
    with httpx.Client(base_url=url, trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                answer = client.get("/readyz")
                if answer.status_code == httpx.codes.OK:
                    models: list[dict[str, object]] = client.get("/v1/models").json().get("models", [])
                    return models
            time.sleep(0.05)
    raise Failed(f"{url}/readyz does not say that everything is ready")


def draw_street(home: Path) -> Path:
    """A drawn street to try the platform on, below `home`."""
    from shared.imaging.compose import encode_picture
    from shared.imaging.sample import street_scene

    path = home / "street.png"
    path.write_bytes(encode_picture(street_scene()[0]))
    return path


def redeploy_line(folder: Path, arguments: argparse.Namespace) -> str:
    """The command that hands this platform another YAML; Ray's own where its dashboard runs."""
    if not arguments.dashboard:
        return f"python -m deploy.local --port {arguments.port} deploy FILE"
    address = json.loads((folder / STATE).read_text(encoding="utf-8"))["dashboard"]
    token = shlex.quote(str(folder / "token"))
    return f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token} serve deploy -a http://{address} FILE"


def run(arguments: argparse.Namespace, progress: Progress) -> None:
    """Everything until it is ready. Raises `Failed` saying what does not start."""
    home = settings().home
    folder = cluster.run_folder(home, arguments.port)
    transport = choose(settings(), arguments.host, arguments.port, folder, arguments.parent)
    if transport.why_not:
        progress.note(f"Serve's own proxy at the HTTP port, several times slower: {transport.why_not}")
    os.environ.update({**cluster.environment(cluster.write_token(folder)), **transport.variables})
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    with ThreadPoolExecutor(1) as pool:
        preparing: Future[Prepared] = pool.submit(prepare, arguments.config)
        start_ray(folder, cluster.temp_folder(home), arguments.dashboard, transport.variables)
        progress.note("Ray")
        prepared = preparing.result()
    # HAProxy listens at the public address itself; what it passes requests to listens on loopback.
    behind = "127.0.0.1" if transport.name == "haproxy" else arguments.host
    prepared.deploy(behind, arguments.port, declarative=arguments.dashboard)
    progress.note("Serve behind HAProxy" if transport.name == "haproxy" else "Serve")
    prepared.wait_until_running(progress)
    url = url_of(arguments.host, arguments.port)
    line, keyed = redeploy_line(folder, arguments), bool(settings().api_keys)
    progress.ready(url, wait_until_ready(url), draw_street(home), line, keyed)


def main() -> int:
    """Process entry: `python -m deploy.start --host ... --port ... --config ... --parent PID --begun SECONDS`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--dashboard", action="store_true")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--begun", type=float, required=True, help="when the start began, by the monotonic clock")
    arguments = parser.parse_args()
    try:
        with ExitStack() as stack:
            stop_on_signals()
            end_with_parent(arguments.parent)
            progress = stack.enter_context(Progress(begun=arguments.begun))
            stack.push(progress.failed)
            run(arguments, progress)
    except Failed:
        return 1
    except Stopped as stopped:
        return int(stopped.code or 0)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: Ray would take its leave first, and after a failure of processes that are gone, for seconds.
    os._exit(status)
