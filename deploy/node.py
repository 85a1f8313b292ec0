"""The one node of a private Ray: GCS, raylet and its agents, and nothing that one machine has no use for.

`ray.init` would also start an autoscaler's monitor, a process that copies logs to a driver, and a web server without a
dashboard: 1.2 s of CPU and 170 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams

from deploy.cluster import OBJECT_STORE_BYTES, logical_cpus


class LocalNode(Node):
    """A head node whose web server runs only for a dashboard."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        """Called by Ray among its other processes."""
        if include_dashboard:
            super().start_api_server(include_dashboard=True, raise_on_failure=raise_on_failure)


def start(temp: Path, metrics_port: int, *, dashboard: bool) -> str:
    """Start the node below this process; the address to connect to. The environment is `cluster.environment`."""
    parameters: dict[str, Any] = {
        "num_cpus": logical_cpus(),
        "object_store_memory": OBJECT_STORE_BYTES,
        "temp_dir": str(temp),
        "metrics_export_port": metrics_port,
        "include_dashboard": dashboard,
        "dashboard_host": "127.0.0.1",
        "no_monitor": True,
        "include_log_monitor": False,
    }
    node = LocalNode(
        RayParams(**parameters), head=True, shutdown_at_exit=False, spawn_reaper=False, ray_init_cluster=True
    )
    address: str = node.address
    return address
