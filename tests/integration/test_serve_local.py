"""The launcher: what it refuses, what it opens, and that nothing of it is left, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.cluster import free_port
from shared.serving.line import PREFIX
from tests.data import ROOT
from tests.integration.trivial.platform import (
    HERE,
    PNG,
    WITHIN_S,
    ended,
    environment,
    eventually,
    grey,
    port,
    title,
    tree,
)
from tests.platform import Platform, launch, stop, wait_ready

pytestmark = pytest.mark.integration


@pytest.fixture
def started() -> Iterator[Callable[..., Platform]]:
    """Starts a platform with one model; stopped afterwards if the test has not."""
    with tempfile.TemporaryDirectory(prefix="sg-", ignore_cleanup_errors=True) as home:
        platforms: list[Platform] = []

        def start(**more: str) -> Platform:
            platform = launch(Path(home), "--config", str(HERE / "one.yaml"), **environment(), **more)
            platforms.append(platform)
            wait_ready(platform)
            return platform

        yield start
        for platform in platforms:
            stop(platform)


def with_a_line(platform: Platform) -> list[Path]:
    """Folders with the sockets of the platform's replicas: there is one as soon as one was called."""
    httpx.post(platform.url + "/v1/semantic", content=grey(9), headers=PNG, timeout=120).raise_for_status()
    found = [
        each for process in tree(platform) for each in Path(tempfile.gettempdir()).glob(f"{PREFIX}{process.pid}-*")
    ]
    assert found
    return found


def sockets(platform: Platform) -> Path:
    """Where HAProxy's lie while it runs."""
    return Path(tempfile.gettempdir()) / f"sgs-{os.getuid()}" / str(port(platform))


def all_gone(processes: list[psutil.Process]) -> bool:
    return all(map(ended, processes))


def refuses(address: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) != 0


def test_the_token_and_its_folder_are_for_the_owner_only(started: Callable[..., Platform]) -> None:
    platform = started()
    folder = platform.home / "run" / str(port(platform))
    assert (folder.stat().st_mode & 0o777, (folder / "token").stat().st_mode & 0o777) == (0o700, 0o600)
    processes = tree(platform)
    lines = with_a_line(platform)
    stop(platform)
    assert platform.process.returncode == 0
    assert all_gone(processes)
    assert not any(each.exists() for each in lines)
    assert not sockets(platform).exists()
    assert refuses(("127.0.0.1", port(platform)))
    assert "Traceback" not in platform.log.read_text()


@pytest.mark.parametrize("victim", ["launcher", "session"])
def test_nothing_is_left_when_it_is_killed(started: Callable[..., Platform], victim: str) -> None:
    platform = started()
    processes = tree(platform)
    assert len(processes) > 8
    lines = with_a_line(platform)
    assert sockets(platform).exists()
    session = next(process for process in processes if " deploy.session " in title(process))
    (psutil.Process(platform.process.pid) if victim == "launcher" else session).send_signal(signal.SIGKILL)
    assert eventually(lambda: all_gone(processes)), [process for process in processes if not ended(process)]
    assert eventually(lambda: not any(each.exists() for each in lines))
    assert eventually(lambda: not sockets(platform).exists())
    assert ("its session was killed by SIGKILL" in platform.log.read_text()) == (victim == "session")
    assert refuses(("127.0.0.1", port(platform)))


@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_it_ends_and_says_why_when_ray_dies(started: Callable[..., Platform], victim: str) -> None:
    platform = started()
    assert eventually(lambda: "Ctrl-C ends it all" in platform.log.read_text())
    processes = tree(platform)
    next(process for process in processes if process.name() == victim).kill()
    assert platform.process.wait(60) == 1
    assert f"SegServe: Ray's {victim} was killed by SIGKILL" in platform.log.read_text()
    assert all_gone(processes)
    assert refuses(("127.0.0.1", port(platform)))


@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_so_it_does_when_ray_hangs(started: Callable[..., Platform], victim: str) -> None:
    platform = started(SEGSERVE_RAY_SILENT_S="10")
    assert eventually(lambda: "Ctrl-C ends it all" in platform.log.read_text())
    processes = tree(platform)
    next(process for process in processes if process.name() == victim).send_signal(signal.SIGSTOP)
    assert platform.process.wait(WITHIN_S) == 1
    assert f"SegServe: Ray's {victim} hangs (no answer for 10 s)" in platform.log.read_text()
    assert all_gone(processes)
    assert refuses(("127.0.0.1", port(platform)))


def test_so_it_does_when_ray_dies_while_it_starts(tmp_path: Path) -> None:
    platform = launch(tmp_path, "--config", str(HERE / "one.yaml"), **environment())
    try:
        assert eventually((tmp_path / "run" / str(port(platform)) / "platform.json").exists)
        processes = tree(platform)
        next(process for process in processes if process.name() == "gcs_server").kill()
        assert platform.process.wait(60) == 1
        assert "SegServe: Ray's gcs_server has ended" in platform.log.read_text()
        assert all_gone(processes)
    finally:
        stop(platform)


def test_a_store_that_dies_is_started_again(platform: Platform) -> None:
    def uploaded() -> int:
        return httpx.post(platform.url + "/v1/images", content=grey(9), headers=PNG, timeout=120).status_code

    assert uploaded() == 200
    next(process for process in tree(platform) if process.name() == "valkey-server").kill()
    assert eventually(lambda: "the embedded store is back" in platform.log.read_text())
    assert eventually(lambda: uploaded() == 200)
    assert "the embedded store was killed by SIGKILL" in platform.log.read_text()
    assert httpx.get(platform.url + "/readyz", timeout=60).status_code == 200


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        done = run_launcher(tmp_path, "--port", str(number))
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"SegServe did not start: port {number} on 127.0.0.1 is in use: stop what uses it, or choose another PORT"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("applications: [{name: a, import_path: 'nowhere:build'}]", "No module named 'nowhere'"),
        ("applications: [{name: a, import_path: 'services.semantic.deployment:build'}]", "model"),
        ("applications: 3", "applications"),
    ],
)
def test_a_yaml_that_cannot_work_is_refused_with_its_reason(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    done = run_launcher(tmp_path / "home", "--port", str(free_port()), "--config", str(path))
    assert done.returncode == 1
    assert said in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def run_launcher(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *arguments],
        cwd=ROOT,
        env={**environment(), "SEGSERVE_HOME": str(home), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
