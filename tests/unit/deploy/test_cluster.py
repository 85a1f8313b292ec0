"""Where a private Ray lives and what guards it."""

from __future__ import annotations

import random
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from deploy import cluster


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(cluster.PortTaken, match=f"port {port} on 127.0.0.1 is in use"):
            cluster.check_port("127.0.0.1", port)
    cluster.check_port("127.0.0.1", port)


def test_free_ports_are_others_however_chance_is_seeded() -> None:
    found = set()
    for _ in range(8):
        random.seed(0)
        found.add(cluster.free_port())
    assert len(found) > 1


def test_each_start_has_its_own_token_in_a_file_of_its_owner(tmp_path: Path) -> None:
    folder = cluster.run_folder(tmp_path, 8000)
    first = cluster.write_token(folder).read_text()
    path = cluster.write_token(folder)
    assert path.read_text() != first
    assert len(first) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_path_too_long_for_sockets_is_not_used(tmp_path: Path) -> None:
    assert cluster.temp_folder(tmp_path) == tmp_path / "ray" or len(str(tmp_path / "ray")) > cluster.LONGEST_TEMP_DIR
    long = tmp_path / ("x" * 100)
    folder = cluster.temp_folder(long)
    assert len(str(folder)) <= cluster.LONGEST_TEMP_DIR
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_logs_of_old_starts_are_removed_but_none_that_still_runs() -> None:
    with tempfile.TemporaryDirectory(prefix="sg-") as home, socket.socket(socket.AF_UNIX) as raylet:
        sessions = [Path(home) / "ray" / f"session_2026-01-0{day}" for day in range(1, 6)]
        for session in sessions:
            (session / "sockets").mkdir(parents=True)
        raylet.bind(str(sessions[0] / "sockets" / "raylet"))
        raylet.listen()
        cluster.temp_folder(Path(home))
        assert [session.exists() for session in sessions] == [True, False, True, True, True]


def test_the_token_is_always_asked_for(tmp_path: Path) -> None:
    variables = cluster.environment(tmp_path / "token")
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["PYTHONPATH"].split(":")[0] == str(cluster.ROOT)
