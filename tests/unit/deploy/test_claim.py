"""A run folder has one platform at a time, and what a killed one left is ended: real locks, real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deploy.claim import claim, end_leftovers, try_claim
from deploy.cluster import STATE, PortTaken
from tests.unit.deploy.test_supervisor import gone


def test_a_folder_is_claimed_until_all_who_hold_the_claim_are_gone(tmp_path: Path) -> None:
    lock = try_claim(tmp_path)
    assert lock is not None
    assert try_claim(tmp_path) is None
    heir = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=(lock,))
    os.close(lock)
    try:
        with pytest.raises(PortTaken, match=f"starts or ends just now on port {tmp_path.name}"):
            claim(tmp_path, within_s=0.1)
    finally:
        heir.kill()
        heir.wait()
    os.close(claim(tmp_path))


@contextmanager
def program(path: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """A program of this path that runs, and its child."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/sh", path)
    started = subprocess.Popen([str(path), "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    child = psutil.Process(int(started.stdout.readline()))
    try:
        yield psutil.Process(started.pid), child
    finally:
        for each in (child, started):
            if each.pid in psutil.pids():
                each.kill()
        started.communicate()


def test_what_a_killed_platform_left_is_ended_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, sockets = tmp_path / "session_1", tmp_path / "sockets"
    folder = tmp_path / "8000"
    folder.mkdir()
    (folder / STATE).write_text(json.dumps({"logs": str(session / "logs")}))
    with (
        program(session / "raylet") as raylet,
        program(sockets / "haproxy") as haproxy,
        program(tmp_path / "session_12" / "raylet") as neighbour,
        program(session / "less") as operator,
    ):
        end_leftovers(folder, sockets)
        assert [gone(each) for each in (*raylet, *haproxy)] == [True] * 4
        assert not any(gone(each) for each in (*neighbour, *operator))
    assert "an earlier platform on port 8000 was killed and left 4 processes" in capsys.readouterr().err


@pytest.mark.parametrize("state", [None, "", "{}", "[]", '{"logs": "/nowhere/logs"}'])
def test_without_a_word_of_it_nothing_is_ended(
    tmp_path: Path, state: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if state is not None:
        (tmp_path / STATE).write_text(state)
    end_leftovers(tmp_path, None)
    assert capsys.readouterr().err == ""
