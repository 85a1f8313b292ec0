"""Processes that end together: a small parent that starts the platform in a child and outlives it just long enough.

Whatever the child starts ends with it, however it ends: orphans fall back to the parent, which ends them; should the
parent be killed, the child is told by the kernel and does the same. On systems without either, `psutil` finds what
still descends from us.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0
"""How long the child may take to end what it started before we do."""


class Stopped(SystemExit):
    """We were told to stop (SIGINT, SIGTERM, SIGHUP)."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def stop_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise `Stopped` in the main thread."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant, so that none can get away."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> None:
    """Be sent SIGTERM when process `parent` dies; raises `Stopped` at once if it is gone already."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise Stopped(1)


def end_descendants() -> None:
    """Kill every process below this one and return when none is left. Nothing of ours has anything to save: the store
    lives in memory, and Ray's own farewell takes seconds."""
    while living := _living():
        for process in living:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(living, timeout=0.2)


def _living() -> list[psutil.Process]:
    """Descendants that still run; ended ones are reaped on the way."""
    return [process for process in psutil.Process().children(recursive=True) if not _ended(process)]


def _ended(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, ChildProcessError):
        if process.status() != psutil.STATUS_ZOMBIE:
            return False
        if process.ppid() == os.getpid():
            os.waitpid(process.pid, os.WNOHANG)
    return True


def how_it_ended(process: psutil.Process) -> str | None:
    """How a process ended, in words, once it has; None while it runs. Where it is our child it is reaped."""
    try:
        ended, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:  # another's, who alone is told how
        return None if process.is_running() and process.status() != psutil.STATUS_ZOMBIE else "has ended"
    return in_words(os.waitstatus_to_exitcode(status)) if ended else None


def in_words(code: int) -> str:
    """An exit status as `subprocess` gives it, negative for a signal."""
    if code >= 0:
        return f"ended with status {code}"
    why = " (by hand, or for want of memory)" if -code == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{why}"


def tell(message: str) -> None:
    """One line to the operator, with the time."""
    with suppress(OSError):  # a terminal or a pipe that is gone
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} SegServe: {message}", file=sys.stderr, flush=True)


def supervise(command: Sequence[str], keep: Sequence[int] = ()) -> int:
    """Run `command` in a session of its own until it ends or we are told to stop; nothing of it is left afterwards.

    Returns its exit status, 0 when we were told to stop. `keep`: descriptors that it holds on to.
    """
    adopt_orphans()
    stop_on_signals()
    child = subprocess.Popen(command, start_new_session=True, pass_fds=tuple(keep))
    try:
        return child.wait()
    except Stopped:
        child.terminate()
        try:
            child.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
        return 0
    finally:
        end_descendants()
        sweep_lines()


def sweep_lines() -> None:
    """Remove the sockets of replicas that ended without a farewell."""
    from shared.serving.line import sweep  # asyncio and more, which nobody needs before

    sweep()
