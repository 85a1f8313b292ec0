"""A real HAProxy, configured by the code of Serve's own that configures it, started by our wrapper; no Ray runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from deploy.cluster import free_port
from deploy.haproxy import Door, living
from deploy.transport import BUFFER_BYTES, haproxy_binary, write_wrapper

MAX_BODY, MAX_UPLOAD = 64 * 2**20, 128 * 2**20
"""What its gateways would take."""


@dataclass
class Proxy:
    """HAProxy at `port`, its files in `folder`; `silence_s` is how long it waits for a server; it ends with the
    process `owner`."""

    folder: Path
    port: int = field(default_factory=free_port)
    silence_s: int = 1
    node_probes: bool = False
    owner: int = field(default_factory=os.getpid)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def door(self) -> Door:
        return Door("127.0.0.1", self.port, MAX_BODY, MAX_UPLOAD, self.node_probes)

    @property
    def admin(self) -> Path:
        return self.folder / "admin.sock"

    @property
    def path(self) -> Path:
        return self.folder / "haproxy.cfg"

    def configure(self, servers: Sequence[int]) -> None:
        """What Serve writes for gateways on these ports."""
        config = HAProxyConfig(
            http_options=HTTPOptions(host="127.0.0.1", port=self.port),
            socket_path=str(self.admin),
            server_state_base=str(self.folder),
            server_state_file=str(self.folder / "state"),
            timeout_server_s=self.silence_s,
            timeout_client_s=self.silence_s,
            metrics_enabled=False,
            nbthread=1,
            bufsize=BUFFER_BYTES,
            retry_on="conn-failure empty-response",
            health_check_inter="5s",  # a server that a busy machine keeps waiting is not down
            is_head=True,
        )
        named = [ServerConfig(name=f"r{number}", host="127.0.0.1", port=number) for number in servers]
        api = HAProxyApi(config, {}, str(self.path))
        if named:
            backend = BackendConfig(name="http-gateway", path_prefix="/", app_name="gateway", servers=named)
            api.set_backend_configs({backend.name: backend})
        api._generate_config_file_internal()

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start it as Serve does; returns when it answers on its admin socket."""
        wrapper = write_wrapper(self.folder, haproxy_binary(), self.door, self.owner)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen([str(wrapper), "-db", "-f", str(self.path), "-dR", *more], stderr=log)
        self.processes.append(process)
        until = time.monotonic() + 60
        while living(str(self.admin)) != process.pid:
            assert process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        return process

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False)


@contextmanager
def proxy(folder: Path, servers: Sequence[int], silence_s: int) -> Iterator[Proxy]:
    """HAProxy before these servers; ended afterwards."""
    found = Proxy(folder, silence_s=silence_s)
    found.configure(servers)
    try:
        found.start()
        yield found
    finally:
        for process in found.processes:
            process.kill()
            process.wait()
