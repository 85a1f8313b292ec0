"""Real processes that start others, orphan them and are killed: none may be left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.data import ROOT

CHILD = """
import os, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
sleep = [sys.executable, "-c", deaf]
direct = subprocess.Popen(sleep)
orphaning = f"import subprocess; print(subprocess.Popen({sleep!r}, start_new_session=True).pid, flush=True)"
middle = subprocess.Popen([sys.executable, "-c", orphaning], stdout=subprocess.PIPE, text=True)
orphan = int(middle.stdout.readline())
open(sys.argv[1] + ".part", "w").write(f"{os.getpid()} {direct.pid} {orphan}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
"""
OBEDIENT = CHILD + "time.sleep(600)"
ENDING = CHILD + "sys.exit(3)"
SESSION = (
    """
import os
from deploy.supervisor import Stopped, adopt_orphans, end_descendants, end_with_parent, stop_on_signals
adopt_orphans(); stop_on_signals(); end_with_parent(os.getppid())
try:
"""
    + "".join(f"    {line}\n" for line in OBEDIENT.strip().splitlines())
    + """
finally:
    end_descendants()
"""
)
SUPERVISE = "import sys; from deploy.supervisor import supervise; sys.exit(supervise(sys.argv[1:]))"


def supervised(program: str, tmp_path: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A supervisor of this program, and the processes that the program reports."""
    report = tmp_path / "pids"
    command = [sys.executable, "-c", program, str(report)]
    parent = subprocess.Popen([sys.executable, "-c", SUPERVISE, *command], cwd=ROOT)
    assert eventually(report.exists)
    processes = []
    for pid in report.read_text().split():
        try:
            processes.append(psutil.Process(int(pid)))
        except psutil.NoSuchProcess:
            continue
    return parent, processes


def eventually(check: Callable[[], bool], within_s: float = 60) -> bool:
    until = time.monotonic() + within_s
    while not (done := check()) and time.monotonic() < until:
        time.sleep(0.05)
    return done


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_and_is_a_success(tmp_path: Path, number: signal.Signals) -> None:
    parent, processes = supervised(OBEDIENT, tmp_path)
    parent.send_signal(number)
    assert parent.wait(60) == 0
    assert all(gone(process) for process in processes)


def test_the_childs_end_ends_the_rest_and_its_status_is_ours(tmp_path: Path) -> None:
    parent, processes = supervised(ENDING, tmp_path)
    assert parent.wait(60) == 3
    assert all(gone(process) for process in processes)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
@pytest.mark.parametrize("victim", ["supervisor", "child"])
def test_a_kill_leaves_nothing(tmp_path: Path, victim: str) -> None:
    parent, processes = supervised(SESSION, tmp_path)
    assert len(processes) == 3
    (parent if victim == "supervisor" else processes[0]).kill()
    parent.wait(60)
    assert eventually(lambda: all(gone(process) for process in processes))
