"""The platform as a process: started as `make serve` starts it, on a free port, with a home of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.cluster import free_port
from tests.data import ROOT

READY_WITHIN_S = 300.0


@dataclass(frozen=True)
class Platform:
    """A running platform: its address, its launcher and where it writes."""

    url: str
    process: subprocess.Popen[bytes]
    home: Path
    log: Path


def launch(home: Path, *arguments: str, **environment: str) -> Platform:
    """Start `deploy.local` on a free port and return at once."""
    port = free_port()
    log = home / "launcher.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "--host", "127.0.0.1", "--port", str(port), *arguments],
            cwd=ROOT,
            env={**os.environ, "SEGSERVE_HOME": str(home), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Platform(f"http://127.0.0.1:{port}", process, home, log)


def wait_ready(platform: Platform, within_s: float = READY_WITHIN_S) -> None:
    """Return when `/readyz` says yes; fail with the launcher's log when it ends or takes too long."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if platform.process.poll() is not None:
            break
        try:
            if httpx.get(platform.url + "/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"not ready:\n{platform.log.read_text()[-5000:]}")


def stop(platform: Platform) -> None:
    """Ctrl-C, as a user would; the launcher must end by itself."""
    if platform.process.poll() is None:
        platform.process.send_signal(signal.SIGINT)
    platform.process.wait(timeout=120)


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[Platform]:
    """A platform that is ready; stopped, and its home removed, afterwards."""
    home = Path(tempfile.mkdtemp(prefix="sg-"))
    platform = launch(home, *arguments, **environment)
    try:
        wait_ready(platform)
        yield platform
    finally:
        stop(platform)
        shutil.rmtree(home, ignore_errors=True)
