"""A private Ray on this machine: every port on loopback, every call under a fresh token, everything below one folder.

What must be in the environment before Ray is imported, and the arguments that it is started with.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shared.settings import inherited, settings

ROOT = Path(__file__).resolve().parent.parent
LONGEST_TEMP_DIR = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1")
"""AF_UNIX paths end at 107 characters, and Ray's sockets lie this deep below its folder."""
KEPT_SESSIONS = 3
"""Ray sessions (logs) that are kept from earlier starts."""
MESSAGE_LIMIT = 256 * 2**20
"""Largest message between replicas in bytes; the default of 4 MiB is exactly one float32 embedding of SAM."""
OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory for images and embeddings on their way between processes."""


AT_REST: Mapping[str, str] = {
    # Serve's controller looks at its replicas ten times a second, and every process wakes as often for its metrics.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    # Each process would report its tasks every second, for a dashboard's table of them.
    "RAY_task_events_report_interval_ms": "0",
    # Ten times a second is for clusters whose nodes compete for work.
    "RAY_raylet_report_resources_period_milliseconds": "500",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_gcs_pull_resource_loads_period_milliseconds": "10000",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_object_manager_timer_freq_ms": "1000",
    "RAY_kill_idle_workers_interval_ms": "1000",
    "RAY_io_context_monitor_probe_interval_ms": "10000",
    # Each handler's times, for Ray's developers too: half the cost of the look for signals that every process takes a
    # hundred times a second.
    "RAY_event_stats": "0",
    # A file with the state of GCS and raylet, for Ray's developers.
    "RAY_debug_dump_period_milliseconds": "0",
}
"""Ray looks after one machine more often than one machine needs: these leave more of it to the models. What notices a
failure (health checks, the death of a process) is not among them."""


STATE = "platform.json"
"""File in a run folder that says where the platform's Ray and its dashboard are."""
LEAST_CPUS = 4
"""Bookings say where a replica may run, not how fast: a small machine must not refuse them."""


NOT_GIVEN_AWAY = range(20_000, 30_000)
"""Ports below those that Serve gives to gateways, and that a system gives to connections and to whoever asks for any:
Ray opens hundreds while it starts, and the one that was free before may be among them."""


LISTENS_EVERYWHERE = {
    "ray::ServeReplica": "gRPC between replicas; Ray binds it to [::] and refuses every call without the token",
}
"""Which of our processes listen beyond loopback, by the beginning of their title, and why that is no open door."""


class PortTaken(OSError):
    """Someone else listens where the platform should."""


def check_port(host: str, port: int) -> None:
    """Raises `PortTaken` when something listens on the port already, `OSError` when the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (48, 98):
                raise PortTaken(f"port {port} on {host} is in use: stop what uses it, or choose another PORT") from None
            raise


def free_port() -> int:
    """A loopback port that nothing uses just now, and that no system gives away by itself before its user opens it."""
    for port in random.SystemRandom().sample(NOT_GIVEN_AWAY, 100):  # another who is seeded alike would take the same
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no free port among 100 of {NOT_GIVEN_AWAY}")


def run_path(home: Path, port: int) -> Path:
    """Where the platform on `port` keeps its token and its address."""
    return home / "run" / str(port)


def run_folder(home: Path, port: int) -> Path:
    """That folder, made where there is none, for its owner only."""
    folder = run_path(home, port)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def write_token(folder: Path) -> Path:
    """A fresh token in a file that only its owner reads."""
    path = folder / "token"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def temp_folder(home: Path) -> Path:
    """Ray's folder: below `home` where the path is short enough for sockets, else a private one in the system's own."""
    folder = home / "ray"
    if len(str(folder)) > LONGEST_TEMP_DIR:
        folder = Path(tempfile.gettempdir()) / f"segserve-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else")
    folder.chmod(0o700)
    for old in sorted(folder.glob("session_2*"))[:-KEPT_SESSIONS]:
        if not _runs(old):
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _runs(session: Path) -> bool:
    """Whether the raylet of this Ray session still listens."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(session / "sockets" / "raylet"))
        except OSError:
            return False
        return True


def environment(token: Path) -> Mapping[str, str]:
    """Variables that Ray and every process it starts must have, before `import ray`; `deploy.transport` has more."""
    reporting_ms = str(1000 * settings().metrics_every_s)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # As on a Mac, the node's address is 127.0.0.1, and then every one of Ray's servers binds to loopback only.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray would give replicas the lowest priority but four.
        "RAY_worker_niceness": "0",
        "RAY_metrics_report_interval_ms": reporting_ms,
        # What the node's agent says of every process: as often as the processes themselves report.
        "REPORTER_UPDATE_INTERVAL_MS": reporting_ms,
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(MESSAGE_LIMIT),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "services.gateway.doorway:middlewares",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **AT_REST,
        # Ours first, then the caller's: adapters and cards may come from elsewhere.
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), inherited("PYTHONPATH")))),
    }


def logical_cpus() -> int:
    """What Ray may book: the cores, and at least as many as the applications of `serve.yaml` book during an update."""
    return max(os.cpu_count() or 1, LEAST_CPUS)
