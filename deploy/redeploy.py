"""An edited Serve YAML onto the running platform: `serve deploy` without Ray's dashboard.

Applications that did not change are left alone, changed ones are replaced (the new version first, then the old),
new ones are added, and those that the file no longer names are removed.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path

from deploy import cluster
from deploy.claim import try_claim
from deploy.cluster import STATE
from deploy.progress import Failed, Progress


def redeploy(home: Path, port: int, config_path: Path) -> None:
    """Hand `config_path` to the platform on `port` and wait until it runs. Raises `Failed` saying what does not."""
    with Progress(f"Deploying {config_path} ...") as progress:
        declarative = connect(home, port)
        from ray import serve

        from deploy.applications import Prepared, connected, wait_until_running

        prepared = Prepared.read(config_path)
        names = [application.name for application in prepared.config.applications]
        gone = sorted(set(serve.status().applications) - set(names))
        # As they were started: Serve would build what it does not know from a YAML again, in a process for each.
        prepared.hand_over(declarative=declarative)
        connected().delete_apps(gone, blocking=False)
        for name in gone:
            progress.note(f"{name} removed")
        wait_until_running(names, progress)


def connect(home: Path, port: int) -> bool:
    """Join the Ray of the platform on `port` as its owner; whether its applications came to it as by `serve deploy`.
    Raises `Failed` when there is none."""
    folder = cluster.run_path(home, port)
    state = folder / STATE
    if not state.is_file():
        raise Failed(f"no platform runs on port {port} with {home} as its home")
    if (lock := try_claim(folder)) is not None:  # Ray would look for it for minutes
        os.close(lock)
        raise Failed(f"the platform on port {port} was killed: start it again")
    running = json.loads(state.read_text(encoding="utf-8"))
    os.environ.update({**cluster.environment(folder / "token"), **running["transport"]})
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    import ray

    try:
        ray.init(address=running["address"], namespace="serve", log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise Failed(f"the platform on port {port} does not answer: is it still running?") from error
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    return bool(running["dashboard"])
