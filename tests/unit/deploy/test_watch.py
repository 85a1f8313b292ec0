"""What the platform stands on, watched: real processes that end, and a store whose time is a clock's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.supervisor import how_it_ended
from deploy.valkey import ValkeyError
from deploy.watch import Lost, RayProcesses, Store, watch

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
GRANDCHILD = f"import subprocess, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(600)"


def gone(ray: RayProcesses) -> str:
    """Why it is lost, at the latest within a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            ray.look()
        except Lost as lost:
            return str(lost)
        time.sleep(0.01)
    raise AssertionError


def ray_of(folder: Path, **pids: int) -> RayProcesses:
    state = folder / "platform.json"
    state.write_text(json.dumps({"processes": pids, "served_at": {}, "logs": "/logs"}))
    return RayProcesses(state)


def test_a_process_that_is_killed_is_lost_and_how_is_said(tmp_path: Path) -> None:
    lives, dies = subprocess.Popen(SLEEP), subprocess.Popen(SLEEP)
    try:
        ray = ray_of(tmp_path, gcs_server=lives.pid, raylet=dies.pid)
        ray.look()
        dies.kill()
        told = gone(ray)
    finally:
        for each in (lives, dies):
            each.kill()
            each.wait()
    assert told.startswith("Ray's raylet was killed by SIGKILL (by hand, or for want of memory), so")
    assert "/logs/raylet." in told


def test_so_is_one_that_ends_by_itself_and_one_that_was_gone_before(tmp_path: Path) -> None:
    ends = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    assert "gcs_server ended with status 7" in gone(ray_of(tmp_path, gcs_server=ends.pid))
    ends.wait()
    before = subprocess.Popen([sys.executable, "-c", ""])
    before.wait()
    assert "raylet has ended" in gone(ray_of(tmp_path, raylet=before.pid))


def test_how_anothers_child_ended_nobody_knows_but_that_it_did(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", GRANDCHILD], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    grandchild = psutil.Process(int(child.stdout.readline()))
    try:
        assert how_it_ended(grandchild) is None
        ray = ray_of(tmp_path, raylet=grandchild.pid)
        grandchild.kill()  # its parent does not look: it stays as a zombie
        assert "raylet has ended" in gone(ray)
    finally:
        child.kill()
        child.communicate()


def test_a_start_that_fails_ends_the_watch_with_its_status(tmp_path: Path) -> None:
    start = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    assert watch(start, tmp_path / "platform.json", None) == 7
    killed = subprocess.Popen(SLEEP)
    killed.kill()
    with pytest.raises(Lost, match="its start was killed by SIGKILL"):
        watch(killed, tmp_path / "platform.json", None)


class Fragile:
    """Ends whenever it is told to; `fails` so many starts."""

    def __init__(self, fails: int = 0) -> None:
        self.code: int | None = None
        self.starts, self.fails = 0, fails

    def ended(self) -> int | None:
        return self.code

    def again(self) -> None:
        self.starts += 1
        if self.fails:
            self.fails -= 1
            raise ValkeyError("no room")
        self.code = None


def starts(store: Fragile, seconds: int, dies_after_s: int) -> list[int]:
    """The seconds at which it is started again, of one that dies so long after each start."""
    now, last, found = 0, 0, list[int]()
    valkey: Any = store
    watched = Store(valkey, lambda: now)
    for now in range(seconds):
        if store.code is None and now - last >= dies_after_s:
            store.code = -9
        before = store.starts
        watched.look()
        if store.starts > before:
            last = now
            found.append(now)
    return found


def test_a_steady_store_is_started_again_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert starts(Fragile(), 250, dies_after_s=100) == [100, 200]
    told = capsys.readouterr().err
    assert "the embedded store was killed by SIGKILL" in told
    assert told.count("is back") == 2


def test_one_that_dies_again_and_again_is_started_less_and_less_often() -> None:
    assert starts(Fragile(), 200, dies_after_s=1) == [1, 3, 6, 11, 20, 37, 70, 131, 192]


def test_one_that_does_not_start_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert starts(Fragile(fails=3), 60, dies_after_s=10) == [10, 11, 13, 17, 35]
    told = capsys.readouterr().err
    assert told.count("does not start (no room). It starts again in") == 3
