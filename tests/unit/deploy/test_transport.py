"""Which transport is chosen where, and what is written for it."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deploy import transport
from deploy.haproxy import Door
from deploy.progress import Failed
from shared.settings import Settings

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="HAProxy exists for Linux only")


def missing() -> str:
    raise transport.Unavailable("there is none")


def test_serves_own_proxy_where_it_is_chosen_or_haproxy_cannot_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = transport.choose(Settings(transport="serve"), "127.0.0.1", 8000, tmp_path, os.getpid())
    assert (chosen.name, dict(chosen.variables), chosen.why_not) == ("serve", {}, "")
    monkeypatch.setattr(transport, "haproxy_binary", missing)
    fallen = transport.choose(Settings(transport="auto"), "127.0.0.1", 8000, tmp_path, os.getpid())
    assert (fallen.name, dict(fallen.variables), fallen.why_not) == ("serve", {}, "there is none")
    with pytest.raises(Failed, match="SEGSERVE_TRANSPORT=haproxy: there is none"):
        transport.choose(Settings(transport="haproxy"), "127.0.0.1", 8000, tmp_path, os.getpid())


def test_a_system_without_haproxy_and_one_that_does_not_run_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "haproxy"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(broken))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(transport.Unavailable, match="does not run here"):
        transport.haproxy_binary()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(transport.Unavailable, match="for Linux only"):
        transport.haproxy_binary()


@on_linux
def test_haproxy_is_taken_where_it_runs_and_its_files_are_ours_alone(tmp_path: Path) -> None:
    found = transport.choose(
        Settings(transport="auto", request_timeout_s=10.5, stream_timeout_s=5), "0.0.0.0", 65001, tmp_path, os.getpid()
    )
    assert found.name == "haproxy"
    assert found.sockets is not None
    assert stat.S_IMODE(found.sockets.stat().st_mode) == stat.S_IMODE(found.sockets.parent.stat().st_mode) == 0o700
    for name in ("CONFIG_FILE_LOC", "SOCKET_PATH", "SERVER_STATE_FILE", "METRICS_SOCKET_PATH"):
        path = Path(found.variables[f"RAY_SERVE_HAPROXY_{name}"])
        assert path.parent == found.sockets
        assert len(str(path.parent / ("f" * 56) / f"{path.name}.4194304.tmp")) <= 107
    assert found.variables["RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S"] == "71"
    transport.clear(65001)
    assert not found.sockets.exists()


@on_linux
def test_a_temporary_folder_too_deep_for_sockets_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = transport.socket_folder(65002)
    assert folder == Path("/tmp") / f"sgs-{os.getuid()}" / "65002"
    folder.rmdir()


@on_linux
def test_a_folder_that_someone_else_could_read_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="sg-", dir="/tmp") as home:
        monkeypatch.setattr(tempfile, "tempdir", home)
        (Path(home) / "elsewhere").mkdir()
        (Path(home) / f"sgs-{os.getuid()}").symlink_to(Path(home) / "elsewhere")
        if len(f"{home}/sgs-{os.getuid()}/65535") <= transport.LONGEST:
            with pytest.raises(transport.Unavailable, match="belongs to someone else"):
                transport.socket_folder(1)


def test_the_wrapper_says_what_it_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    wrapper = transport.write_wrapper(folder, "/bin/echo", Door("127.0.0.1", 1, 1024, 1024), os.getpid())
    config = folder / "haproxy.cfg"
    config.write_text("listen everywhere\n    bind *:1\n")
    done = subprocess.run([str(wrapper), "-f", str(config)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "listen everywhere" in done.stderr
    config.write_text("# Closed by SegServe.\n")
    done = subprocess.run([str(wrapper), "-db", "-f", str(config)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == shlex.join(["-db", "-f"]) + f" {config}"
