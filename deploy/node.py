"""The one node of a private Ray: GCS, raylet and its agents, and nothing that one machine has no use for.

`ray.init` would also start an autoscaler's monitor, a process that copies logs to a driver, and a web server without a
dashboard: 1.2 s of CPU and 170 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET

from deploy.cluster import OBJECT_STORE_BYTES, logical_cpus

LIVES = (PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET)
"""Nothing starts these again; whatever else a node has ends with its raylet, or is started again by it."""


class LocalNode(Node):
    """A head node whose web server runs only for a dashboard."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        """Called by Ray among its other processes."""
        if include_dashboard:
            super().start_api_server(include_dashboard=True, raise_on_failure=raise_on_failure)


@dataclass(frozen=True, slots=True)
class Started:
    """A node: where to connect to, the processes (by name) with which it ends, where they serve gRPC, and the folder
    of their logs."""

    address: str
    processes: dict[str, int]
    served_at: dict[str, str]
    logs: str


def start(temp: Path, metrics_port: int, *, dashboard: bool) -> Started:
    """Start the node below this process. The environment is `cluster.environment`."""
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
    node: Any = LocalNode(
        RayParams(**parameters), head=True, shutdown_at_exit=False, spawn_reaper=False, ray_init_cluster=True
    )
    processes = {name: node.all_processes[name][0].process.pid for name in LIVES}
    served_at = {
        PROCESS_TYPE_GCS_SERVER: node.gcs_address,
        PROCESS_TYPE_RAYLET: f"{node.node_ip_address}:{node.node_manager_port}",
    }
    return Started(node.address, processes, served_at, node.get_logs_dir_path())
